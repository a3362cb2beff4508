"""What an adapter is, which layers take one, and its state: parameters and options.

An adapter is a value (rank, width, length …) that layers hold; its parameters are registered on the
layer under names of its own, so that `<layer>.lora_A` stands beside `<layer>.weight`, whose name,
shape and elements do not change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral
from typing import Any, ClassVar

from graphc.errors import ArgumentError
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.module_tree import all_holders, joined, matching
from graphc.frontends.nn.parameter import Parameter

_SHOWN = 24  # names in an error message


@dataclass(frozen=True, repr=False)
class Adapter(ABC):
    """New parameters of a layer, and what they do to its output.

    kind      the function of graphc.nn that attaches it
    carriers  the layers that can carry it, for error messages
    """

    kind: ClassVar[str]
    carriers: ClassVar[str]

    @abstractmethod
    def carries(self, layer: Module) -> bool:
        """Whether a layer can carry it."""

    @abstractmethod
    def parameters(self, layer: Module) -> dict[str, Parameter]:
        """New parameters for a layer, by the names they get there."""

    @abstractmethod
    def adjust(self, layer: Module, input: Any, output: Any) -> Any:
        """The layer's output with the adapter's part; `input` is its first argument."""

    @property
    def options(self) -> dict[str, Any]:
        """What makes it again: `type(adapter)(**adapter.options)`."""
        return asdict(self)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.kind}({options})"

    def _take_count(self, name: str) -> None:
        """Makes an option an int. Raises ArgumentError for no whole number of at least 1."""
        value = getattr(self, name)
        is_whole = isinstance(value, Integral) and not isinstance(value, bool)
        if not is_whole or int(value) < 1:
            raise ArgumentError(f"nn.{self.kind}: {name} is {value!r}, expected 1 or more")
        object.__setattr__(self, name, int(value))


@dataclass(frozen=True)
class Attached:
    """Which layers got an adapter, and what is trained now. Prints as a line and a list.

    parameters  elements that this adapter added
    trained     elements of all parameters that are trained
    total       elements of all parameters
    """

    adapter: Adapter
    layers: tuple[str, ...]
    parameters: int
    trained: int
    total: int

    def __str__(self) -> str:
        share = 100 * self.trained / self.total
        return (
            f"{self.adapter!r}: {self.parameters:,} parameters on {len(self.layers)} layers, "
            f"{self.trained:,} of {self.total:,} trained ({share:.2f} %)\n"
            + "\n".join(f"  {name}" for name in self.layers)
        )


def attach(model: Module, patterns: Sequence[str], adapter: Adapter) -> Attached:
    """Put an adapter on the layers that match; only parameters of adapters stay trainable.

    Raises ArgumentError for a pattern that matches no layer that can carry it, and for a layer that
    carries one of this kind already.
    """
    layers = _chosen(model, patterns, adapter)
    for name, layer in layers.items():
        if any(known.kind == adapter.kind for known in layer._adapters):
            raise ArgumentError(f"nn.{adapter.kind}: {name} carries one already")
    added = sum(_put_on(layer, adapter) for layer in layers.values())
    own = {id(parameter) for _, parameter in adapter_parameters(model)}
    for parameter in model.parameters():
        if id(parameter) not in own:
            parameter.requires_grad = False
    sizes = [(parameter.size, parameter.requires_grad) for parameter in model.parameters()]
    trained = sum(size for size, is_trained in sizes if is_trained)
    return Attached(adapter, tuple(layers), added, trained, sum(size for size, _ in sizes))


def _put_on(layer: Module, adapter: Adapter) -> int:
    """Register the parameters; how many elements they have."""
    made = adapter.parameters(layer)
    for name, parameter in made.items():
        layer.register_parameter(name, parameter)
    layer.__dict__["_adapters"] = (*layer._adapters, adapter)
    return sum(parameter.size for parameter in made.values())


def take_off(layer: Module, adapter: Adapter) -> dict[str, Parameter]:
    """Remove an adapter; its parameters."""
    names = adapter.parameters(layer)
    removed = {name: layer._parameters.pop(name) for name in names}
    rest = tuple(other for other in layer._adapters if other is not adapter)
    layer.__dict__["_adapters"] = rest
    return {name: parameter for name, parameter in removed.items() if parameter is not None}


def remove_adapters(model: Module) -> None:
    """Take all adapters off: the model is what it was before them. Frozen stays frozen.

    >>> from graphc import nn
    >>> model = nn.Sequential(nn.Linear(3, 2))
    >>> _ = nn.bottleneck(model, "0", width=1)
    >>> nn.remove_adapters(model)
    >>> [(name, p.requires_grad) for name, p in model.named_parameters()]
    [('0.weight', False), ('0.bias', False)]
    """
    for _, layer in model.named_modules():
        for adapter in layer._adapters:
            take_off(layer, adapter)


def adapted_layers(model: Module) -> Iterator[tuple[str, Module, Adapter]]:
    """(full name, layer, adapter), in the model's order."""
    for name, layer in model.named_modules():
        for adapter in layer._adapters:
            yield name, layer, adapter


