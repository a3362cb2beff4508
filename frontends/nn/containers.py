"""Modules that hold modules or parameters, as torch.nn's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from graphc.errors import ArgumentError, TraceError
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter


class Sequential(Module):
    """Modules one after the other: positional ones, or a dict of named ones."""

    def __init__(self, *modules: Module | Mapping[str, Module]) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            named: Iterable[tuple[str, Any]] = modules[0].items()
        else:
            named = ((str(position), module) for position, module in enumerate(modules))
        for name, module in named:
            self.register_module(name, _checked(module))

    def forward(self, input: Any) -> Any:
        for module in self.children():
            input = module(input)
        return input

    def append(self, module: Module) -> Sequential:
        self.register_module(str(len(self)), _checked(module))
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Module:
        if isinstance(index, slice):
            return Sequential(dict(list(self.named_children())[index]))
        return _nth(self, index)


class ModuleList(Module):
    """A list of modules, which forward indexes or loops over."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        self.extend(modules)

    def append(self, module: Module) -> ModuleList:
        self.register_module(str(len(self)), _checked(module))
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        for module in modules:
            self.append(module)
        return self

    def insert(self, index: int, module: Module) -> None:
        modules = list(self.children())
        modules.insert(index, _checked(module))
        self._renumber(modules)

    def _renumber(self, modules: list[Module]) -> None:
        self._modules.clear()
        self.extend(modules)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return self.children()

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ModuleList(list(self.children())[index])
        return _nth(self, index)

    def __setitem__(self, index: int, module: Module) -> None:
        names = list(self._modules)
        self.register_module(names[_position(self, index)], _checked(module))


class ModuleDict(Module):
    """Modules by name, in the order they were entered."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self[name] = module

    def __getitem__(self, name: str) -> Module:
        module = self._modules.get(name)
        if module is None:
            raise ArgumentError(f"ModuleDict: no module {name!r}; there are {list(self._modules)}")
        return module

    def __setitem__(self, name: str, module: Module) -> None:
        self.register_module(name, _checked(module))

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def values(self) -> Iterator[Module]:
        return self.children()

    def items(self) -> Iterator[tuple[str, Module]]:
        return self.named_children()


class ParameterList(Module):
    """A list of parameters."""

    def __init__(self, parameters: Iterable[Parameter] = ()) -> None:
        super().__init__()
        for parameter in parameters:
            self.append(parameter)

    def append(self, parameter: Parameter) -> ParameterList:
        self.register_parameter(str(len(self)), parameter)
        return self

    def __len__(self) -> int:
        return len(self._parameters)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, name) for name in self._parameters)

    def __getitem__(self, index: int) -> Any:
        return getattr(self, list(self._parameters)[index])


def _checked(module: Any) -> Module:
    if not isinstance(module, Module):
        raise ArgumentError(f"{type(module).__name__} is no module; expected nn.Module")
    return module


def _position(container: Sequential | ModuleList, index: int) -> int:
    try:
        position = index.__index__()
    except (AttributeError, TypeError):
        raise TraceError(f"a module is chosen by {index!r}; expected a Python integer") from None
    if not -len(container) <= position < len(container):
        raise IndexError(f"no module {position} in a {type(container).__name__}({len(container)})")
    return position % len(container)


def _nth(container: Sequential | ModuleList, index: int) -> Module:
    return list(container.children())[_position(container, index)]
