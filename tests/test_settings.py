"""Environment variables: what they mean, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphc import settings
from graphc.errors import ArgumentError


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VERIFY", "DUMP", "CACHE", "CACHE_BYTES", "HELPERS", "THREADS"):
        monkeypatch.delenv(f"GRAPHC_{name}", raising=False)


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert not settings.verify()
    assert settings.dump_folder() is None
    assert settings.cache_folder() == Path("/caches/graphc")
    assert settings.threads() == settings.available_processors() >= 1
    assert 0 <= settings.helpers() < settings.available_processors()
    assert settings.cache_bytes() == 1 << 30


def test_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAPHC_VERIFY", "1")
    monkeypatch.setenv("GRAPHC_DUMP", str(tmp_path))
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    monkeypatch.setenv("GRAPHC_CACHE_BYTES", "5000")
    monkeypatch.setenv("GRAPHC_HELPERS", "0")
    monkeypatch.setenv("GRAPHC_THREADS", "3")
    assert settings.cache_bytes() == 5000
    assert settings.helpers() == 0
    assert settings.verify()
    assert settings.dump_folder() == tmp_path
    assert settings.cache_folder() is None
    assert settings.threads() == 3


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5"])
def test_threads_must_be_a_number(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("GRAPHC_THREADS", text)
    with pytest.raises(ArgumentError, match=f"GRAPHC_THREADS is '{text}'; expected a whole number"):
        settings.threads()


@pytest.mark.parametrize("name", ["CACHE_BYTES", "HELPERS"])
def test_amounts_must_be_numbers(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(f"GRAPHC_{name}", "-1")
    with pytest.raises(ArgumentError, match=f"GRAPHC_{name} is '-1'; expected a whole number"):
        getattr(settings, name.lower())()


def test_flags_must_be_true_or_false(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_VERIFY", "perhaps")
    with pytest.raises(ArgumentError, match="GRAPHC_VERIFY is 'perhaps'; expected 1 or 0"):
        settings.verify()
