"""Cross entropy of logits with class numbers or with class probabilities, as torch's.

Both weigh the classes of a row by some q and give, with log p = log_softmax(logits),

    loss = -sum_c q_c log p_c        dlogits = (sum_c q_c) softmax(logits) - q

Class numbers t give q_c = w_c ((1 - s) [c = t] + s / C), with class weights w and smoothing s;
probabilities give q_c = w_c ((1 - s) probability_c + s / C). The mean over rows divides by the
weights of the rows' classes (class numbers) or by the number of rows (probabilities).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from graphc.errors import ArgumentError, ShapeError
from graphc.ir import Attribute, Node, TensorType, Value
from graphc.ops.build import Builder
from graphc.ops.composites_softmax import softmax
from graphc.ops.define import Attrs, Types
from graphc.ops.reductions import without
from graphc.ops.rules import describe, expect_count, expect_dtype
from graphc.ops.samples import FLOATS

REDUCTIONS = ("none", "mean", "sum")


def class_axis(rank: int) -> int:
    """Axis 1 of logits [N, C, ...]; the only one of logits [C]."""
    return min(rank - 1, 1)


def expect_loss(op: str, types: Types, attrs: Attrs) -> None:
    """Raises unless logits, weight and attributes fit."""
    expect_count(op, types, 2, 3)
    logits = types[0]
    expect_dtype(op, logits.dtype, FLOATS)
    if attrs["reduction"] not in REDUCTIONS:
        raise ArgumentError(
            f"{op}: reduction is {attrs['reduction']!r}, expected one of {REDUCTIONS}"
        )
    if not 0 <= attrs["label_smoothing"] <= 1:
        raise ArgumentError(f"{op}: label_smoothing is {attrs['label_smoothing']}, expected 0 to 1")
    if logits.rank < 1:
        raise ShapeError(f"{op}: operands are {describe(types)}; expected logits[N,C,...]")
    weight = TensorType((logits.shape[class_axis(logits.rank)],), logits.dtype)
    if len(types) == 3 and types[2] != weight:
        raise ShapeError(f"{op}: operands are {describe(types)}; the weight must be {weight}")


def loss_type(types: Types, attrs: Attrs) -> TensorType:
    """One loss a row, or a scalar."""
    logits = types[0]
    rows = without(logits.shape, (class_axis(logits.rank),))
    return TensorType(rows if attrs["reduction"] == "none" else (), logits.dtype)


@dataclass(frozen=True)
class Loss:
    """A node of either operator while rules are written; each quantity is emitted once."""

    b: Builder
    node: Node

    @property
    def logits(self) -> Value:
        return self.node.operands[0]

    @property
    def weight(self) -> Value | None:
        return self.node.operands[2] if len(self.node.operands) == 3 else None

    @property
    def axis(self) -> int:
        return class_axis(self.logits.type.rank)

    @property
    def classes(self) -> int:
        return self.logits.shape[self.axis]

    @property
    def smoothing(self) -> float:
        return float(self.node.attrs["label_smoothing"])

    @property
    def reduction(self) -> str:
        return str(self.node.attrs["reduction"])

    @property
    def others(self) -> tuple[int, ...]:
        return tuple(i for i in range(self.logits.type.rank) if i != self.axis)

    def wide(self, row: Value) -> Value:
        """A value per row, repeated for every class."""
        return self.b.expand(row, (self.axis,), self.logits.shape)

    def per_class(self, weight: Value) -> Value:
        """A value per class, repeated for every row."""
        return self.b.expand(weight, self.others, self.logits.shape)

    def over_classes(self, x: Value) -> Value:
        return self.b.sum(x, (self.axis,))

    @cached_property
    def greatest(self) -> Value:
        """The greatest logit of a row, through which no derivative flows: it cancels."""
        return self.b.op("stop_gradient", self.b.max(self.logits, (self.axis,)))

    @cached_property
    def shifted(self) -> Value:
        return self.b.sub(self.logits, self.wide(self.greatest))

    @cached_property
    def log_sum(self) -> Value:
        """log sum exp of the shifted logits of a row."""
        return self.b.log(self.over_classes(self.b.exp(self.shifted)))

    @cached_property
    def surprise(self) -> Value:
        """-log p of every class."""
        return self.b.sub(self.wide(self.log_sum), self.shifted)

    @cached_property
    def softmax(self) -> Value:
        return softmax(self.b, self.logits, (self.axis,))

    def total(self, rows: Value) -> Value:
        return self.b.sum(rows, tuple(range(rows.type.rank)))


def loss_attributes(
    reduction: str, smoothing: float = 0.0, ignore_index: int | None = -100
) -> Mapping[str, Attribute]:
    attrs: dict[str, Attribute] = {"label_smoothing": smoothing, "reduction": reduction}
    return attrs if ignore_index is None else attrs | {"ignore_index": ignore_index}
