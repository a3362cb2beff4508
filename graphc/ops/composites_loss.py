"""Cross entropy of logits with class numbers, as torch's; the formulas stand in loss_terms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from graphc.dtypes import int32, int64
from graphc.errors import ShapeError
from graphc.ir import Node, Value
from graphc.ops import numerics
from graphc.ops.build import Builder
from graphc.ops.composites_softmax import log_softmax_meaning
from graphc.ops.define import Attrs, Cotangents, Regions, Sample, Types, define
from graphc.ops.indexing import outside
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
from graphc.ops.rules import describe, expect_dtype, of_one_result
from graphc.ops.samples import real, whole


class ClassLoss(Loss):
    """cross_entropy: rows whose number is `ignore_index`, or no class, count nothing."""

    @property
    def target(self) -> Value:
        return self.node.operands[1]

    @cached_property
    def valid(self) -> Value:
        """Whether a row counts."""
        b, target = self.b, self.target
        ignored = b.like(self.node.attrs["ignore_index"], target)
        inside = b.op(
            "and",
            b.compare("ge", target, b.like(0, target)),
            b.compare("lt", target, b.like(self.classes, target)),
        )
        return b.op("and", b.compare("ne", target, ignored), inside)

    def masked(self, rows: Value) -> Value:
        return self.b.where(self.valid, rows, self.b.zeros(rows.type))

    @cached_property
    def safe_target(self) -> Value:
        """The class, and 0 for rows that do not count."""
        return self.masked(self.target)

    @cached_property
    def row_weight(self) -> Value:
        """The weight of a row's class; 1 without weights; 0 for rows that do not count."""
        if self.weight is None:
            return self.b.cast(self.valid, self.logits.dtype)
        return self.masked(self.b.op("gather", self.weight, self.safe_target, axis=0))

    @cached_property
    def negative_log_likelihood(self) -> Value:
        """-log p of a row's class, as log sum - (logit - greatest)."""
        b, rows = self.b, self.target.shape
        place = (*rows[: self.axis], 1, *rows[self.axis :])
        index = b.reshape(self.safe_target, place)
        logit = b.reshape(b.op("gather_elements", self.logits, index, axis=self.axis), rows)
        return self.masked(b.sub(self.log_sum, b.sub(logit, self.greatest)))

    @cached_property
    def smooth(self) -> Value:
        """The weighted sum of -log p over all classes."""
        b, shifted, log_sum = self.b, self.shifted, self.log_sum
        if self.weight is None:
            flat = b.sub(b.scale(log_sum, self.classes), self.over_classes(shifted))
            return self.masked(flat)
        weighted = self.over_classes(b.mul(self.per_class(self.weight), shifted))
        everything = b.broadcast(b.sum(self.weight, (0,)), log_sum.shape)
        return self.masked(b.sub(b.mul(everything, log_sum), weighted))

    def rows(self) -> Value:
        """The loss of each row."""
        b = self.b
        loss = self.negative_log_likelihood
        if self.weight is not None:
            loss = b.mul(self.row_weight, loss)
        if not self.smoothing:
            return loss
        smooth = b.scale(self.smooth, self.smoothing / self.classes)
        return b.add(b.scale(loss, 1 - self.smoothing), smooth)

    def reduced(self) -> Value:
        rows = self.rows()
        if self.reduction == "none":
            return rows
        total = self.total(rows)
        return total if self.reduction == "sum" else self.b.div(total, self.divisor)

    @cached_property
    def divisor(self) -> Value:
        return self.total(self.row_weight)

    def row_cotangent(self, dy: Value) -> Value:
        """The cotangent of each row's loss; 0 for rows that do not count."""
        if self.reduction == "mean":
            dy = self.b.div(dy, self.divisor)
        return self.masked(self.b.broadcast(dy, self.target.shape))

    @cached_property
    def is_class(self) -> Value:
        """Whether an element is that of its row's class."""
        b = self.b
        numbers = b.iota(self.logits.shape, self.axis, self.target.dtype)
        return b.compare("eq", numbers, self.wide(self.target))

    @cached_property
    def spread(self) -> Value:
        """(1 - s) [c = t] + s / C."""
        b, base = self.b, self.smoothing / self.classes
        hit = b.like(1 - self.smoothing + base, self.logits)
        return b.where(self.is_class, hit, b.like(base, self.logits))

    def logits_cotangent(self, dy: Value) -> Value:
        """g (softmax - q), rows that do not count masked at the end: their logits may be NaN."""
        b, g, spread, scores = self.b, self.row_cotangent(dy), self.spread, self.softmax
        if self.weight is None:
            slope = b.mul(self.wide(g), b.sub(scores, spread))
        else:
            q = b.mul(self.per_class(self.weight), spread)
            rest = b.sub(b.mul(self.wide(self.mass), scores), q)
            slope = b.mul(self.wide(g), rest)
        return b.where(self.wide(self.valid), slope, b.zeros(slope.type))

    @cached_property
    def mass(self) -> Value:
        """sum_c q_c, with weights."""
        assert self.weight is not None
        b, base = self.b, self.smoothing / self.classes
        own = b.scale(self.row_weight, 1 - self.smoothing)
        everything = b.broadcast(b.sum(self.weight, (0,)), own.shape)
        return b.add(own, b.scale(everything, base))

    def weight_cotangent(self, dy: Value) -> Value:
        """By w_c: the rows' own terms, the smoothed ones, and the divisor of a mean."""
        b, g = self.b, self.row_cotangent(dy)
        own = b.scale(b.mul(g, self.negative_log_likelihood), 1 - self.smoothing)
        if self.reduction == "mean":
            share = b.mul(dy, b.div(self.node.result, self.divisor))
            own = b.sub(own, self.masked(b.broadcast(share, own.shape)))
        zero = b.zeros(self.logits.type)
        parts = b.where(self.is_class, self.wide(own), zero)
        if self.smoothing:
            flat = b.scale(b.mul(self.wide(g), self.surprise), self.smoothing / self.classes)
            parts = b.add(parts, b.where(self.wide(self.valid), flat, zero))
        return b.sum(parts, self.others)


