"""RMSprop (Tieleman and Hinton, 2012), Adagrad (Duchi et al., 2011), Adadelta (Zeiler, 2012).

All three divide the gradient by the root of a sum or running mean of its squares.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from graphc.frontends.optim.base import (
    Array,
    Optimizer,
    Rate,
    Scalars,
    decayed,
    mean_square,
    moved,
    zeros,
)
from graphc.ir import TensorType, Value
from graphc.ops import Builder


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """v <- alpha v + (1 - alpha) g^2;  p <- p - lr * g / (sqrt(v) + eps)

    With `centered`, v less the square of g's running mean stands for v; with momentum, the
    quotients are summed: buf <- momentum * buf + quotient.
    """

    lr: Rate = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    def slots(self, type: TensorType) -> dict[str, Array]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if self.momentum else []
        names += ["grad_avg"] if self.centered else []
        return {name: zeros(type) for name in names}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        grad = decayed(b, grad, parameter, self.weight_decay)
        square = mean_square(b, kept["square_avg"], grad, self.alpha)
        slots = {"square_avg": square}
        if self.centered:
            mean = slots["grad_avg"] = moved(b, kept["grad_avg"], grad, self.alpha)
            square = b.sub(square, b.mul(mean, mean))
        step = b.div(grad, b.shift(b.sqrt(square), self.eps))
        if self.momentum:
            step = b.add(b.scale(kept["momentum_buffer"], self.momentum), step)
            slots["momentum_buffer"] = step
        return scalars.descend(parameter, scalars.rate(self.lr), step), slots


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """s <- s + g^2;  p <- p - lr / (1 + (t - 1) lr_decay) * g / (sqrt(s) + eps)"""

    lr: Rate = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    def slots(self, type: TensorType) -> dict[str, Array]:
        return {"sum": np.full_like(zeros(type), self.initial_accumulator_value)}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        grad = decayed(b, grad, parameter, self.weight_decay)
        total = b.add(kept["sum"], b.mul(grad, grad))
        step = b.div(grad, b.shift(b.sqrt(total), self.eps))
        return scalars.descend(parameter, self._rate(b, scalars), step), {"sum": total}

    def _rate(self, b: Builder, scalars: Scalars) -> Value:
        rate = scalars.rate(self.lr)
        if not self.lr_decay:
            return rate
        done = b.shift(scalars.step, -1.0)
        return b.div(rate, b.shift(b.scale(done, self.lr_decay), 1.0))


@dataclass(frozen=True)
class Adadelta(Optimizer):
    """v <- rho v + (1 - rho) g^2;  d = sqrt(u + eps) / sqrt(v + eps) * g
    u <- rho u + (1 - rho) d^2;  p <- p - lr * d
    """

    lr: Rate = 1.0
    rho: float = 0.9
    eps: float = 1e-6
    weight_decay: float = 0.0

    def slots(self, type: TensorType) -> dict[str, Array]:
        return {"square_avg": zeros(type), "acc_delta": zeros(type)}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        grad = decayed(b, grad, parameter, self.weight_decay)
        square = mean_square(b, kept["square_avg"], grad, self.rho)
        spread = b.sqrt(b.shift(square, self.eps))
        ratio = b.div(b.sqrt(b.shift(kept["acc_delta"], self.eps)), spread)
        delta = b.mul(ratio, grad)
        slots = {
            "square_avg": square,
            "acc_delta": mean_square(b, kept["acc_delta"], delta, self.rho),
        }
        return scalars.descend(parameter, scalars.rate(self.lr), delta), slots
