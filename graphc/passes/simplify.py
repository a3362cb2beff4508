"""Local rewrites that are exact for every input.

    before  %1: f32[4] = mul(%x, %one)             # net.py:3
            %2: f32[2,2] = reshape(%1) {…}         # net.py:3
            %3: f32[4] = reshape(%2) {…}           # net.py:4
            %4: f32[4] = neg(%3)                   # net.py:4
    after   %4: f32[4] = neg(%x)                   # net.py:4

The rules stand in tables, in arithmetic_rules.py and shape_rules.py, each with its reason; here
are those that hold for whole families of operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from graphc.ir import Graph, Node, Value
from graphc.ops.define import get
from graphc.passes.arithmetic_rules import ARITHMETIC, CASTS, LOGIC, SELECTION
from graphc.passes.base import Pass
from graphc.passes.cell_rules import COTANGENTS, sum_in_cell
from graphc.passes.dce import remove_dead
from graphc.passes.patterns import Any, Apply, Row, rules_of, uniform_value
from graphc.passes.rewrite import EVERY, Rewriter, Rule, rewrite
from graphc.passes.shape_rules import REDUCTIONS, VIEWS

ROWS = (*ARITHMETIC, *LOGIC, *SELECTION, *CASTS, *VIEWS, *REDUCTIONS)

AFTER_AUTODIFF = (
    Row(
        Apply("stop_gradient", (Any("x"),)),
        lambda m: m["x"],
        "no gradient is taken any more",
    ),
)


@dataclass(frozen=True)
class Simplify(Pass):
    """Apply the tables of exact rewrites in one sweep, and share equal nodes on the way.

    differentiated   no gradient will be taken of the graph any more
    """

    name: ClassVar[str] = "simplify"
    differentiated: bool = False

    def run(self, graph: Graph) -> Graph:
        return remove_dead(rewrite(graph, _rules(self.differentiated)))


@cache
def _rules(differentiated: bool) -> dict[str, list[Rule]]:
    rules = rules_of((*ROWS, *AFTER_AUTODIFF) if differentiated else ROWS)
    for op in _REARRANGING:
        rules.setdefault(op, []).append(_rearranged_uniform)
    if differentiated:
        rules.update({op: [sum_in_cell] for op in COTANGENTS})
    rules[EVERY] = [_compute_before_broadcasting]
    return rules


# Operators whose result holds elements of their operand, each unchanged.
_REARRANGING = ("reshape", "transpose", "slice", "flip")


def _rearranged_uniform(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    """Elements that are all equal, in another order or shape, are still a broadcast of one."""
    element = uniform_value(rewriter, node.operands[0])
    if element is None:
        return None
    return (rewriter.broadcast(rewriter.array(element), node.results[0].shape),)


def _compute_before_broadcasting(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    """f(broadcast(a), broadcast(b)) is broadcast(f(a, b)): the same numbers, computed once.

    Applies where all operands are repeated from one smaller shape; literals take any shape.
    """
    if not node.operands or not get(node.op).elementwise or len(node.results) != 1:
        return None
    seeds = [_before_broadcast(rewriter, value) for value in node.operands]
    shapes = {seed.shape for seed in seeds if seed is not None and seed.type.rank}
    if None in seeds or len(shapes) > 1:
        return None
    shape = next(iter(shapes), ())
    operands = [rewriter.broadcast(seed, shape) for seed in seeds if seed is not None]
    (result,) = rewriter.emit(node.op, operands, node.attrs)
    return (rewriter.broadcast(result, node.results[0].shape),)


def _before_broadcast(rewriter: Rewriter, value: Value) -> Value | None:
    """What the value repeats; None: it is no broadcast."""
    producer = rewriter.producer(value)
    if producer is None or producer.op != "broadcast":
        return None
    return producer.operands[0]