def adapter_parameters(model: Module) -> Iterator[tuple[str, Parameter]]:
    """(full name, parameter) of every adapter's parameters."""
    for name, layer, adapter in adapted_layers(model):
        for part in adapter.parameters(layer):
            parameter = layer._parameters[part]
            assert parameter is not None
            yield joined(name, part), parameter


class Carried:
    """Which layers of a model carry which adapters, for what is made from the model as it is."""

    def __init__(self, model: Module) -> None:
        self._layers = [(layer, layer._adapters) for layer in model.modules()]

    def check(self, made: Any) -> None:
        """Raises ArgumentError where layers carry others now; `made` is what was made of them."""
        for layer, before in self._layers:
            # Equal ones have parameters of their own; merged ones that are back have the same.
            if layer._adapters is not before and not _same(layer._adapters, before):
                raise ArgumentError(
                    f"{type(made).__name__}: a {type(layer).__name__} carried {_shown(before)} "
                    f"when it was made and now carries {_shown(layer._adapters)}; make a new one"
                )


def _same(first: Sequence[Adapter], second: Sequence[Adapter]) -> bool:
    return list(map(id, first)) == list(map(id, second))


def _shown(adapters: tuple[Adapter, ...]) -> str:
    return " and ".join(map(repr, adapters)) or "no adapter"


def weight_parameter(layer: Module) -> Parameter:
    """The parameter `weight` itself, traced or not."""
    weight = layer._parameters["weight"]
    assert weight is not None
    return weight


# Which layers


def _chosen(model: Module, patterns: Sequence[str], adapter: Adapter) -> dict[str, Module]:
    """{full name: layer} of what the patterns match and can carry the adapter."""
    if not patterns:
        raise ArgumentError(f"nn.{adapter.kind}: no pattern says which layers; {_can(adapter)}")
    modules = dict(model.named_modules())
    tied = _tied(model)
    can = {name: m for name, m in modules.items() if adapter.carries(m) and name not in tied}
    matched: set[str] = set()
    for pattern in patterns:
        found = matching(modules, pattern)
        if not any(name in can for name in found):
            reason = _why_not(pattern, found, modules, tied, adapter)
            raise ArgumentError(f"nn.{adapter.kind}: {reason}; there are {_listed(list(can))}")
        matched.update(found)
    return {name: layer for name, layer in can.items() if name in matched}


def _tied(model: Module) -> dict[str, str]:
    """{layer: another that reads the same weight}: merged matrices would change both."""
    first: dict[int, str] = {}
    tied: dict[str, str] = {}
    for full_name, holder in all_holders(model).items():
        layer = full_name.rpartition(".")[0]
        other = first.setdefault(id(holder), layer)
        if other != layer:
            tied |= {layer: other, other: layer}
    return tied


def _listed(names: Sequence[str]) -> str:
    """Names for an error message; of a large model the first ones."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return (", ".join(names[:_SHOWN]) or "none") + more


def _can(adapter: Adapter) -> str:
    return f"{adapter.carriers} can carry one"


def _why_not(
    pattern: str,
    found: Sequence[str],
    modules: dict[str, Module],
    tied: dict[str, str],
    adapter: Adapter,
) -> str:
    for name in found:
        if name in tied and adapter.carries(modules[name]):
            return f"{name} shares a parameter with {tied[name]}, and would change that too"
    if not found:
        return f"no layer matches {pattern!r}; {_can(adapter)}"
    kinds = dict.fromkeys(type(modules[name]).__name__ for name in found)
    return f"{pattern!r} matches {', '.join(kinds)} ({found[0] or 'the model'}); {_can(adapter)}"
