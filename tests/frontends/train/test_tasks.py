"""Several tasks on one trunk: one step, batches of each, metrics of each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import data, metrics, nn, optim
from graphc.errors import ArgumentError, DataError


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(3, 16), nn.Tanh())
        self.sign, self.largest = nn.Linear(16, 2), nn.Linear(16, 3)

    def forward(self, first: Any, second: Any) -> tuple[Any, Any]:
        features = self.trunk(F.concatenate([first, second]))
        return self.sign(features[: len(first)]), self.largest(features[len(first) :])


def loss(model: Any, x: Any, sign: Any, z: Any, largest: Any) -> Any:
    signs, largests = model(x, z)
    return F.cross_entropy(signs, sign) + 0.5 * F.cross_entropy(largests, largest)


def sign(model: Any, x: Any, sign: Any, z: Any, largest: Any) -> Any:
    return metrics.accuracy(lambda x: model(x, z)[0], x, sign)


def largest(model: Any, x: Any, sign: Any, z: Any, largest: Any) -> Any:
    return metrics.accuracy(lambda z: model(x, z)[1], z, largest)


def tasks() -> data.PairedDataset:
    random = np.random.default_rng(0)
    x, z = (random.normal(size=(n, 3)).astype(np.float32) for n in (96, 64))
    first = data.arrays(x, (x.sum(axis=1) > 0).astype(np.int32))
    return data.paired(first, data.arrays(z, z.argmax(axis=1).astype(np.int32)))


def test_two_tasks_learn_in_one_step_with_a_metric_each() -> None:
    specs = [graphc.Spec((16, 3)), graphc.Spec((16,), "int32")] * 2
    step = graphc.TrainStep(Heads(), loss, optim.Adam(lr=0.02), *specs)
    trainer = graphc.Trainer(step, metrics=(sign, largest))
    loader = data.Loader(tasks(), 16)
    history = trainer.fit(loader, 20, validation=loader, progress=False, verbose=False)
    assert history[-1]["validation_sign"] > 0.9 and history[-1]["validation_largest"] > 0.9
    products = [launch for launch in step.program.launches if "matmul" in launch.ops]
    assert len(products) == 3 + 2 + 3  # forward, back to the trunk, weights: its trunk runs once


def test_a_prediction_of_several_inputs_needs_them() -> None:
    specs = [graphc.Spec((16, 3)), graphc.Spec((16,), "int32")] * 2
    trainer = graphc.Trainer(graphc.TrainStep(Heads(), loss, optim.Adam(), *specs))
    with pytest.raises(DataError, match="batches of 1 arrays; the Heads takes 2 inputs"):
        trainer.predict(np.zeros((16, 3), np.float32))


def test_the_gradient_of_the_trunk_is_the_sum_of_both_tasks() -> None:
    model = Heads().double()
    model.make_state(1)
    batch = tuple(
        x.astype(np.float64) if x.dtype.kind == "f" else x for x in tasks().batch(np.arange(8))
    )

    def moved(weights: tuple[float, float]) -> np.ndarray[Any, Any]:
        def weighted(model: Any, x: Any, sign: Any, z: Any, largest: Any) -> Any:
            found, other = model(x, z)
            one, two = F.cross_entropy(found, sign), F.cross_entropy(other, largest)
            return weights[0] * one + weights[1] * two

        specs = [graphc.Spec(array.shape, str(array.dtype)) for array in batch]
        before = model.state_dict()
        graphc.TrainStep(model, weighted, optim.SGD(1.0), *specs, backend="interpreter")(*batch)
        after = model.state_dict()
        model.load_state_dict(before)
        return np.asarray(before["trunk.0.weight"] - after["trunk.0.weight"])

    both, first, second = moved((1.0, 0.5)), moved((1.0, 0.0)), moved((0.0, 0.5))
    np.testing.assert_allclose(both, first + second, rtol=1e-10, atol=1e-15)


def test_paired_examples_begin_again_and_go_on_after_a_break() -> None:
    pairs = tasks()
    assert len(pairs) == 96
    x, _, z, _ = pairs[70]
    again = pairs.batch(np.array([70, 6]))
    np.testing.assert_array_equal(again[0][0], x)
    np.testing.assert_array_equal(again[2], [z, z])
    loader, other = data.Loader(pairs, 10, seed=3), data.Loader(pairs, 10, seed=3)
    batches = list(loader)
    iterator = iter(other)
    next(iterator)
    third = data.Loader(pairs, 10, seed=3)
    third.load_state_dict(other.state_dict())
    for found, expected in zip(third, batches[1:], strict=True):
        for array, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_nothing_to_pair_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"lengths \[\]"):
        data.paired()
    with pytest.raises(ArgumentError, match=r"lengths \[3, 0\]"):
        data.paired([1, 2, 3], [])
