"""Adafactor (Shazeer and Stern, 2018), as torch.optim.Adafactor."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphc.frontends.optim.base import Array, Optimizer, Rate, Scalars, norm, zeros
from graphc.ir import TensorType, Value
from graphc.ops import Builder


@dataclass(frozen=True)
class Adafactor(Optimizer):
    """Squared gradients are kept as one mean per row and one per column of the last two dimensions.

    row <- row + t^beta2_decay (mean over columns of g^2 - row), col likewise
    u = g / sqrt(row col / mean(row)), limited to a root mean square of d
    p <- p - max(eps[1], rms(p)) min(lr, 1 / sqrt(t)) u

    eps[0] is the least divisor; None is the parameter type's machine epsilon.
    """

    lr: Rate = 1e-2
    beta2_decay: float = -0.8
    eps: tuple[float | None, float] = (None, 1e-3)
    d: float = 1.0
    weight_decay: float = 0.0

    def slots(self, type: TensorType) -> dict[str, Array]:
        if type.rank < 2:
            return {"variance": zeros(type)}
        rows, (height, width) = type.shape[:-2], type.shape[-2:]
        return {
            "row_var": zeros(TensorType((*rows, height, 1), type.dtype)),
            "col_var": zeros(TensorType((*rows, 1, width), type.dtype)),
        }

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        share = b.op("pow", scalars.step, scalars.number(self.beta2_decay))
        least = self._least(parameter)
        squares = b.mul(grad, grad)
        if parameter.type.rank < 2:
            variance = _blend(b, scalars, kept["variance"], squares, share)
            slots = {"variance": variance}
        else:
            slots = self._factors(b, scalars, squares, kept, share)
            variance = _product(b, slots["row_var"], slots["col_var"], least)
        variance = b.op("clamp", variance, min=least * least, max=None)
        step = b.mul(b.div(b.like(1.0, variance), b.sqrt(variance)), grad)
        rate = scalars.rate(self.lr)
        size = b.div(self._size(b, scalars, parameter, rate), self._limit(b, scalars, step))
        parameter = scalars.shrunk(parameter, rate, self.weight_decay)
        return scalars.descend(parameter, size, step), slots

    def _least(self, parameter: Value) -> float:
        if self.eps[0] is not None:
            return self.eps[0]
        return float(np.finfo(parameter.dtype.numpy).eps)

    def _factors(
        self,
        b: Builder,
        scalars: Scalars,
        squares: Value,
        kept: Mapping[str, Value],
        share: Value,
    ) -> dict[str, Value]:
        rank = squares.type.rank
        found = {}
        for name, axis in (("row_var", rank - 1), ("col_var", rank - 2)):
            mean = b.reshape(b.mean(squares, (axis,)), kept[name].shape)
            found[name] = _blend(b, scalars, kept[name], mean, share)
        return found

    def _size(self, b: Builder, scalars: Scalars, parameter: Value, rate: Value) -> Value:
        """max(eps[1], rms(p)) * min(lr, 1 / sqrt(t))"""
        slowing = b.div(scalars.number(1.0), b.sqrt(scalars.step))
        scale = b.op("clamp", _root_mean_square(b, scalars, parameter), min=self.eps[1], max=None)
        return b.mul(scale, b.op("minimum", rate, slowing))

    def _limit(self, b: Builder, scalars: Scalars, step: Value) -> Value:
        """What brings the step's root mean square down to d, at least 1."""
        spread = b.scale(_root_mean_square(b, scalars, step), 1.0 / self.d)
        return b.op("clamp", spread, min=1.0, max=None)


def _blend(b: Builder, scalars: Scalars, old: Value, new: Value, share: Value) -> Value:
    return b.add(old, b.mul(scalars.spread(share, old), b.sub(new, old)))


def _product(b: Builder, rows: Value, columns: Value, least: float) -> Value:
    """row col / mean(row), of the parameter's shape."""
    rank = rows.type.rank
    shape = (*rows.shape[:-1], columns.shape[-1])
    mean = b.op("clamp", b.mean(rows, (rank - 2,)), min=least, max=None)
    mean = b.reshape(mean, (*rows.shape[:-2], 1, 1))
    above = b.mul(b.broadcast(rows, shape), b.broadcast(columns, shape))
    return b.div(above, b.broadcast(mean, shape))


def _root_mean_square(b: Builder, scalars: Scalars, x: Value) -> Value:
    root = b.cast(norm(b, x), scalars.step.dtype)
    return b.scale(root, 1.0 / math.sqrt(max(1, math.prod(x.shape))))
