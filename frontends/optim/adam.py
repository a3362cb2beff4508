"""Adam (Kingma and Ba, 2015) and AdamW (Loshchilov and Hutter, 2019), as torch.optim's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.frontends.optim.base import Array, Optimizer, Rate, Scalars, decayed, zeros
from graphc.ir import TensorType, Value
from graphc.ops import Builder


@dataclass(frozen=True)
class Adam(Optimizer):
    """m <- m + (1 - beta1)(g - m);  v <- beta2 v + (1 - beta2) g^2
    p <- p - lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
    """

    lr: Rate = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    amsgrad: bool = False

    def slots(self, type: TensorType) -> dict[str, Array]:
        names = ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if self.amsgrad else [])]
        return {name: zeros(type) for name in names}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        parameter, grad = self._decay(b, scalars, parameter, grad)
        beta1, beta2 = self.betas
        mean = kept["exp_avg"]
        mean = b.add(mean, b.scale(b.sub(grad, mean), 1.0 - beta1))
        square = b.add(b.scale(kept["exp_avg_sq"], beta2), b.scale(b.mul(grad, grad), 1.0 - beta2))
        slots = {"exp_avg": mean, "exp_avg_sq": square}
        if self.amsgrad:
            square = slots["max_exp_avg_sq"] = b.op("maximum", kept["max_exp_avg_sq"], square)
        size = b.div(scalars.rate(self.lr), scalars.correction(beta1))
        root = b.sqrt(scalars.correction(beta2))
        below = b.shift(b.div(b.sqrt(square), scalars.spread(root, square)), self.eps)
        step = b.mul(scalars.spread(size, mean), b.div(mean, below))
        return b.sub(parameter, step), slots

    def _decay(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value
    ) -> tuple[Value, Value]:
        return parameter, decayed(b, grad, parameter, self.weight_decay)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with the weights shrunk by lr * weight_decay directly, not through the gradient."""

    weight_decay: float = 1e-2

    def _decay(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value
    ) -> tuple[Value, Value]:
        if not self.weight_decay:
            return parameter, grad
        shrink = b.mul(scalars.rate(self.lr), scalars.number(self.weight_decay))
        kept = b.sub(scalars.number(1.0), shrink)
        return b.mul(parameter, scalars.spread(kept, parameter)), grad
