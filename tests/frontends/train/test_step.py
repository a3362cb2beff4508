"""Whole training steps: one program for forward, loss, backward and update."""

from typing import Any

import numpy as np
import pytest

import graphc.functional as F
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, MemoryBudgetError, ShapeError, StateError
from graphc.frontends.tracing import Spec
from graphc.frontends.train.arguments import Loss
from graphc.frontends.train.step import TrainStep
from graphc.frontends.train.trainer import Trainer

Batch = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


class Net(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Linear(4, 8)
        self.dropout = nn.Dropout(dropout)
        self.last = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        return self.last(self.dropout(F.relu(self.first(x))))


def loss(model: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(model(x), y)


def make(optimizer: optim.Optimizer, model: Any = None, **options: Any) -> TrainStep:
    options = {"backend": "interpreter", **options}
    specs = Spec((6, 4)), Spec((6,), "int32")
    return TrainStep(model or Net(), loss, optimizer, *specs, **options)


def batch() -> Batch:
    random = np.random.default_rng(0)
    return random.normal(size=(6, 4)).astype(np.float32), random.integers(0, 3, 6).astype(np.int32)


def by_hand(state: dict[str, Any], x: Any, y: Any) -> tuple[float, dict[str, Any]]:
    """The loss and its gradients, with the chain rule written out."""
    w, c = state["model.first.weight"], state["model.first.bias"]
    v, d = state["model.last.weight"], state["model.last.bias"]
    hidden = np.maximum(x @ w.T + c, 0)
    scores = hidden @ v.T + d
    share = np.exp(scores - scores.max(1, keepdims=True))
    share /= share.sum(1, keepdims=True)
    value = -np.log(share[np.arange(6), y]).mean()
    back = (share - np.eye(3)[y]) / 6
    below = (back @ v) * (hidden > 0)
    return value, {
        "model.first.weight": below.T @ x,
        "model.first.bias": below.sum(0),
        "model.last.weight": back.T @ hidden,
        "model.last.bias": back.sum(0),
    }


@pytest.mark.parametrize("backend", ["interpreter", "cpu"])
def test_a_step_of_sgd_is_the_one_computed_by_hand(backend: str) -> None:
    step = make(optim.SGD(lr=0.5), backend=backend)
    before = {name: array.copy() for name, array in step.state_dict().items()}
    expected, grads = by_hand(before, *batch())
    found = step(*batch())
    assert float(found) == pytest.approx(expected, rel=1e-5)
    after = step.state_dict()
    for name, grad in grads.items():
        np.testing.assert_allclose(after[name], before[name] - 0.5 * grad, rtol=1e-5, atol=1e-6)
    assert after["step"] == 1


def test_the_loss_falls() -> None:
    step = make(optim.Adam(lr=0.05))
    losses = [float(step(*batch())) for _ in range(30)]
    assert losses[-1] < 0.3 * losses[0]


def test_only_trainable_parameters_move() -> None:
    model = Net()
    model.freeze("first.*")
    step = make(optim.Adam(lr=0.1), model)
    before = {name: array.copy() for name, array in step.state_dict().items()}
    step(*batch())
    after = step.state_dict()
    np.testing.assert_array_equal(after["model.first.weight"], before["model.first.weight"])
    assert not np.array_equal(after["model.last.weight"], before["model.last.weight"])
    assert not any(name.startswith("optimizer.first") for name in after)


def test_state_names_and_a_resumed_step_goes_on_bit_for_bit() -> None:
    first = make(optim.NAdam(), Net(0.5))
    first(*batch())
    saved = {name: array.copy() for name, array in first.state_dict().items()}
    assert {"model.first.weight", "optimizer.first.weight.exp_avg", "step", "key"} <= set(saved)
    second = make(optim.NAdam(), Net(0.5), seed=7)
    second.load_state_dict(saved)
    assert [float(first(*batch())) for _ in range(3)] == [float(second(*batch())) for _ in range(3)]


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(StateError, match="nonsense"):
        make(optim.SGD()).load_state_dict({"model.nonsense": np.zeros(3)})


def test_dropout_draws_anew_at_every_step() -> None:
    step = make(optim.SGD(lr=0.0), Net(0.5))
    assert float(step(*batch())) != float(step(*batch()))


def test_evaluation_sees_the_trained_weights_without_dropout() -> None:
    step = make(optim.SGD(lr=0.5), Net(0.5))
    scores = step.evaluation(lambda model, x: model(x), Spec((6, 4)))
    x, _ = batch()
    before = scores(x)
    np.testing.assert_array_equal(before, scores(x))
    step(*batch())
    assert not np.array_equal(before, scores(x))
    assert step.model.training


def test_arrays_of_the_same_kind_convert_and_others_do_not() -> None:
    x, y = batch()
    step = make(optim.SGD(lr=0.0))
    assert float(step(x.astype(np.float64), y.astype(np.int64))) == float(step(x, y))
    with pytest.raises(DTypeError, match="batch array 1"):
        step(x, y + np.int64(2**40))
    with pytest.raises(DTypeError, match="float32"):
        step(x, y.astype(np.float32))
    with pytest.raises(DTypeError, match="beyond"):
        step(x.astype(np.float64) + 1e300, y)


def test_a_wrong_shape_names_array_and_dimension() -> None:
    x, y = batch()
    step = make(optim.SGD())
    with pytest.raises(ShapeError, match=r"batch array 0 .*dimension 1 is 3, expected 4"):
        step(x[:, :3], y)
    with pytest.raises(ShapeError, match="1 arrays, expected 2"):
        step(x)


def test_a_loss_per_example_and_a_frozen_model_are_refused_when_made() -> None:
    specs = Spec((6, 4)), Spec((6,), "int32")
    with pytest.raises(ShapeError, match="scalar"):
        TrainStep(Net(), lambda model, x, y: model(x), optim.SGD(), *specs)
    frozen = Net()
    frozen.freeze("*")
    with pytest.raises(ArgumentError, match="trainable"):
        make(optim.SGD(), frozen)


def test_a_parameter_that_is_not_the_models_is_refused() -> None:
    other = nn.Linear(4, 3)
    specs = Spec((6, 4)), Spec((6,), "int32")
    with pytest.raises(ArgumentError, match=r"reads parameter weight, which is no part of the Net"):
        TrainStep(Net(), lambda model, x, y: F.cross_entropy(other(x), y), optim.SGD(), *specs)
    step = make(optim.SGD())
    step.model.last = nn.Linear(8, 3)
    with pytest.raises(ArgumentError, match=r"Net\.train: parameter last\.weight has left the Net"):
        step(*batch())


def test_loss_counts_as_its_number() -> None:
    found = Loss(np.float32(0.25))
    assert (found + 1, 1 - found, found * 2, 1 / found) == (1.25, 0.75, 0.5, 4.0)
    assert (found // 0.1, 1 % found, found**2, 4**found) == (2.0, 0.0, 0.0625, 4**0.25)
    assert (-found, +found, abs(-found), round(found, 1), int(found)) == (-0.25, 0.25, 0.25, 0.2, 0)
    assert sum([found, found]) == found + found == 0.5
    assert np.mean([found, found]) == max(found, 0.1) == found.item() == 0.25
    np.testing.assert_array_equal(found * np.ones(2), [0.25, 0.25])


def test_evaluation_takes_the_passes_and_the_budget_of_the_step() -> None:
    step = make(optim.SGD(), passes="simplify,autodiff,simplify,decompose,fuse")
    program = step.evaluation(loss, *step.batch_specs)
    assert "log_softmax" not in program.dump("fused", "text")
    tight = make(optim.SGD(), memory_budget=1)
    with pytest.raises(MemoryBudgetError, match="the budget is 1"):
        tight.evaluation(loss, *tight.batch_specs)


def test_a_prediction_has_the_structure_of_the_models_result() -> None:
    class Heads(Net):
        def forward(self, x: Any) -> Any:
            scores = super().forward(x)
            return {"scores": scores, "best": (scores.max(axis=1), scores.argmax(axis=1))}

    x, y = batch()
    step = TrainStep(
        Heads(),
        lambda model, x, y: F.cross_entropy(model(x)["scores"], y),
        optim.SGD(0.1),
        *(Spec((6, 4)), Spec((6,), "int32")),
        backend="interpreter",
    )
    found = Trainer(step).predict([(np.concatenate([x, x[:2]]), np.concatenate([y, y[:2]]))])
    assert found["scores"].shape == (8, 3)
    np.testing.assert_array_equal(found["best"][0], found["scores"].max(1))
    np.testing.assert_array_equal(found["best"][1], found["scores"].argmax(1))


def test_options_are_settled_when_the_step_compiles() -> None:
    step = make(optim.SGD())
    step.seed = 3
    step.compile()
    with pytest.raises(ArgumentError, match=r"Net\.train is compiled; set seed"):
        step.seed = 4
    assert step.seed == 3


def test_arrays_with_only_dlpack_are_read() -> None:
    class Foreign:
        def __init__(self, array: np.ndarray[Any, Any]) -> None:
            self.array = array

        def __dlpack__(self, **options: Any) -> Any:
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self) -> Any:
            return self.array.__dlpack_device__()

    x, y = batch()
    losses = [float(make(optim.SGD())(*given)) for given in ((x, y), (Foreign(x), Foreign(y)))]
    assert losses[0] == losses[1]


def test_loss_compares_as_its_number() -> None:
    found = Loss(np.float32(0.25))
    assert found == 0.25 and found < 1 and found <= Loss(0.25) and found > 0 and found >= 0.25
    assert not Loss(np.nan) <= 1 and not Loss(np.nan) >= 1
    assert f"{found:.1e}" == "2.5e-01" and np.asarray(found) == np.float32(0.25)
