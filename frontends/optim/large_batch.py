"""Lion (Chen et al., 2023) and LAMB (You et al., 2020), which torch.optim does not have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.frontends.optim.base import (
    Array,
    Optimizer,
    Rate,
    Scalars,
    decayed,
    mean_square,
    moved,
    norm,
    zeros,
)
from graphc.ir import TensorType, Value
from graphc.ops import Builder


@dataclass(frozen=True)
class Lion(Optimizer):
    """p <- p (1 - lr weight_decay) - lr * sign(beta1 m + (1 - beta1) g)
    m <- beta2 m + (1 - beta2) g
    """

    lr: Rate = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def slots(self, type: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(type)}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        rate = scalars.rate(self.lr)
        parameter = scalars.shrunk(parameter, rate, self.weight_decay)
        direction = b.op("sign", moved(b, kept["exp_avg"], grad, self.betas[0]))
        mean = moved(b, kept["exp_avg"], grad, self.betas[1])
        return scalars.descend(parameter, rate, direction), {"exp_avg": mean}


@dataclass(frozen=True)
class LAMB(Optimizer):
    """p <- p - lr * |p| / |r| * r, r being Adam's step plus weight_decay * p.

    Where either norm is 0, their quotient counts as 1.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6
    weight_decay: float = 0.0

    def slots(self, type: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(type), "exp_avg_sq": zeros(type)}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        mean = moved(b, kept["exp_avg"], grad, self.betas[0])
        square = mean_square(b, kept["exp_avg_sq"], grad, self.betas[1])
        above = b.div(mean, scalars.spread(scalars.correction(self.betas[0]), mean))
        below = b.div(square, scalars.spread(scalars.correction(self.betas[1]), square))
        step = b.div(above, b.shift(b.sqrt(below), self.eps))
        step = decayed(b, step, parameter, self.weight_decay)
        rate = b.mul(scalars.rate(self.lr), self._trust(b, scalars, parameter, step))
        parameter = scalars.descend(parameter, rate, step)
        return parameter, {"exp_avg": mean, "exp_avg_sq": square}

    def _trust(self, b: Builder, scalars: Scalars, parameter: Value, step: Value) -> Value:
        zero, one = scalars.number(0.0), scalars.number(1.0)
        weights = b.cast(norm(b, parameter), zero.dtype)
        length = b.cast(norm(b, step), zero.dtype)
        ratio = b.div(weights, length)
        known = b.where(b.compare("gt", length, zero), ratio, one)
        return b.where(b.compare("gt", weights, zero), known, one)
