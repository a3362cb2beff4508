"""The checkpoints of a run survive crashes, power cuts, full disks and damage."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.checkpoint import Checkpoints
from graphc.errors import ArgumentError, CheckpointError
from graphc.frontends.train import durable

CALLS = ("open", "write", "fsync", "close", "replace", "unlink")


def content(step: int) -> dict[str, np.ndarray]:
    return {"w": np.full(300, step, np.float32), "v": np.arange(step, dtype=np.int64)}


def save(manager: Checkpoints, step: int) -> Path:
    return manager.save(step, content(step), {"step": step})


def newest(folder: Path) -> int:
    """The step of the newest whole checkpoint; its content must be that step's. 0: none."""
    found = Checkpoints(folder).load_newest()
    if found is None:
        return 0
    assert found.metadata == {"step": found.step}
    expected = content(found.step)
    assert all(np.array_equal(found.arrays[name], expected[name]) for name in expected)
    return found.step


def files(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


def name(step: int) -> str:
    return f"step-{step:010d}.safetensors"


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    manager = Checkpoints(tmp_path / "run", keep=2)
    assert manager.load_newest() is None and manager.paths() == []
    for step in (1, 2, 10, 3):
        save(manager, step)
    # 3 came last: 10 is of another time and not counted
    assert files(tmp_path / "run") == [name(2), name(3), name(10)]
    with pytest.raises(ArgumentError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(ArgumentError, match="step is -1"):
        save(manager, -1)


def test_damaged_ones_are_passed_over_and_named(tmp_path: Path) -> None:
    manager = Checkpoints(tmp_path)
    paths = [save(manager, step) for step in (1, 2, 3)]
    paths[2].write_bytes(paths[2].read_bytes()[:-1])
    paths[1].write_bytes(b"")
    found = manager.load_newest()
    assert found is not None and found.step == 1 and found.path == paths[0]
    assert [item.path for item in found.refused] == [paths[2], paths[1]]
    assert all(str(item.path) in item.reason for item in found.refused)
    paths[0].write_bytes(b"damaged too")
    with pytest.raises(CheckpointError) as caught:
        manager.load_newest()
    assert all(str(path) in str(caught.value) for path in paths)


def test_good_ones_are_never_dropped_for_damaged_ones(tmp_path: Path) -> None:
    manager = Checkpoints(tmp_path, keep=2)
    for step in (5, 20, 30):
        save(manager, step)
    for step in (20, 30):
        (tmp_path / name(step)).write_bytes(b"damaged")
    save(manager, 5), save(manager, 6), save(manager, 7)
    assert newest(tmp_path) == 7
    save(manager, 20), save(manager, 30)
    assert files(tmp_path) == [name(20), name(30)] and newest(tmp_path) == 30


def test_what_killed_writers_left_is_removed(tmp_path: Path) -> None:
    manager = Checkpoints(tmp_path)
    save(manager, 1)
    stale = tmp_path / f".{name(2)}.12ab34cd{durable.PARTIAL_SUFFIX}"
    stale.write_bytes(b"half")
    other = tmp_path / "notes.partial"
    other.write_text("a user's own")
    assert newest(tmp_path) == 1 and stale.exists()  # a reader removes nothing
    save(manager, 2)
    assert not stale.exists() and other.exists()


# Every call of the operating system fails once


class FaultyOs:
    """``os`` as durable.py sees it, where call number `fails_at` of those in CALLS goes wrong."""

    def __init__(self, fails_at: int, fault: Callable[[str], None]) -> None:
        self.calls = 0
        self._fails_at = fails_at
        self._fault = fault

    def __getattr__(self, attribute: str) -> Any:
        real = getattr(os, attribute)
        return self._counted(attribute, real) if attribute in CALLS else real

    def _counted(self, attribute: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls == self._fails_at:
                if attribute == "write":  # half of it gets through
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                if attribute == "close":  # as POSIX has it, the descriptor is gone anyway
                    real(*arguments)
                self._fault(attribute)
            return real(*arguments)

        return call


def count_calls(monkeypatch: pytest.MonkeyPatch, folder: Path) -> int:
    manager = Checkpoints(folder, keep=1)
    save(manager, 1)
    counter = FaultyOs(-1, lambda call: None)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", counter)
        save(manager, 2)
    return counter.calls


def raise_error(number: int) -> Callable[[str], None]:
    def fault(call: str) -> None:
        raise OSError(number, os.strerror(number))

    return fault


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
def test_a_failing_call_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = count_calls(monkeypatch, tmp_path / "count")
    assert calls >= 9
    for fails_at in range(1, calls + 1):
        folder = tmp_path / str(fails_at)
        manager = Checkpoints(folder, keep=1)
        save(manager, 1)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", FaultyOs(fails_at, raise_error(number)))
            with pytest.raises(CheckpointError, match=f"{name(2)}: cannot be written"):
                save(manager, 2)
        assert newest(folder) in (1, 2)
        assert (folder / name(1)).exists()
        assert not [item for item in files(folder) if item.endswith(".partial")]


def test_an_interrupt_in_any_call_leaves_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(call: str) -> None:
        raise KeyboardInterrupt

    for fails_at in range(1, count_calls(monkeypatch, tmp_path / "count") + 1):
        folder = tmp_path / str(fails_at)
        manager = Checkpoints(folder, keep=1)
        save(manager, 1)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", FaultyOs(fails_at, fault))
            with pytest.raises(KeyboardInterrupt):
                save(manager, 2)
        assert newest(folder) in (1, 2)


def test_a_process_that_dies_in_any_call_leaves_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fails_at in range(1, count_calls(monkeypatch, tmp_path / "count") + 1):
        folder = tmp_path / str(fails_at)
        manager = Checkpoints(folder, keep=1)
        save(manager, 1)
        child = os.fork()
        if child == 0:
            durable.os = FaultyOs(fails_at, lambda call: os._exit(9))  # type: ignore[assignment, attr-defined]  # the child's own
            save(manager, 2)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert newest(folder) in (1, 2)
        save(manager, 3)
        assert files(folder) == [name(3)]


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stops the kernel itself in the middle of a file."""
    import resource
    import signal

    manager = Checkpoints(tmp_path)
    save(manager, 1)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
        with pytest.raises(CheckpointError, match="cannot be written: File too large"):
            save(manager, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert files(tmp_path) == [name(1)] and newest(tmp_path) == 1


# Power cuts: what was not synced may be lost, whole or in part


class Disk:
    """A trace of what durable.py did, and the states a power cut may leave after each call.

    A file keeps its content as last synced; what came after may be there, be cut, or be zeros. A
    folder keeps its names as last synced, and of later changes any first few, in their order.
    """

    def __init__(self) -> None:
        self.events: list[tuple[str, ...] | tuple[str, str, bytes]] = []
        self._names: dict[int, str] = {}

    def __getattr__(self, attribute: str) -> Any:
        return getattr(os, attribute)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        descriptor = os.open(path, flags, mode)
        self._names[descriptor] = Path(path).name if flags & os.O_CREAT else ""
        if flags & os.O_CREAT:
            self.events.append(("create", Path(path).name))
        return descriptor

    def write(self, descriptor: int, data: memoryview) -> int:
        written = os.write(descriptor, data[: max(1, len(data) // 2)])  # short writes, too
        self.events.append(("write", self._names[descriptor], bytes(data[:written])))
        return written

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)
        self.events.append(("fsync", self._names[descriptor]))

    def replace(self, old: Path, new: Path) -> None:
        os.replace(old, new)
        self.events.append(("replace", Path(old).name, Path(new).name))


class Wreck:
    """The state of one folder while a trace is replayed."""

    def __init__(self) -> None:
        self.live: dict[str, int] = {}
        self.synced_names: dict[str, int] = {}
        self.pending_names: list[dict[str, int]] = []
        self.content: dict[int, bytes] = {}
        self.synced: dict[int, bytes] = {}

    def apply(self, event: Any) -> None:
        match event:
            case ("create", name):
                number = len(self.content)
                self.content[number] = self.synced[number] = b""
                self._names({**self.live, name: number})
            case ("write", name, data):
                self.content[self.live[name]] += data
            case ("fsync", ""):
                self.synced_names, self.pending_names = self.live, []
            case ("fsync", name):
                self.synced[self.live[name]] = self.content[self.live[name]]
            case ("replace", old, new):
                moved = {key: value for key, value in self.live.items() if key != old}
                self._names({**moved, new: self.live[old]})

    def _names(self, names: dict[str, int]) -> None:
        self.live = names
        self.pending_names.append(names)

    def states(self) -> Iterator[dict[str, bytes]]:
        for names in [self.synced_names, *self.pending_names]:
            choices = [list(self._contents(number)) for number in names.values()]
            for contents in itertools.product(*choices):
                yield dict(zip(names, contents, strict=True))

    def _contents(self, number: int) -> Iterator[bytes]:
        whole, synced = self.content[number], self.synced[number]
        yield synced
        if whole != synced:
            yield whole
            yield synced + bytes(len(whole) - len(synced))
            yield whole[: (len(synced) + len(whole)) // 2]


def test_power_cuts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk()
    manager = Checkpoints(tmp_path / "run", keep=9)
    returned: list[int] = []  # how many events had passed when each save returned
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", disk)
        for step in (1, 2, 3):
            save(manager, step)
            returned.append(len(disk.events))
    wreck, tried = Wreck(), 0
    for position, event in enumerate(disk.events, 1):
        wreck.apply(event)
        done = sum(count <= position for count in returned)
        for number, state in enumerate(wreck.states()):
            folder = tmp_path / f"{position}-{number}"
            folder.mkdir()
            for file_name, data in state.items():
                (folder / file_name).write_bytes(data)
            assert newest(folder) in (done, done + 1)
            tried += 1
    assert tried > 100
