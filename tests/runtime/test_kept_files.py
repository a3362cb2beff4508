"""Files of the cache: read back as written or taken for missing, and bounded in size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from graphc.runtime.cache import Store, all_entries, trim

STORE = Store("things")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the things that are kept."""
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "things"


def test_contents_come_back_and_others_do_not(folder: Path) -> None:
    STORE.write("a", b"content")
    assert STORE.read("a") == b"content"
    assert STORE.read("b") is None
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in folder.iterdir()] == ["a"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "grow"])
def test_a_damaged_file_is_missing_until_it_is_written_again(folder: Path, damage: str) -> None:
    STORE.write("a", b"content")
    data = (folder / "a").read_bytes()
    flipped = data[:-1] + bytes([data[-1] ^ 1])
    changed = {"cut": data[:-1], "flip": flipped, "empty": b"", "grow": data + b"x"}[damage]
    (folder / "a").write_bytes(changed)
    assert STORE.read("a") is None
    STORE.write("a", b"content")
    assert STORE.read("a") == b"content"


def test_a_folder_that_others_can_enter_is_not_used(folder: Path) -> None:
    STORE.write("a", b"content")
    folder.chmod(0o770)
    assert STORE.read("a") is None
    STORE.write("b", b"content")
    assert not (folder / "b").exists()
    assert STORE.entries() == []


def test_links_are_not_followed(folder: Path, tmp_path: Path) -> None:
    STORE.write("a", b"content")
    (folder / "a").rename(tmp_path / "elsewhere")
    (folder / "a").symlink_to(tmp_path / "elsewhere")
    assert STORE.read("a") is None
    elsewhere = tmp_path / "real"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)
    assert STORE.read("a") is None


def test_off_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    STORE.write("a", b"content")
    assert STORE.read("a") is None


def test_a_folder_that_cannot_be_made_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path / "file" / "cache"))
    STORE.write("a", b"content")
    assert STORE.read("a") is None


def test_a_full_cache_loses_what_was_unused_for_longest(folder: Path) -> None:
    for age, key in enumerate("abcdefgh"):
        STORE.write(key, bytes(968))  # 1000 bytes with the digest
        os.utime(folder / key, (1000 - age, 1000 - age))
    assert STORE.read("h") is not None  # the oldest becomes the last used
    trim(["things", "nothing"], 8000)
    assert len(STORE.entries()) == 8
    trim(["things", "nothing"], 6000)
    assert [entry.path.name for entry in all_entries(["things"])] == ["h", "a", "b", "c"]