def cross_entropy_rule(types: Types, attrs: Attrs, regions: Regions) -> Types:
    """logits[N, C, ...], target[N, ...] of i32 or i64, weight[C] -> loss."""
    expect_loss("cross_entropy", types, attrs)
    logits, target = types[:2]
    expect_dtype("cross_entropy: target", target.dtype, (int32, int64))
    if target.shape != without(logits.shape, (class_axis(logits.rank),)):
        raise ShapeError(
            f"cross_entropy: operands are {describe(types)}; "
            "the target must have the shape of the logits without their class axis"
        )
    return (loss_type(types, attrs),)


@of_one_result
def cross_entropy_vjp(b: Builder, node: Node, dy: Value) -> Cotangents:
    loss = ClassLoss(b, node)
    found = [loss.logits_cotangent(dy), None]
    return found if loss.weight is None else [*found, loss.weight_cotangent(dy)]


def cross_entropy_fault(b: Builder, node: Node) -> Value:
    """Some target is no class, nor `ignore_index`."""
    loss = ClassLoss(b, node)
    ignored = b.compare("eq", loss.target, b.like(node.attrs["ignore_index"], loss.target))
    counted = b.where(ignored, b.like(0, loss.target), loss.target)
    return outside(b, counted, loss.classes)


@numerics.widened
def cross_entropy_meaning(
    logits: NumpyArray,
    target: NumpyArray,
    weight: NumpyArray | None = None,
    *,
    ignore_index: int,
    label_smoothing: float,
    reduction: str,
) -> NumpyArray:
    axis = class_axis(logits.ndim)
    classes = logits.shape[axis]
    surprise = np.moveaxis(-log_softmax_meaning(logits, axis=axis), axis, -1)
    weights = np.ones(classes, logits.dtype) if weight is None else weight
    valid = (target != ignore_index) & (target >= 0) & (target < classes)
    chosen = np.where(valid, target, 0)
    own = np.take_along_axis(surprise, chosen[..., None], -1)[..., 0] * weights[chosen]
    smooth = (surprise * weights).sum(-1) if label_smoothing else 0.0
    rows = (1 - label_smoothing) * own + label_smoothing / classes * smooth
    rows = np.where(valid, rows, 0.0)
    if reduction == "none":
        return rows
    divisor = np.where(valid, weights[chosen], 0).sum() if reduction == "mean" else 1.0
    return np.asarray(rows.sum() / divisor)


def cross_entropy_samples() -> Sequence[Sample]:
    found = []
    shapes = [((4, 5), int64), ((2, 3, 2), int32), ((5,), int64)]
    for shape, dtype in shapes:
        target = whole(without(shape, (class_axis(len(shape)),)), 0, 3, dtype, seed=2)
        weight = real((shape[class_axis(len(shape))],), 0.5, 2)
        for number in range(12):
            operands = (real(shape, -3, 3, seed=1), target, weight)[: 2 + number % 2]
            smoothing = 0.1 * (number // 2 % 2)
            found.append(Sample(operands, loss_attributes(REDUCTIONS[number // 4], smoothing)))
    return found + _odd_targets()


def _odd_targets() -> list[Sample]:
    """Ignored rows, also of NaN; classes out of range; every row ignored; no row; far logits."""
    logits, weight = real((4, 5), -3, 3, seed=1), real((5,), 0.5, 2)
    some = np.array([1, -100, 4, -100])
    found = [
        Sample((logits, some, weight)[:count], loss_attributes(reduction, smoothing))
        for reduction in REDUCTIONS
        for count, smoothing in ((2, 0.0), (3, 0.2))
    ]
    found.append(Sample((logits, np.array([1, 2, 2, 0])), loss_attributes("mean", 0.1, 2)))
    bad = logits.copy()
    bad[1] = np.nan
    found.append(Sample((bad, some), loss_attributes("mean"), (), False))
    found.append(Sample((logits, np.array([7, -1, 0, 5])), loss_attributes("sum"), (), False))
    found.append(Sample((logits, np.full((4,), -100)), loss_attributes("mean"), (), False))
    found.append(Sample((real((0, 5)), whole((0,))), loss_attributes("sum")))
    far = np.array([[1e4, -1e4, 0], [-np.inf, 1, 2]], np.float32)
    found.append(Sample((far, np.array([0, 1])), loss_attributes("none"), (), False))
    return found


define(
    "cross_entropy",
    infer=cross_entropy_rule,
    meaning=cross_entropy_meaning,
    vjp=cross_entropy_vjp,
    decompose=lambda b, node: (ClassLoss(b, node).reduced(),),
    fault=cross_entropy_fault,
    samples=cross_entropy_samples,
    reduction=True,
)
