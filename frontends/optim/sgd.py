"""Stochastic gradient descent, as torch.optim.SGD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphc.frontends.optim.base import Array, Optimizer, Rate, Scalars, decayed, zeros
from graphc.ir import TensorType, Value
from graphc.ops import Builder


@dataclass(frozen=True)
class SGD(Optimizer):
    """p <- p - lr * d, with d = g + weight_decay * p, or its running sum with momentum:

    buf <- momentum * buf + (1 - dampening) * d     (buf = d at the first step)
    """

    lr: Rate = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            self._refuse("nesterov", True, "False without momentum or with dampening")

    def slots(self, type: TensorType) -> dict[str, Array]:
        return {"momentum_buffer": zeros(type)} if self.momentum else {}

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        grad = decayed(b, grad, parameter, self.weight_decay)
        slots: dict[str, Value] = {}
        if self.momentum:
            slots["momentum_buffer"] = self._buffer(b, scalars, grad, kept["momentum_buffer"])
            buffer = slots["momentum_buffer"]
            grad = b.add(grad, b.scale(buffer, self.momentum)) if self.nesterov else buffer
        rate = scalars.spread(scalars.rate(self.lr), parameter)
        return b.sub(parameter, b.mul(rate, grad)), slots

    def _buffer(self, b: Builder, scalars: Scalars, grad: Value, buffer: Value) -> Value:
        running = b.add(b.scale(buffer, self.momentum), b.scale(grad, 1.0 - self.dampening))
        if not self.dampening:  # the buffer starts at 0, so the first sum is the gradient
            return running
        first = b.compare("eq", scalars.step, scalars.number(1.0))
        return b.where(b.broadcast(first, grad.shape), grad, running)
