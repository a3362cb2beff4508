"""Optimizers and schedules follow torch's, as bench/optim_reference.py wrote them down."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc import optim
from graphc.dtypes import float64
from graphc.errors import ArgumentError
from graphc.frontends.optim.base import Scalars
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.evaluate import evaluate

REFERENCE = json.loads((Path(__file__).parent / "reference.json").read_text())
SHAPES = {"weight": (3, 4), "bias": (5,)}
SCALAR = TensorType((), float64)

Arrays = dict[str, np.ndarray[Any, Any]]


def _options(given: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}


def _name(case: dict[str, Any]) -> str:
    kind = str(case.get("optimizer") or case["schedule"])
    return "-".join([kind, *case["options"]])


def update_graph(optimizer: optim.Optimizer) -> tuple[Graph, Arrays]:
    """A graph of one update (input: the gradients) and its state's first values."""
    b = Builder()
    step = Value(SCALAR, "step")
    values, first = {"step": step}, {"step": np.zeros(())}
    grads = [Value(TensorType(shape, float64), f"grad.{n}") for n, shape in SHAPES.items()]
    scalars = Scalars(b, b.shift(step, 1.0))
    updates = {"step": scalars.step}
    for (name, shape), grad in zip(SHAPES.items(), optimizer.clip(b, grads), strict=True):
        rule = optimizer.for_parameter(name, None)
        type = TensorType(shape, float64)
        slots = rule.slots(type)
        initial = {name: np.sin(np.arange(np.prod(shape)) + 1.0).reshape(shape)}
        initial |= {f"{name}.{slot}": array for slot, array in slots.items()}
        first |= initial
        values |= {n: Value(TensorType(a.shape, float64), n) for n, a in initial.items()}
        kept = {slot: values[f"{name}.{slot}"] for slot in slots}
        updates[name], new = rule.update(b, scalars, values[name], grad, kept)
        assert set(new) == set(slots)
        updates |= {f"{name}.{slot}": value for slot, value in new.items()}
    state = tuple(values.values())
    return Graph("update", tuple(grads), tuple(b.nodes), (), state, tuple(updates.items())), first


def gradient(parameter: np.ndarray[Any, Any], step: int) -> np.ndarray[Any, Any]:
    offset = np.arange(parameter.size).reshape(parameter.shape)
    return 0.3 * parameter + np.sin(0.7 * step + offset)


def run(optimizer: optim.Optimizer, steps: int) -> list[Arrays]:
    graph, state = update_graph(optimizer)
    history = []
    for step in range(1, steps + 1):
        grads = [gradient(state[name], step) for name in SHAPES]
        _, state = evaluate(graph, grads, state)
        history.append(state)
    return history


@pytest.mark.parametrize(
    "group", [{"params": "*.bias", "lr": 0.1}, (["*.bias"], {}), ("*.bias", 0.1)]
)
def test_a_group_is_a_pattern_and_options(group: Any) -> None:
    with pytest.raises(ArgumentError, match=r"a group is .*, expected .name pattern or predicate"):
        optim.Adam(groups=[group])


