"""What an optimizer is: rules that write a parameter's update as graph nodes.

Every optimizer does its arithmetic in the parameter's own type, in torch.optim's order, so that it
follows torch step by step. Scalars that depend on the step number (learning rate, bias corrections)
are computed once for all parameters, in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from typing import Any, NoReturn, TypeAlias

import numpy as np

from graphc.dtypes import float64
from graphc.errors import ArgumentError
from graphc.frontends.optim.schedules import Schedule
from graphc.ir import TensorType, Value
from graphc.ops import Builder

Array = np.ndarray[Any, Any]
Rate: TypeAlias = float | Schedule
Selector: TypeAlias = str | Callable[[str, Any], bool]
_NOT_NEGATIVE = frozenset({"lr", "eps", "weight_decay", "momentum", "clip_norm", "clip_value"})
_NUMBERS = (float, int, np.floating, np.integer)
_RATES = "a number or one of optim.schedules"
Group: TypeAlias = tuple[Selector, Mapping[str, Any]]


@dataclass(frozen=True)
class Scalars:
    """The step number (1 at the first step) and numbers made from it, as f64 values."""

    builder: Builder
    step: Value

    def number(self, value: float) -> Value:
        return self.builder.constant(value, float64)

    def rate(self, lr: Rate) -> Value:
        """The learning rate of this step; a schedule counts steps from 0."""
        if isinstance(lr, Schedule):
            done = self.builder.sub(self.step, self.number(1.0))
            return lr.rate(self.builder, done)
        return self.number(lr)

    def correction(self, beta: float) -> Value:
        """1 - beta ** step: what a moving average started at zero falls short of."""
        power = self.builder.op("pow", self.number(beta), self.step)
        return self.builder.sub(self.number(1.0), power)

    def spread(self, scalar: Value, like: Value) -> Value:
        """A scalar in a parameter's type and shape."""
        return self.builder.broadcast(self.builder.cast(scalar, like.dtype), like.shape)

    def less(self, scalar: Value) -> Value:
        """1 - scalar."""
        return self.builder.sub(self.number(1.0), scalar)

    def descend(self, parameter: Value, rate: Value, step: Value) -> Value:
        """parameter - rate * step, for a scalar rate."""
        return self.builder.sub(parameter, self.builder.mul(self.spread(rate, step), step))

    def shrunk(self, parameter: Value, rate: Value, weight_decay: float) -> Value:
        """parameter * (1 - rate * weight_decay), the decoupled decay."""
        if not weight_decay:
            return parameter
        kept = self.less(self.builder.scale(rate, weight_decay))
        return self.builder.mul(parameter, self.spread(kept, parameter))


