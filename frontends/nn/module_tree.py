"""Walks over a tree of modules, and its text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from graphc.errors import ArgumentError
from graphc.frontends.nn.parameter import StateTensor

if TYPE_CHECKING:
    from graphc.frontends.nn.module import Module


def named_modules(
    module: Module, prefix: str = "", every_name: bool = False
) -> Iterator[tuple[str, Module]]:
    """(full name, module), parents first; a shared module once, or under every name."""
    seen: set[int] = set()
    for name, found in _walk(module, prefix):
        if every_name or id(found) not in seen:
            seen.add(id(found))
            yield name, found


def _walk(module: Module, prefix: str) -> Iterator[tuple[str, Module]]:
    yield prefix, module
    for name, child in module.named_children():
        yield from _walk(child, joined(prefix, name))


def joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def named_holders(module: Module, prefix: str = "") -> Iterator[tuple[str, StateTensor]]:
    """(full name, parameter or buffer), a shared one once under its first name."""
    seen: set[int] = set()
    for name, holder in all_holders(module, prefix).items():
        if id(holder) not in seen:
            seen.add(id(holder))
            yield name, holder


def all_holders(module: Module, prefix: str = "") -> dict[str, StateTensor]:
    """{full name: parameter or buffer}, a shared one under every name, in torch's order."""
    found: dict[str, StateTensor] = {}
    for path, part in named_modules(module, prefix, every_name=True):
        for name, holder in (*part._parameters.items(), *part._buffers.items()):
            if holder is not None:
                found[joined(path, name)] = holder
    return found


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that a name pattern matches. Raises ArgumentError for one that is no text."""
    if not isinstance(pattern, str):
        raise ArgumentError(
            f"{pattern!r} is {type(pattern).__name__}; a name pattern is text, and several are "
            "several arguments"
        )
    return [name for name in names if fnmatchcase(name, pattern)]


def describe(module: Module) -> str:
    """The tree as torch prints it: equal neighbours in a list are counted, not repeated."""
    lines = [line for name, child in _grouped(module) for line in f"({name}): {child}".split("\n")]
    shown = [module.extra_repr(), *map(repr, module._adapters)]
    extra = ", ".join(filter(None, shown))
    name = type(module).__name__
    if not lines:
        return f"{name}({extra})"
    body = [line for line in extra.split("\n") if line] + lines
    return f"{name}(\n" + "".join(f"  {line}\n" for line in body) + ")"


def _grouped(module: Module) -> Iterator[tuple[str, str]]:
    """(name, text) of the children; runs of equal ones in a ModuleList as ``(0-2): 3 x …``."""
    texts = [(name, repr(child)) for name, child in module.named_children()]
    if type(module).__name__ != "ModuleList":
        yield from texts
        return
    start = 0
    while start < len(texts):
        stop = start
        while stop < len(texts) and texts[stop][1] == texts[start][1]:
            stop += 1
        name, text = texts[start]
        count = stop - start
        yield (name, text) if count == 1 else (f"{name}-{stop - 1}", f"{count} x {text}")
        start = stop
