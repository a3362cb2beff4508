"""Cross entropy of logits with class probabilities, as torch's; formulas: see loss_terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from graphc.errors import ShapeError
from graphc.ir import Node, Value
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.composites_softmax import log_softmax_meaning
from graphc.ops.define import Attrs, Cotangents, Regions, Sample, Types, define
from graphc.ops.loss_terms import (
    REDUCTIONS,
    Loss,
    class_axis,
    expect_loss,
    loss_attributes,
    loss_type,
)
from graphc.ops.numerics import NumpyArray
from graphc.ops.reductions import without
from graphc.ops.rules import describe, of_one_result
from graphc.ops.samples import distinct, real


class SoftLoss(Loss):
    """soft_cross_entropy: a row gives a probability for every class."""

    @cached_property
    def spread(self) -> Value:
        """(1 - s) probability + s / C."""
        probabilities = self.node.operands[1]
        if not self.smoothing:
            return probabilities
        scaled = self.b.scale(probabilities, 1 - self.smoothing)
        return self.b.shift(scaled, self.smoothing / self.classes)

    def weighted(self, x: Value) -> Value:
        return x if self.weight is None else self.b.mul(self.per_class(self.weight), x)

    def reduced(self) -> Value:
        rows = self.over_classes(self.b.mul(self.weighted(self.spread), self.surprise))
        if self.reduction == "none":
            return rows
        total = self.total(rows)
        return total if self.reduction == "sum" else self._shared(total)

    def _shared(self, x: Value) -> Value:
        count = math.prod(without(self.logits.shape, (self.axis,)))
        return self.b.div(x, self.b.like(count, x))

    def row_cotangent(self, dy: Value) -> Value:
        """The cotangent of each row's loss, repeated for every class."""
        dy = self._shared(dy) if self.reduction == "mean" else dy
        return self.wide(self.b.broadcast(dy, without(self.logits.shape, (self.axis,))))

    def cotangents(self, dy: Value) -> list[Value | None]:
        b, g, q, surprise = (
            self.b,
            self.row_cotangent(dy),
            self.weighted(self.spread),
            self.surprise,
        )
        mass = self.wide(self.over_classes(q))
        dlogits = b.mul(g, b.sub(b.mul(mass, self.softmax), q))
        each = b.mul(g, surprise)
        found: list[Value | None] = [dlogits, self.weighted(b.scale(each, 1 - self.smoothing))]
        if self.weight is not None:
            found.append(b.sum(b.mul(each, self.spread), self.others))
        return found


def soft_cross_entropy_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """logits[N, C, ...], probabilities of the same type, weight[C] -> loss."""
    expect_loss("soft_cross_entropy", types, attrs)
    if types[0] != types[1]:
        raise ShapeError(
            f"soft_cross_entropy: operands are {describe(types)}; "
            "the probabilities must be of the logits' type"
        )
    return (loss_type(types, attrs),)


@of_one_result
def soft_cross_entropy_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    return SoftLoss(b, node).cotangents(dy)


@numerics.widened
def soft_cross_entropy_meaning(
    logits: NumpyArray,
    probabilities: NumpyArray,
    weight: NumpyArray | None = None,
    *,
    label_smoothing: float,
    reduction: str,
) -> NumpyArray:
    axis = class_axis(logits.ndim)
    classes = logits.shape[axis]
    surprise = np.moveaxis(-log_softmax_meaning(logits, axis=axis), axis, -1)
    spread = (1 - label_smoothing) * np.moveaxis(probabilities, axis, -1)
    spread = spread + label_smoothing / classes
    weights = np.ones(classes, logits.dtype) if weight is None else weight
    rows = (weights * spread * surprise).sum(-1)
    if reduction == "none":
        return np.asarray(rows)
    return np.asarray(rows.sum() / (rows.size if reduction == "mean" else 1))


def soft_cross_entropy_samples() -> Sequence[Sample]:
    found = []
    for shape in ((4, 5), (2, 3, 2), (5,)):
        weight = real((shape[class_axis(len(shape))],), 0.5, 2)
        probabilities = distinct(shape, 0.05, 0.5)
        for number in range(12):
            operands = (real(shape, -3, 3, seed=1), probabilities, weight)[: 2 + number % 2]
            smoothing = 0.1 * (number // 2 % 2)
            found.append(
                Sample(operands, loss_attributes(REDUCTIONS[number // 4], smoothing, None))
            )
    far = np.array([[1e4, -1e4, 0]], np.float32)
    even = np.full((1, 3), 1 / 3, np.float32)
    return [*found, Sample((far, even), loss_attributes("none", 0.0, None), (), False)]


define(
    "soft_cross_entropy",
    infer=soft_cross_entropy_rule,
    meaning=soft_cross_entropy_meaning,
    vjp=soft_cross_entropy_vjp,
    decompose=lambda b, node: (SoftLoss(b, node).reduced(),),
    samples=soft_cross_entropy_samples,
    reduction=True,
)