@dataclass(frozen=True)
class Optimizer:
    """Base of the optimizers; the fields are torch.optim's arguments, in its order, but for the
    parameters: a TrainStep trains those of its model.

    groups      (name pattern or predicate(name, parameter), options): the first that matches a
                parameter's full name replaces options for it
    clip_norm   scales all gradients so that their common norm is at most this
    clip_value  limits every gradient element to [-clip_value, clip_value], before clip_norm
    """

    lr: Rate = 1e-3
    groups: Sequence[Group] = field(default=(), kw_only=True)
    clip_norm: float | None = field(default=None, kw_only=True)
    clip_value: float | None = field(default=None, kw_only=True)

    def __new__(cls, *options: Any, **keywords: Any) -> Any:
        """Raises ArgumentError for parameters in front, as torch.optim takes them."""
        if options and not isinstance(options[0], (*_NUMBERS, Schedule)):
            raise ArgumentError(
                f"{cls.__name__}: lr is {options[0]!r}, expected {_RATES}; there is no list of "
                "parameters: a TrainStep trains those of its model, and groups= sets some apart"
            )
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Raises ArgumentError for an option outside its meaning."""
        if not isinstance(self.lr, (*_NUMBERS, Schedule)):
            self._refuse("lr", self.lr, _RATES)
        for option in fields(self):
            value = getattr(self, option.name)
            if option.type == "float" and not isinstance(value, _NUMBERS):
                self._refuse(option.name, value, "a number")
            if option.name == "betas" and not _are_betas(value):
                self._refuse(option.name, value, "two numbers from 0, below 1")
            if option.name in _NOT_NEGATIVE and isinstance(value, _NUMBERS) and not value >= 0:
                self._refuse(option.name, value, "0 or more")
        for group in self.groups:
            if not _is_group(group):
                self._refuse("a group", group, "(name pattern or predicate, {option: value})")

    def _refuse(self, name: str, value: Any, expected: str) -> NoReturn:
        raise ArgumentError(f"{type(self).__name__}: {name} is {value!r}, expected {expected}")

    def slots(self, type: TensorType) -> dict[str, Array]:
        """{torch's name: first elements} of what is kept for a parameter."""
        raise NotImplementedError

    def update(
        self, b: Builder, scalars: Scalars, parameter: Value, grad: Value, kept: Mapping[str, Value]
    ) -> tuple[Value, dict[str, Value]]:
        """The parameter's new value and those of its slots."""
        raise NotImplementedError

    def check_groups(self, parameters: Iterable[str]) -> None:
        """Raises ArgumentError for a name pattern that matches none of the parameters."""
        names = list(parameters)
        for selector, _ in self.groups:
            if isinstance(selector, str) and not any(selects(selector, n, None) for n in names):
                raise ArgumentError(
                    f"{type(self).__name__}: no parameter matches group {selector!r}; there are "
                    f"{', '.join(names)}"
                )

    def for_parameter(self, name: str, parameter: Any) -> Optimizer:
        """The optimizer with the options of the parameter's group."""
        known = {field.name for field in fields(self)}
        for selector, options in self.groups:
            unknown = set(options) - known
            if unknown:
                raise ArgumentError(
                    f"{type(self).__name__} has no option {', '.join(sorted(unknown))}"
                )
            if selects(selector, name, parameter):
                return replace(self, **options)
        return self

    def clip(self, b: Builder, grads: Sequence[Value]) -> list[Value]:
        """The gradients, limited by value and then by their common norm."""
        limited = list(grads)
        if self.clip_value is not None:
            bound = float(self.clip_value)
            limited = [b.op("clamp", g, min=-bound, max=bound) for g in limited]
        if self.clip_norm is not None and limited:
            limited = self._clip_norm(b, limited, float(self.clip_norm))
        return limited

    def _clip_norm(self, b: Builder, grads: Sequence[Value], bound: float) -> list[Value]:
        """As torch's clip_grad_norm_: factor min(1, bound / (norm + 1e-6))."""
        total: Value | None = None
        for grad in grads:
            square = b.sum(b.mul(grad, grad), range(grad.type.rank))
            total = square if total is None else b.add(total, b.cast(square, total.dtype))
        assert total is not None
        norm = b.sqrt(total)
        factor = b.div(b.like(bound, norm), b.shift(norm, 1e-6))
        factor = b.op("clamp", factor, min=None, max=1.0)
        return [b.mul(g, b.broadcast(b.cast(factor, g.dtype), g.shape)) for g in grads]


def _are_betas(value: Any) -> bool:
    is_pair = isinstance(value, tuple | list) and len(value) == 2
    return is_pair and all(isinstance(beta, _NUMBERS) and 0 <= beta < 1 for beta in value)


def _is_group(value: Any) -> bool:
    if not isinstance(value, tuple | list) or len(value) != 2:
        return False
    selector, options = value
    return (isinstance(selector, str) or callable(selector)) and isinstance(options, Mapping)


def selects(selector: Selector, name: str, parameter: Any) -> bool:
    """Whether a group's selector takes a parameter."""
    if isinstance(selector, str):
        return fnmatchcase(name, selector)
    return bool(selector(name, parameter))


def zeros(type: TensorType) -> Array:
    return np.zeros(type.shape, type.dtype.numpy)


def decayed(b: Builder, grad: Value, parameter: Value, weight_decay: float) -> Value:
    """The gradient of the loss with weight_decay/2 * |parameter|^2 added."""
    return b.add(grad, b.scale(parameter, weight_decay)) if weight_decay else grad


def moved(b: Builder, mean: Value, new: Value, beta: float) -> Value:
    """A running mean moved by 1 - beta of the way to `new`."""
    return b.add(mean, b.scale(b.sub(new, mean), 1.0 - beta))


def mean_square(b: Builder, mean: Value, new: Value, beta: float) -> Value:
    """A running mean of squares: beta * mean + (1 - beta) * new^2."""
    return b.add(b.scale(mean, beta), b.scale(b.mul(new, new), 1.0 - beta))


def norm(b: Builder, x: Value) -> Value:
    """The root of the sum of squares of all elements, a scalar of x's type."""
    return b.sqrt(b.sum(b.mul(x, x), range(x.type.rank)))
