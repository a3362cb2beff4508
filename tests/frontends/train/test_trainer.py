"""The trainer on a small step in NumPy: epochs, evaluation, what a run prints and writes."""

from __future__ import annotations

import csv
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import pytest
from fake_step import Step, accuracy, cross_entropy, problem, wrong_shape
from fake_trainer import held_out, loader, quiet, trainer
from hypothesis import given
from hypothesis import strategies as st

from graphc import checkpoint, data
from graphc.errors import ArgumentError, DataError, GraphcError, ShapeError
from graphc.frontends.train.callbacks import Callback
from graphc.frontends.train.evaluation import rebatched
from graphc.frontends.train.trainer import Trainer


def test_it_learns_and_keeps_the_history() -> None:
    coach = trainer()
    history = quiet(coach, 5, validation=held_out())
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5]
    assert [record["step"] for record in history] == [8, 16, 24, 32, 40]
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["validation_accuracy"] > 0.9
    assert list(history[0]) == [
        "epoch", "step", "loss", "validation_loss", "validation_accuracy", "seconds",
    ]  # fmt: skip
    assert coach.history == history


def test_the_loss_of_an_epoch_is_the_mean_of_its_steps() -> None:
    losses: list[float] = []

    class Note(Callback):
        def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
            losses.append(float(loss))

    history = quiet(trainer(callbacks=[Note()]), 2, loader=loader(80 * 8))
    assert len(losses) == 160
    assert history[0]["loss"] == sum(losses[:80]) / 80
    assert history[1]["loss"] == sum(losses[80:]) / 80


# Evaluation and prediction


def test_evaluation_equals_the_whole_data_at_once() -> None:
    coach = trainer()
    quiet(coach, 2)
    x, y = problem(45, seed=1)
    expected_loss = float(cross_entropy(coach.step.model, x, y))
    expected_accuracy = float(accuracy(coach.step.model, x, y).mean(dtype=np.float64))
    for batch_size in (8, 5, 3, 45, 100):
        batches = data.Loader(data.arrays(x, y), batch_size, shuffle=False)
        result = coach.evaluate(batches)
        assert list(result) == ["loss", "accuracy"]
        assert result["loss"] == pytest.approx(expected_loss, rel=1e-5)
        assert result["accuracy"] == pytest.approx(expected_accuracy, abs=1e-12)


def test_padding_is_left_out_and_programs_are_compiled_once() -> None:
    coach = trainer()
    for _ in range(3):
        coach.evaluate(held_out(45))
    assert isinstance(coach.step, Step)
    assert sorted(coach.step.compiled) == [
        ("accuracy", 8),
        ("cross_entropy", 5),
        ("cross_entropy", 8),
    ]


def test_a_shuffling_loader_is_evaluated_whole_and_in_order() -> None:
    coach = trainer()
    x, y = problem(45)
    shuffling = data.Loader(data.arrays(x, y), 8)
    in_order = data.Loader(data.arrays(x, y), 8, shuffle=False)
    assert coach.evaluate(shuffling) == coach.evaluate(in_order)
    assert (shuffling.epoch, shuffling.position) == (0, 0)
    np.testing.assert_array_equal(coach.predict(shuffling), coach.predict(in_order))


def test_prediction_is_the_model_on_every_example() -> None:
    coach = trainer()
    quiet(coach, 1)
    x, y = problem(45, seed=1)
    expected = coach.step.model(x)
    np.testing.assert_allclose(coach.predict(held_out(45)), expected, rtol=1e-5)
    np.testing.assert_allclose(coach.predict([x[:20], x[20:]]), expected, rtol=1e-5)
    assert coach.predict([(x[:3], y[:3])]).shape == (3, 3)
    np.testing.assert_allclose(coach.predict(x), expected, rtol=1e-5)
    np.testing.assert_allclose(coach.predict(data.arrays(x, y)), expected, rtol=1e-5)
    with pytest.raises(DataError, match=r"part 1 of a batch is a number alone.*give its Loader"):
        coach.predict(list(zip(x, y, strict=True)))


def test_a_batch_of_names_is_refused() -> None:
    x, y = problem(8)
    with pytest.raises(DataError, match="a batch is a dict of x, y; expected a tuple of arrays"):
        trainer().fit([{"x": x, "y": y}], 1, verbose=False)


def test_nothing_to_evaluate() -> None:
    for call in (trainer().evaluate, trainer().predict):
        with pytest.raises(DataError, match="gives no examples"):
            call([])


