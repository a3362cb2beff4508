"""Regions that share values, as a branch and its derivative do: each lowers on its own."""

from __future__ import annotations

from graphc.dtypes import bool_, float32
from graphc.ir import Graph, TensorType, Value
from graphc.loops.schedule import Branch, Launch, Step
from graphc.lowering.lower import lower
from graphc.ops import Builder
from graphc.planning.check import check_plan
from graphc.planning.plan import plan_memory

VECTOR = TensorType((5,), float32)


def arm(op: str) -> Graph:
    inner, formal = Builder(), Value(VECTOR, "x")
    result = inner.op(op, formal)
    return Graph(op, (formal,), tuple(inner.nodes), (result,))


def ops_of(steps: tuple[Step, ...]) -> list[tuple[str, ...]]:
    """The operators of the launches, arms of branches in brackets of their own."""
    found: list[tuple[str, ...]] = []
    for step in steps:
        if isinstance(step, Branch):
            found += [("yes",), *ops_of(step.yes), ("no",), *ops_of(step.no)]
        elif isinstance(step, Launch) and step.ops:
            found.append(step.ops)
    return found


def test_two_branches_on_the_same_arms_compute_both() -> None:
    arms = (arm("tanh"), arm("sin"))
    flag, x = Value(TensorType((), bool_), "flag"), Value(VECTOR, "x")
    b = Builder()
    (first,) = b.emit("cond", (flag, x), {}, arms)
    (second,) = b.emit("cond", (flag, first), {}, arms)
    schedule = lower(Graph("two", (flag, x), tuple(b.nodes), (second,)))
    one = [("yes",), ("tanh",), ("no",), ("sin",)]
    assert ops_of(schedule.steps) == one + one
    check_plan(schedule, plan_memory(schedule))
