"""NAdam (Dozat, 2016), RAdam (Liu et al., 2020) and Adamax (Kingma and Ba, 2015)."""

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
class NAdam(Optimizer):
    """Adam with Nesterov's look ahead; its momentum mu_t grows towards beta1:

    mu_t = beta1 (1 - 0.96^(t momentum_decay) / 2), and `mu_product` is the product of all so far.
    """

    lr: Rate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    def slots(self, type: TensorType) -> dict[str, Array]:
        product = np.ones((), np.float64)
        return {"exp_avg": zeros(type), "exp_avg_sq": zeros(type), "mu_product": product}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        rate = scalars.rate(self.lr)
        if self.decoupled_weight_decay:
            parameter = scalars.shrunk(parameter, rate, self.weight_decay)
        else:
            grad = decayed(b, grad, parameter, self.weight_decay)
        mean = moved(b, kept["exp_avg"], grad, self.betas[0])
        square = mean_square(b, kept["exp_avg_sq"], grad, self.betas[1])
        corrected = b.div(square, scalars.spread(scalars.correction(self.betas[1]), square))
        below = b.shift(b.sqrt(corrected), self.eps)
        momentum, following = self._momentum(scalars, 0.0), self._momentum(scalars, 1.0)
        product = b.mul(kept["mu_product"], momentum)
        now = b.div(b.mul(rate, scalars.less(momentum)), scalars.less(product))
        ahead = b.div(b.mul(rate, following), scalars.less(b.mul(product, following)))
        parameter = scalars.descend(parameter, now, b.div(grad, below))
        parameter = scalars.descend(parameter, ahead, b.div(mean, below))
        return parameter, {"exp_avg": mean, "exp_avg_sq": square, "mu_product": product}

    def _momentum(self, scalars: Scalars, later: float) -> Value:
        b = scalars.builder
        exponent = b.scale(b.shift(scalars.step, later), self.momentum_decay)
        half = b.scale(b.op("pow", scalars.number(0.96), exponent), 0.5)
        return b.scale(scalars.less(half), self.betas[0])


@dataclass(frozen=True)
class RAdam(Optimizer):
    """Adam whose first steps, while the variance is unsure (rho_t <= 5), go along the mean alone.

    rho_t = rho - 2 t beta2^t / (1 - beta2^t), with rho = 2 / (1 - beta2) - 1.
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = False

    def slots(self, type: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(type), "exp_avg_sq": zeros(type)}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        rate = scalars.rate(self.lr)
        if self.decoupled_weight_decay:
            parameter = scalars.shrunk(parameter, rate, self.weight_decay)
        else:
            grad = decayed(b, grad, parameter, self.weight_decay)
        mean = moved(b, kept["exp_avg"], grad, self.betas[0])
        square = mean_square(b, kept["exp_avg_sq"], grad, self.betas[1])
        sure, rectification = self._rectification(b, scalars)
        below = b.shift(b.sqrt(square), self.eps)
        adapted = b.div(scalars.spread(rectification, square), below)
        plain = b.like(1.0, square)
        factor = b.where(b.broadcast(sure, square.shape), adapted, plain)
        size = b.div(rate, scalars.correction(self.betas[0]))
        parameter = scalars.descend(parameter, size, b.mul(mean, factor))
        return parameter, {"exp_avg": mean, "exp_avg_sq": square}

    def _rectification(self, b: Builder, scalars: Scalars) -> tuple[Value, Value]:
        """(whether rho_t > 5, the rectification with the root of the bias correction)."""
        beta2 = self.betas[1]
        limit = 2.0 / (1.0 - beta2) - 1.0
        correction = scalars.correction(beta2)
        power = b.op("pow", scalars.number(beta2), scalars.step)
        lost = b.div(b.mul(b.scale(scalars.step, 2.0), power), correction)
        length = b.sub(scalars.number(limit), lost)
        sure = b.compare("gt", length, scalars.number(5.0))
        length = b.op("clamp", length, min=5.0, max=None)  # keeps the unused root real
        above = b.scale(b.mul(b.shift(length, -4.0), b.shift(length, -2.0)), limit)
        below = b.scale(length, (limit - 4.0) * (limit - 2.0))
        return sure, b.mul(b.sqrt(b.div(above, below)), b.sqrt(correction))


@dataclass(frozen=True)
class Adamax(Optimizer):
    """m <- m + (1 - beta1)(g - m);  u <- max(beta2 u, |g| + eps)
    p <- p - lr / (1 - beta1^t) * m / u
    """

    lr: Rate = 2e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def slots(self, type: TensorType) -> dict[str, Array]:
        return {"exp_avg": zeros(type), "exp_inf": zeros(type)}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        grad = decayed(b, grad, parameter, self.weight_decay)
        mean = moved(b, kept["exp_avg"], grad, self.betas[0])
        size = b.shift(b.op("abs", grad), self.eps)
        largest = b.op("maximum", b.scale(kept["exp_inf"], self.betas[1]), size)
        rate = b.div(scalars.rate(self.lr), scalars.correction(self.betas[0]))
        parameter = scalars.descend(parameter, rate, b.div(mean, largest))
        return parameter, {"exp_avg": mean, "exp_inf": largest}