def test_metrics_that_are_none() -> None:
    with pytest.raises(ShapeError, match=r"wrong_shape gives shape \(\), expected one entry per"):
        trainer(metrics=(wrong_shape,)).evaluate(held_out())

    def rows(model: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x

    with pytest.raises(ShapeError, match=r"'rows' gives shape \(8, 6\), expected .* \(8,\)"):
        trainer(metrics=(rows,)).evaluate(held_out())
    with pytest.raises(ArgumentError, match="two metrics are called 'accuracy'"):
        trainer(metrics=(accuracy, accuracy))
    with pytest.raises(ArgumentError, match="not 'accuracy'"):
        trainer(metrics=("accuracy",))


@given(st.lists(st.integers(1, 9), max_size=12), st.integers(1, 7))
def test_rebatching_keeps_every_example_in_order(sizes: list[int], size: int) -> None:
    whole = np.arange(sum(sizes))
    batches = [(part,) for part in np.split(whole, np.cumsum(sizes)[:-1])] if sizes else []
    result = [batch[0] for batch in rebatched(batches, size)]
    assert all(len(batch) == size for batch in result[:-1])
    assert np.array_equal(np.concatenate([*result, whole[:0]]), whole)
    assert not result or 1 <= len(result[-1]) <= size


# What a run prints and writes


def test_one_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    trainer().fit(loader(), 2, validation=held_out())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss 0.")
    assert "  validation loss 0." in lines[1] and "  validation accuracy 0." in lines[1]


def test_the_bar_can_be_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    trainer().fit(loader(), 2, progress=True)
    assert "epoch 2/2  loss 0." in capsys.readouterr().out
    code = "import sys, graphc.frontends.train.trainer as t\nassert 'rich' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_metrics_csv_holds_the_history(tmp_path: Path) -> None:
    coach = trainer(out=tmp_path / "run")
    history = quiet(coach, 3, validation=held_out())
    found = rows(tmp_path / "run" / "metrics.csv")
    assert [{name: float(value) for name, value in row.items()} for row in found] == history
    assert found[2]["epoch"] == "3" and found[2]["step"] == "24"
    columns = list(found[0])
    assert columns[:3] == ["epoch", "step", "loss"] and columns[-1] == "seconds"
    coach = trainer(out=tmp_path / "run")
    quiet(coach, 4, validation=held_out(), resume=True)
    assert list(rows(tmp_path / "run" / "metrics.csv")[0]) == columns


def test_metrics_csv_takes_new_columns(tmp_path: Path) -> None:
    coach = trainer(out=tmp_path)
    quiet(coach, 1)
    quiet(coach, 2, validation=held_out())
    first, second = rows(tmp_path / "metrics.csv")
    assert first["validation_loss"] == "" and float(second["validation_loss"]) > 0


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    class Spoil(Callback):
        def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
            (tmp_path / "metrics.csv").mkdir()

    with pytest.raises(GraphcError, match=r"metrics\.csv: cannot be written"):
        quiet(trainer(out=tmp_path, callbacks=[Spoil()]), 1)


def test_checkpoints_hold_state_and_place(tmp_path: Path) -> None:
    coach = trainer(out=tmp_path)
    quiet(coach, 2, keep=2, save_every=3)
    names = sorted(item.name for item in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-0000000015.safetensors", "step-0000000016.safetensors"]
    arrays, metadata = checkpoint.load(tmp_path / "checkpoints" / names[0])
    assert set(arrays) == set(coach.step.state_dict())
    assert metadata["trainer"]["epoch"] == 1 and metadata["trainer"]["position"] == 7
    assert metadata["trainer"]["place"]["position"] == 7


def test_without_out_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    quiet(trainer(), 2, validation=held_out())
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    quiet(trainer(out=tmp_path), 1)
    before = {item: item.read_bytes() for item in tmp_path.rglob("*") if item.is_file()}
    with pytest.raises(ArgumentError, match="holds a run already; resume it"):
        quiet(trainer(out=tmp_path), 1)
    assert {item: item.read_bytes() for item in tmp_path.rglob("*") if item.is_file()} == before


def test_two_trainers_at_once_in_one_folder(tmp_path: Path) -> None:
    class Intrude(Callback):
        def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
            with pytest.raises(ArgumentError, match="another process is training into it"):
                quiet(Trainer(Step(6, 3, 8), tmp_path), 1, resume=True)

    quiet(trainer(out=tmp_path, callbacks=[Intrude()]), 1)


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="epochs is -1"):
        quiet(trainer(), -1)
    with pytest.raises(ArgumentError, match="save_every is 0"):
        quiet(trainer(), 1, save_every=0)
    with pytest.raises(ArgumentError, match="keep is 0"):
        quiet(trainer(out=tmp_path), 1, keep=0)
    with pytest.raises(ArgumentError, match="resume needs a Trainer with out"):
        quiet(trainer(), 1, resume=True)
    with pytest.raises(DataError, match="gives no batches to train on"):
        trainer().fit([], 1)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="file: no folder to train into: File exists"):
        quiet(trainer(out=tmp_path / "file"), 1)
    with pytest.raises(ArgumentError, match="callback is made from"):
        trainer(callbacks=[print])


# Going on in the same process


def test_epochs_are_counted_in_all() -> None:
    once, twice = trainer(), trainer()
    quiet(once, 4)
    batches = loader()
    quiet(twice, 1, loader=batches)
    quiet(twice, 4, loader=batches)
    assert [record["epoch"] for record in twice.history] == [1, 2, 3, 4]
    assert weights(once) == weights(twice)


def weights(coach: Trainer) -> bytes:
    return b"".join(value.tobytes() for value in coach.step.state_dict().values())


@pytest.mark.parametrize("stop_at", [1, 5, 8, 11])
def test_going_on_after_a_stop_in_mid_epoch(stop_at: int) -> None:
    class StopOnce(Callback):
        def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
            if trainer.state.step == stop_at:
                trainer.stop()

    whole, parts, batches = trainer(), trainer(callbacks=[StopOnce()]), loader()
    quiet(whole, 3)
    quiet(parts, 3, loader=batches)
    assert parts.state.step == stop_at
    quiet(parts, 3, loader=batches)
    assert weights(whole) == weights(parts)
    assert [r["loss"] for r in whole.history] == [r["loss"] for r in parts.history]


def test_training_outside_the_main_thread() -> None:
    coach = trainer()
    thread = threading.Thread(target=quiet, args=(coach, 2))
    thread.start()
    thread.join()
    assert len(coach.history) == 2
