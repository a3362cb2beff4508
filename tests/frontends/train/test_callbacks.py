"""Callbacks of the trainer: their order, stopping early, the best checkpoint, TensorBoard."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import SupportsFloat

import pytest
from fake_trainer import held_out, loader, quiet, trainer

from graphc import checkpoint
from graphc.errors import ArgumentError
from graphc.frontends.train.callbacks import Callback, EarlyStopping, SaveBest
from graphc.frontends.train.trainer import Trainer


def test_callbacks_are_called_in_order() -> None:
    calls: list[str] = []

    class Note(Callback):
        def on_fit_begin(self, trainer: Trainer) -> None:
            calls.append("begin")

        def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
            calls.append(f"step {trainer.state.step}")

        def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
            calls.append(f"epoch {record['epoch']}")

        def on_fit_end(self, trainer: Trainer) -> None:
            calls.append("end")

    quiet(trainer(callbacks=[Note()]), 2, loader=loader(16))
    assert calls == ["begin", "step 1", "step 2", "epoch 1", "step 3", "step 4", "epoch 2", "end"]


def test_the_end_is_called_when_training_fails() -> None:
    ended: list[bool] = []

    class Fail(Callback):
        def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
            raise RuntimeError("on purpose")

        def on_fit_end(self, trainer: Trainer) -> None:
            ended.append(True)

    with pytest.raises(RuntimeError, match="on purpose"):
        quiet(trainer(callbacks=[Fail()]), 1)
    assert ended == [True]


def feed(stopper: EarlyStopping, values: list[float]) -> int:
    """After how many epochs of these values it stops."""
    coach = trainer()
    for count, value in enumerate(values, 1):
        stopper.on_epoch_end(coach, {"epoch": count, "value": value})
        if coach.is_stopping:
            return count
    return 0


def test_early_stopping() -> None:
    assert feed(EarlyStopping("value", 2), [3, 2, 1, 1, 1.5, 0]) == 5
    assert feed(EarlyStopping("value", 2), [3, 2, 1, 1, 0.5, 1, 1, 0]) == 7
    assert feed(EarlyStopping("value", 2, mode="max"), [1, 2, 3, 2, 3, 4]) == 5
    assert feed(EarlyStopping("value", 2, minimum_change=0.5), [3, 2.6, 2.6, 1]) == 3
    assert feed(EarlyStopping("value", 2), [3, math.nan, math.nan]) == 3
    assert feed(EarlyStopping("value", 9), [3, 4, 5]) == 0


def test_early_stopping_ends_the_run_also_when_resumed(tmp_path: Path) -> None:
    def stopper() -> EarlyStopping:
        return EarlyStopping("validation_loss", patience=2, minimum_change=10.0)

    coach = trainer(out=tmp_path, callbacks=[stopper()])
    assert len(quiet(coach, 20, validation=held_out())) == 3
    again = trainer(out=tmp_path, callbacks=[stopper()])
    assert len(quiet(again, 20, validation=held_out(), resume=True)) == 3


def test_early_stopping_errors() -> None:
    with pytest.raises(ArgumentError, match="no 'validation_loss'; it has epoch, step, loss"):
        coach = trainer(callbacks=[EarlyStopping()])
        quiet(coach, 1)
    assert coach.state.step == 0  # before anything ran
    with pytest.raises(ArgumentError, match="patience is 0"):
        EarlyStopping(patience=0)
    with pytest.raises(ArgumentError, match="mode is 'best'"):
        EarlyStopping(mode="best")  # type: ignore[arg-type]  # the error is the test


def test_save_best(tmp_path: Path) -> None:
    coach = trainer(out=tmp_path, callbacks=[SaveBest(monitor="validation_accuracy", mode="max")])
    history = quiet(coach, 4, validation=held_out())
    arrays, metadata = checkpoint.load(tmp_path / "best.safetensors")
    best = max(history, key=lambda record: record["validation_accuracy"])
    assert metadata["record"] == best
    assert set(arrays) == set(coach.step.state_dict())
    with pytest.raises(ArgumentError, match="give a path, or the Trainer an out"):
        quiet(trainer(callbacks=[SaveBest()]), 1)


def test_tensorboard_names_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from graphc.frontends.train.logs import TensorBoard

    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ArgumentError, match=r"pip install 'graphc\[tensorboard\]'"):
        quiet(trainer(out=tmp_path, callbacks=[TensorBoard()]), 1)
    with pytest.raises(ArgumentError, match="give a folder"):
        quiet(trainer(callbacks=[TensorBoard()]), 1)


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from graphc.frontends.train.logs import TensorBoard

    def coach() -> Trainer:
        return trainer(out=tmp_path, callbacks=[TensorBoard(every=4)])

    quiet(coach(), 2, validation=held_out())
    history = quiet(coach(), 3, validation=held_out(), resume=True)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("loss", "validation_loss", "validation_accuracy"):
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert found == [(8 * i, pytest.approx(r[name])) for i, r in enumerate(history, 1)]
    assert [event.step for event in events.Scalars("step_loss")] == [4, 8, 12, 16, 20, 24]