@pytest.mark.parametrize("case", REFERENCE["optimizers"], ids=_name)
def test_fifty_steps_are_torchs(case: dict[str, Any]) -> None:
    optimizer = getattr(optim, case["optimizer"])(**_options(case["options"]))
    history = run(optimizer, 50)
    for step, expected in zip((1, 2, 10, 50), case["after"], strict=True):
        for name, elements in zip(SHAPES, expected, strict=True):
            found = history[step - 1][name].ravel()
            np.testing.assert_allclose(found, elements, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", REFERENCE["schedules"], ids=_name)
def test_rates_are_torchs(case: dict[str, Any]) -> None:
    schedule = getattr(optim.schedules, case["schedule"])(0.3, **_options(case["options"]))
    np.testing.assert_allclose(rates(schedule, 50), case["rates"], rtol=1e-9, atol=1e-15)


def rates(schedule: optim.schedules.Schedule, steps: int) -> list[float]:
    b = Builder()
    step = Value(SCALAR, "step")
    rate = schedule.rate(b, step)
    graph = Graph("rate", (step,), tuple(b.nodes), (rate,), (), ())
    return [float(evaluate(graph, [np.float64(n)])[0][0]) for n in range(steps)]


def test_cosine_rises_over_its_warm_up() -> None:
    found = rates(optim.schedules.cosine(1.0, total_steps=20, warmup_steps=4), 22)
    np.testing.assert_allclose(found[:5], [0.25, 0.5, 0.75, 1.0, 1.0])
    np.testing.assert_allclose(found[12], 0.5)
    np.testing.assert_allclose(found[20:], [0.0, 0.0], atol=1e-15)


def test_inverse_square_root_is_the_transformers() -> None:
    width, warmup = 256, 5
    peak = (width * warmup) ** -0.5
    found = rates(optim.schedules.inverse_square_root(peak, warmup_steps=warmup), 12)
    counts = np.arange(1, 13)
    expected = width**-0.5 * np.minimum(counts**-0.5, counts * warmup**-1.5)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_schedule_sets_the_rate_of_each_step() -> None:
    halving = run(optim.SGD(lr=optim.schedules.exponential(0.1, gamma=0.5)), 2)
    before = halving[0]["bias"]
    np.testing.assert_allclose(halving[1]["bias"], before - 0.05 * gradient(before, 2))


def test_a_group_replaces_options_for_names_that_match() -> None:
    grouped = run(optim.SGD(lr=0.1, groups=[("bi*", {"lr": 0.0})]), 3)[-1]
    plain = run(optim.SGD(lr=0.1), 3)[-1]
    np.testing.assert_array_equal(grouped["bias"], np.sin(np.arange(5) + 1.0))
    np.testing.assert_array_equal(grouped["weight"], plain["weight"])


def test_an_unknown_option_of_a_group_is_named() -> None:
    with pytest.raises(ArgumentError, match="momentun"):
        optim.SGD(groups=[("*", {"momentun": 0.9})]).for_parameter("weight", None)


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.schedules.step(0.1, step_size=0),
        lambda: optim.schedules.inverse_square_root(0.1, warmup_steps=0),
        lambda: optim.schedules.cosine("0.1", total_steps=10),
        lambda: optim.schedules.polynomial(0.1, total_steps=-1),
        lambda: optim.schedules.constant(-1e-3),
        lambda: optim.schedules.inverse_time_decay(np.nan, decay_steps=10),
        lambda: optim.schedules.cosine(0.1, total_steps=10, minimum=-0.1),
    ],
)
def test_a_schedule_refuses_options_outside_their_meaning(make: Any) -> None:
    with pytest.raises(ArgumentError, match=r"schedules\.\w+: \w+ is"):
        make()


def test_lamb_takes_a_plain_step_for_a_parameter_of_zeros() -> None:
    graph, state = update_graph(optim.LAMB(lr=0.1))
    state["bias"] = np.zeros(5)
    grads = [np.zeros((3, 4)), np.ones(5)]
    _, after = evaluate(graph, grads, state)
    np.testing.assert_allclose(after["bias"], -0.1, rtol=1e-5)
    np.testing.assert_array_equal(after["weight"], state["weight"])


def test_options_stand_in_torchs_order() -> None:
    assert optim.SGD(0.1, 0.9, 0.0, 1e-4, True) == optim.SGD(
        lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    assert optim.AdamW(1e-3, (0.9, 0.95), 1e-6, 0.1).weight_decay == 0.1
    with pytest.raises(TypeError, match="positional"):
        optim.Adam(1e-3, (0.9, 0.95), 1e-6, 0.1, True, ())  # type: ignore[call-arg, misc]


@pytest.mark.parametrize(
    "options",
    [
        {"lr": -1.0},
        {"lr": "0.1"},
        {"lr": [1.0]},
        {"betas": (0.9, 1.0)},
        {"betas": 0.9},
        {"eps": None},
        {"clip_norm": -2},
    ],
)
def test_an_option_outside_its_meaning_is_named(options: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError, match=f"Adam: {next(iter(options))} is"):
        optim.Adam(**options)


def test_nesterov_needs_momentum_and_no_dampening() -> None:
    with pytest.raises(ArgumentError, match="nesterov"):
        optim.SGD(nesterov=True, momentum=0.9, dampening=0.1)
