"""Nested tuples, lists and dicts of tensors ("trees"), flattened to their leaves and built again.

>>> leaves, shape = flatten({"b": 2, "a": (1, None)})
>>> leaves, build(shape, ["one", "two"])
([1, 2], {'a': ('one', None), 'b': 'two'})
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class Tree:
    """The structure of a nested value: its kind, its keys (of a dict) and its parts.

    `kind` is the class of a tuple, list or dict; NoneType; or `object` for a leaf.
    """

    kind: type
    keys: tuple[Any, ...] = ()
    parts: tuple[Tree, ...] = ()

    @cached_property
    def is_row(self) -> bool:
        """Whether it is a plain tuple or list of leaves, as most programs take and give."""
        return self.kind in (tuple, list) and all(part.kind is object for part in self.parts)

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.parts))
        if self.kind is object:
            return "*"
        if self.kind is type(None):
            return "None"
        if issubclass(self.kind, dict):
            pairs = (f"{key!r}: {part}" for key, part in zip(self.keys, self.parts, strict=True))
            return "{" + ", ".join(pairs) + "}"
        if issubclass(self.kind, list):
            return f"[{inner}]"
        return f"({inner},)" if len(self.parts) == 1 else f"({inner})"


LEAF = Tree(object)


def flatten(value: Any) -> tuple[list[Any], Tree]:
    """The leaves, depth first (a dict's in the order of its sorted keys), and the structure."""
    leaves: list[Any] = []
    return leaves, _collect(value, leaves)


def _collect(value: Any, leaves: list[Any]) -> Tree:
    if value is None:
        return Tree(type(None))
    if isinstance(value, dict):
        keys = tuple(sorted(value, key=str))
        return Tree(type(value), keys, tuple(_collect(value[key], leaves) for key in keys))
    if isinstance(value, list | tuple):
        return Tree(type(value), (), tuple(_collect(item, leaves) for item in value))
    leaves.append(value)
    return LEAF


def leaves_of(tree: Tree, value: Any) -> list[Any] | None:
    """The leaves of a value of that structure; None where it has another.

    What stands in a leaf's place is a leaf, be it a list of numbers.

    >>> leaves_of(Tree(tuple, (), (LEAF, LEAF)), ([1, 2], 3))
    [[1, 2], 3]
    """
    if tree.kind is object:
        return [value]
    if type(value) is not tree.kind:
        return None
    items: list[Any] = []
    if isinstance(value, dict):
        if tuple(sorted(value, key=str)) != tree.keys:
            return None
        items = [value[key] for key in tree.keys]
    elif isinstance(value, list | tuple):
        items = list(value)
    if len(items) != len(tree.parts):
        return None
    if tree.is_row:
        return items
    found = [leaves_of(part, item) for part, item in zip(tree.parts, items, strict=True)]
    return [leaf for leaves in found for leaf in leaves or ()] if None not in found else None


def build(tree: Tree, leaves: Sequence[Any]) -> Any:
    """The nested value of a structure and its leaves; the inverse of `flatten`."""
    if tree.kind is object:
        return leaves[0]
    return tree.kind(leaves) if tree.is_row else _build(tree, iter(leaves))


def _build(tree: Tree, leaves: Iterator[Any]) -> Any:
    if tree.kind is object:
        return next(leaves)
    if tree.kind is type(None):
        return None
    parts = [_build(part, leaves) for part in tree.parts]
    kind: Any = tree.kind
    if issubclass(kind, dict):
        return dict(zip(tree.keys, parts, strict=True))
    if hasattr(kind, "_fields"):  # a named tuple takes its parts one by one
        return kind(*parts)
    return kind(parts)


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """The same nested value with `function` applied to each leaf."""
    leaves, tree = flatten(value)
    return build(tree, [function(leaf) for leaf in leaves])


def leaf_paths(value: Any, prefix: str) -> list[str]:
    """A dotted name for each leaf, in the order of `flatten`.

    >>> leaf_paths({"w": (1, 2)}, "x")
    ['x.w.0', 'x.w.1']
    """
    if value is None:
        return []
    if isinstance(value, dict):
        pairs = [(str(key), value[key]) for key in sorted(value, key=str)]
    elif isinstance(value, list | tuple):
        pairs = [(str(position), item) for position, item in enumerate(value)]
    else:
        return [prefix]
    return [path for key, item in pairs for path in leaf_paths(item, f"{prefix}.{key}")]
