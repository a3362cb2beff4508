"""Runs that are stopped, killed and damaged go on bit for bit."""

from __future__ import annotations

import csv
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import pytest
import run_fake
from fake_step import Step, accuracy, problem

from graphc import checkpoint, data
from graphc.errors import CheckpointError, StateError
from graphc.frontends.train.callbacks import Callback, EarlyStopping
from graphc.frontends.train.checkpoints import Checkpoints
from graphc.frontends.train.signals import Stopped
from graphc.frontends.train.trainer import Trainer

EPOCHS = 3
STEPS = 8 * EPOCHS


class CrashError(Exception):
    """Stands for the end of the process."""


class CrashAfter(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
        if trainer.state.step == self.step:
            raise CrashError


def make_loader(seed: int = 0) -> data.Loader:
    return data.Loader(data.arrays(*problem(70)), 8, seed=seed, transform=run_fake.augment)


def make(out: Path | None, *callbacks: Callback) -> Trainer:
    return Trainer(Step(6, 3, 8), out, [accuracy], [EarlyStopping("loss", 50), *callbacks])


def fit(coach: Trainer, loader: Any = None, **options: Any) -> Trainer:
    x, y = problem(20, seed=1)
    validation = data.Loader(data.arrays(x, y), 8, shuffle=False)
    loader = make_loader() if loader is None else loader
    coach.fit(loader, EPOCHS, validation, progress=False, verbose=False, **options)
    return coach


def outcome(coach: Trainer) -> tuple[bytes, list[dict[str, float]]]:
    """What must be equal: all state, and the history but for the times."""
    records = [{k: v for k, v in record.items() if k != "seconds"} for record in coach.history]
    assert isinstance(coach.step, Step)
    return run_fake.weights(coach.step), records


@pytest.fixture(scope="module")
def unbroken() -> tuple[bytes, list[dict[str, float]]]:
    return outcome(fit(make(None)))


def logged(out: Path) -> list[int]:
    with (out / "metrics.csv").open(newline="") as stream:
        return [int(row["epoch"]) for row in csv.DictReader(stream)]


@pytest.mark.parametrize("save_every", [1, 3, None])
def test_a_crash_after_any_step(tmp_path: Path, unbroken: Any, save_every: int | None) -> None:
    for step in range(1, STEPS + 1):
        out = tmp_path / str(step)
        with pytest.raises(CrashError):
            fit(make(out, CrashAfter(step)), save_every=save_every)
        coach = fit(make(out), resume=True, save_every=save_every)
        assert outcome(coach) == unbroken
        assert logged(out) == [1, 2, 3]


def test_a_crash_at_any_save(
    tmp_path: Path, unbroken: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log has the epoch by then, the checkpoint has not; the early stopping has counted it."""
    real = Checkpoints.save
    for fails_at in range(1, 9):
        numbers = itertools.count(1)

        def save(self: Any, *given: Any, numbers: Any = numbers, fails_at: int = fails_at) -> Path:
            if next(numbers) == fails_at:
                raise CrashError
            return real(self, *given)

        out = tmp_path / str(fails_at)
        with monkeypatch.context() as patch, pytest.raises(CrashError):
            patch.setattr(Checkpoints, "save", save)
            fit(make(out), save_every=4)
        coach = fit(make(out), resume=True, save_every=4)
        assert outcome(coach) == unbroken
        assert logged(out) == [1, 2, 3]


def test_resuming_again_and_again(tmp_path: Path, unbroken: Any) -> None:
    for step in range(1, STEPS):
        with pytest.raises(CrashError):
            fit(make(tmp_path, CrashAfter(step)), resume=True, save_every=1)
    assert outcome(fit(make(tmp_path), resume=True)) == unbroken
    assert outcome(fit(make(tmp_path), resume=True)) == unbroken  # there is nothing left to do


def test_other_iterables_go_on_at_their_batch(tmp_path: Path) -> None:
    x, y = problem(64)
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 64, 8)]
    whole = outcome(fit(make(None), batches))
    with pytest.raises(CrashError):
        fit(make(tmp_path, CrashAfter(13)), batches, save_every=1)
    assert outcome(fit(make(tmp_path), batches, resume=True)) == whole


def test_a_cut_log_line_is_mended(tmp_path: Path, unbroken: Any) -> None:
    with pytest.raises(CrashError):
        fit(make(tmp_path, CrashAfter(17)), save_every=1)
    with (tmp_path / "metrics.csv").open("a") as stream:
        stream.write("3,24,0.4")
    assert outcome(fit(make(tmp_path), resume=True)) == unbroken
    assert logged(tmp_path) == [1, 2, 3]


# Which checkpoint is taken


def broken_run(out: Path) -> list[Path]:
    """A run that crashed after step 20, with its checkpoints, newest first."""
    with pytest.raises(CrashError):
        fit(make(out, CrashAfter(20)), save_every=5)
    return Checkpoints(out / "checkpoints").paths()


def test_a_damaged_checkpoint_is_passed_over_by_name(
    tmp_path: Path, unbroken: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = broken_run(tmp_path)
    paths[0].write_bytes(paths[0].read_bytes()[:-7])
    coach = fit(make(tmp_path), resume=True, save_every=5)
    assert outcome(coach) == unbroken
    assert f"refused {paths[0]}: " in capsys.readouterr().err


def test_only_damaged_checkpoints(tmp_path: Path) -> None:
    paths = broken_run(tmp_path)
    for path in paths:
        path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError) as caught:
        fit(make(tmp_path), resume=True)
    assert all(path.name in str(caught.value) for path in paths)


def test_resuming_nothing_starts_afresh(tmp_path: Path, unbroken: Any) -> None:
    assert outcome(fit(make(tmp_path / "new"), resume=True)) == unbroken


def test_checkpoints_that_do_not_fit(tmp_path: Path) -> None:
    broken_run(tmp_path)
    with pytest.raises(StateError, match="seed is 1, but the state was saved with 0"):
        fit(make(tmp_path), make_loader(seed=1), resume=True)
    other = tmp_path / "other"
    checkpoint.save(other / "checkpoints" / "step-0000000001.safetensors", {"a": np.zeros(1)})
    with pytest.raises(CheckpointError, match="holds no state of a training run"):
        fit(make(other), resume=True)
    listed = tmp_path / "listed"
    batches = [(np.zeros((8, 6), np.float32), np.zeros(8, np.int32))]
    fit(make(listed), batches)
    with pytest.raises(CheckpointError, match="was saved without a Loader"):
        fit(make(listed), resume=True)


# Signals, in this process


class Signal(Callback):
    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
        if trainer.state.step == self.step:
            os.kill(os.getpid(), self.number)


@pytest.fixture
def handlers() -> Iterator[None]:
    """Fails where a handler did not come back."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("step", [1, 7, 8, 9, STEPS])
def test_a_signal_saves_and_leaves(
    tmp_path: Path, unbroken: Any, number: signal.Signals, step: int
) -> None:
    with pytest.raises(Stopped) as caught:
        fit(make(tmp_path, Signal(number, step)))
    stopped = caught.value
    assert stopped.code == 128 + number and stopped.signal == number
    assert stopped.checkpoint == tmp_path / "checkpoints" / f"step-{step:010d}.safetensors"
    assert outcome(fit(make(tmp_path), resume=True)) == unbroken


class SignalFirst(Callback):
    def on_fit_begin(self, trainer: Trainer) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.usefixtures("handlers")
def test_a_signal_before_the_first_step(tmp_path: Path, unbroken: Any) -> None:
    with pytest.raises(Stopped):
        fit(make(tmp_path, SignalFirst()))
    assert outcome(fit(make(tmp_path), resume=True)) == unbroken


@pytest.mark.usefixtures("handlers")
def test_a_loader_that_was_used_before(tmp_path: Path) -> None:
    def used() -> data.Loader:
        loader = make_loader()
        next(iter(loader))
        return loader

    whole = outcome(fit(make(None), used()))
    with pytest.raises(Stopped):
        fit(make(tmp_path, SignalFirst()), used())
    with pytest.raises(CrashError):
        fit(make(tmp_path, CrashAfter(3)), used(), resume=True, save_every=1)
    assert outcome(fit(make(tmp_path), make_loader(), resume=True)) == whole


@pytest.mark.usefixtures("handlers")
def test_a_signal_while_validating(tmp_path: Path, unbroken: Any) -> None:
    calls = itertools.count(1)

    def late(model: Any, x: Any, y: Any) -> Any:
        if next(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return accuracy(model, x, y)

    late.__name__ = "accuracy"
    coach = Trainer(Step(6, 3, 8), tmp_path, [late], [EarlyStopping("loss", 50)])
    with pytest.raises(Stopped):
        fit(coach)
    assert coach.history == [] and coach.state.step == 8
    assert outcome(fit(make(tmp_path), resume=True)) == unbroken


@pytest.mark.usefixtures("handlers")
def test_going_on_in_the_same_process_after_a_signal(unbroken: Any) -> None:
    coach, loader = make(None, Signal(signal.SIGINT, 12)), make_loader()
    with pytest.raises(Stopped) as caught:
        fit(coach, loader)
    assert caught.value.checkpoint is None
    assert outcome(fit(coach, loader)) == unbroken


@pytest.mark.usefixtures("handlers")
def test_a_second_interrupt_is_at_once(tmp_path: Path) -> None:
    class Twice(Callback):
        def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("the second one came through")

    with pytest.raises(KeyboardInterrupt):
        fit(make(tmp_path, Twice()))
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.usefixtures("handlers")
def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert len(fit(make(None, Signal(signal.SIGINT, 3))).history) == EPOCHS
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


# Processes


@pytest.fixture(scope="module")
def final(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The final weights of run_fake.py when nothing stops it."""
    coach, loader, validation = run_fake.make(tmp_path_factory.mktemp("run") / "out", 0)
    coach.fit(loader, run_fake.EPOCHS, validation, verbose=False)
    assert isinstance(coach.step, Step)
    return run_fake.weights(coach.step)


def start(folder: Path, seconds: float) -> subprocess.Popen[str]:
    """A process that trains, once it is at its first step."""
    script = str(Path(run_fake.__file__))
    command = [sys.executable, script, str(folder / "out"), str(folder / "final"), str(seconds)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert process.stdout is not None
    seen = ""
    while not seen.splitlines()[-1:] or not seen.splitlines()[-1].startswith("ready"):
        line = process.stdout.readline()
        assert line, seen
        seen += line
    return process


def test_killed_at_random_times(tmp_path: Path, final: bytes) -> None:
    delays, kills = random.Random(0), 0
    while not (tmp_path / "final").exists():
        process = start(tmp_path, seconds=0.004)
        time.sleep(delays.uniform(0, 0.12))
        process.kill()
        process.communicate()
        kills += process.returncode == -signal.SIGKILL
        assert kills < 40
    assert kills >= 3
    assert (tmp_path / "final").read_bytes() == final


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_give_the_exit_codes_of_a_shell(
    tmp_path: Path, final: bytes, number: signal.Signals, code: int
) -> None:
    process = start(tmp_path, seconds=0.01)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == code
    assert f"stopped by {number.name} after step" in output and "Traceback" not in output
    assert start(tmp_path, seconds=0).wait(20) == 0
    assert (tmp_path / "final").read_bytes() == final
