"""A step with a program for each bucket, all on one state; training, evaluation and resuming."""

from __future__ import annotations

from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
import pytest

import graphc.functional as F
from graphc import callbacks, data, decoding, metrics, nn, optim
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.tracing import Spec
from graphc.frontends.train.step import TrainStep
from graphc.frontends.train.trainer import Trainer


class Summing(nn.Module):
    """Weights each number, then sums up those that count; padding does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)

    def forward(self, x: Any, lengths: Any) -> Any:
        counted = F.expand_dims(F.arange(x.shape[1]), 0) < F.expand_dims(lengths, 1)
        return F.where(F.expand_dims(counted, 2), self.embedding(x), 0.0).sum(axis=1)


def loss(model: Any, x: Any, lengths: Any, y: Any) -> Any:
    return F.cross_entropy(model(x, lengths), y)


def right(model: Any, x: Any, lengths: Any, y: Any) -> Any:
    return (model(x, lengths).argmax(axis=1) == y).astype("float32")


def examples(count: int = 30, seed: int = 0) -> data.SequenceDataset:
    random = np.random.default_rng(seed)
    x = [random.integers(1, 5, random.integers(1, 9)).astype(np.int32) for _ in range(count)]
    return data.sequences(x, [np.int32(part.sum() % 3) for part in x])


def loader(buckets: Any, count: int = 30, **options: Any) -> data.BucketLoader:
    return data.BucketLoader(examples(count), 4, [(size, None) for size in buckets], **options)


def make(buckets: Any) -> TrainStep:
    specs = loader(buckets).specs
    return TrainStep(Summing(), loss, optim.Adam(0.1), buckets=specs, backend="interpreter")


def test_small_buckets_train_as_one_large_one() -> None:
    """Padding changes nothing, and moments, counters and weights are the same arrays."""
    several, one = make([3, 8]), make([8])
    for x, lengths, y in loader([3, 8]):
        wide = np.zeros((4, 8), np.int32)
        wide[:, : x.shape[1]] = x
        assert float(several(x, lengths, y)) == pytest.approx(float(one(wide, lengths, y)))
    found, expected = several.state_dict(), one.state_dict()
    assert list(found) == list(expected) and int(found["step"]) == 7
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_all_programs_are_compiled_before_the_first_step() -> None:
    step = make([2, 4, 8])
    assert [program.graph.inputs[0].shape for program in step.programs] == [(4, 2), (4, 4), (4, 8)]
    assert step.program is step.programs[-1] and step.graph is step.program.graph
    with pytest.raises(ArgumentError, match="is compiled; set threads before"):
        step.threads = 2


def test_programs_of_a_step_share_one_arena() -> None:
    """Buckets and evaluation too: what one leaves in it means nothing to the next."""
    shared = TrainStep(
        Summing(), loss, optim.Adam(0.1), buckets=loader([3, 8]).specs, backend="cpu", threads=1
    )
    alone = [
        TrainStep(Summing(), loss, optim.Adam(0.1), *specs, backend="cpu", threads=1)
        for specs in shared.buckets
    ]
    shared.compile()
    trainer = Trainer(shared, metrics=[right])
    state = shared.state_dict()
    for batch in loader([3, 8], shuffle=False, drop_last=True):
        one = alone[batch[0].shape[1] == 8]
        one.load_state_dict(state)
        expected = float(one(*batch))
        trainer.evaluate([batch])
        assert float(shared(*batch)) == expected
        state = shared.state_dict()
        assert all(np.array_equal(state[k], v) for k, v in one.state_dict().items())
    executables: Any = [program._executable for program in shared.programs]
    first, last = (executable.working_bytes for executable in executables)
    assert first == last and executables[0]._arena is executables[1]._arena


def test_another_shape_is_an_error_that_names_the_dimension() -> None:
    step = make([3, 8])
    y = np.zeros(4, np.int32)
    with pytest.raises(ShapeError, match=r"array 0 \(x\): dimension 1 is 5, the buckets have 3, 8"):
        step(np.zeros((4, 5), np.int32), y, y)
    with pytest.raises(ShapeError, match=r"array 1 \(lengths\) has 2 dimensions"):
        step(np.zeros((4, 3), np.int32), y[:, None], y)
    with pytest.raises(ShapeError, match="2 arrays, expected 3"):
        step(np.zeros((4, 3), np.int32), y)


def test_a_shape_that_mixes_buckets_is_an_error() -> None:
    pair = [(Spec((2, 3)), Spec((2, 3))), (Spec((2, 5)), Spec((2, 5)))]

    def distance(model: Any, x: Any, y: Any) -> Any:
        return (model.weight * (x - y)).sum()

    step = TrainStep(nn.RMSNorm(1), distance, optim.SGD(), buckets=pair, backend="interpreter")
    with pytest.raises(ShapeError, match=r"the buckets are f32\[2,3\] f32\[2,3\]; f32\[2,5\]"):
        step(np.zeros((2, 3)), np.zeros((2, 5)))


@pytest.mark.parametrize(
    ("specs", "buckets", "text"),
    [
        ([Spec(2)], [(Spec(2),)], "1 batch specs and 1 buckets"),
        ([], [], "0 batch specs and 0 buckets"),
        ([], [(Spec(2),), (Spec((2, 2)),)], "differ in more than their extents"),
        ([], [(Spec(2),), (Spec(2),)], "two buckets are the same"),
    ],
)
def test_buckets_that_cannot_be(specs: Any, buckets: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        TrainStep(nn.Linear(2, 2), loss, optim.SGD(), *specs, buckets=buckets)


def test_evaluation_is_over_all_examples_whatever_their_buckets() -> None:
    step = make([3, 8])
    trainer = Trainer(step, metrics=[right])
    several = trainer.evaluate(loader([3, 8], 30, shuffle=False))
    one = Trainer(make([8]), metrics=[right]).evaluate(loader([8], 30, shuffle=False))
    assert several == pytest.approx(one)
    odd = data.BucketLoader(examples(), 7, [(3, None), (8, None)], shuffle=False)
    assert trainer.evaluate(odd) == pytest.approx(one), "another batch size than the step's"


def test_predictions_come_in_the_order_of_the_data_set() -> None:
    step = make([3, 8])
    trainer = Trainer(step)
    found = trainer.predict(loader([3, 8], 30))  # of three arrays, the model takes two
    assert np.array_equal(found, trainer.predict(loader([3, 8], 30), inputs=2))
    weight = step.state_dict()["model.embedding.weight"]
    expected = [weight[x].sum(axis=0) for x, _ in (examples()[i] for i in range(30))]
    assert len(found) == 30
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_decoded_metric_sees_the_whole_data_set_once() -> None:
    def pairs(outputs: Any, x: Any, lengths: Any, y: Any) -> Any:
        assert len(outputs) == len(x)
        shown = outputs.argmax(axis=1)
        return [("ab"[:n], "abc"[: n + 1]) for n in 0 * shown]

    rate = metrics.Decoded(
        "rate", lambda model, x, n, y: model(x, n), pairs, decoding.character_error_rate
    )
    result = Trainer(make([3, 8]), metrics=[rate]).evaluate(loader([3, 8], 30, shuffle=False))
    assert result["rate"] == 1.0 and set(result) == {"loss", "rate"}


class Interrupt(callbacks.Callback):
    def on_step_end(self, trainer: Trainer, loss: SupportsFloat) -> None:
        if trainer.state.step == 10:
            raise KeyboardInterrupt


def test_a_run_with_buckets_goes_on_bit_for_bit(tmp_path: Path) -> None:
    def fit(out: Path, *hooks: callbacks.Callback, resume: bool = False) -> Trainer:
        trainer = Trainer(make([3, 5, 8]), out, [right], hooks)
        checked = loader([3, 5, 8], 30, shuffle=False)
        options: Any = {"save_every": 1, "resume": resume, "progress": False, "verbose": False}
        trainer.fit(loader([3, 5, 8]), 3, checked, **options)
        return trainer

    whole = fit(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", Interrupt())
    resumed = fit(tmp_path / "cut", resume=True)
    assert resumed.state.step == whole.state.step == 21
    expected = whole.step.state_dict()
    for name, array in resumed.step.state_dict().items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    drop = [{k: v for k, v in r.items() if k != "seconds"} for r in resumed.history]
    assert drop == [{k: v for k, v in r.items() if k != "seconds"} for r in whole.history]
