"""How one node of a group reads another: directly, or through views that map its index."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from graphc.ir import Node, Value
from graphc.passes.fusion_facts import Facts
from graphc.passes.kinds import is_view


@dataclass(frozen=True)
class Route:
    """From `reader` back to `value`, which node `producer` computes.

    views   the views in between, the reader's side first
    """

    reader: int
    producer: int
    value: Value
    views: tuple[Node, ...] = ()

    @property
    def is_direct(self) -> bool:
        return not self.views

    @property
    def repeats(self) -> bool:
        """Whether one element of the value is read at several indexes."""
        return any(
            view.op == "broadcast" and view.result.type.size > view.operands[0].type.size
            for view in self.views
        )

    @property
    def regroups(self) -> bool:
        """Whether dimensions are merged in between, so that an index there costs divisions."""
        return any(
            view.op == "reshape" and _merges(view.operands[0].shape, view.result.shape)
            for view in self.views
        )

    def reads_rows(self, shape: tuple[int, ...]) -> bool:
        """Whether dimension d of the value is dimension d of the reader's operand of `shape`,
        those of extent 1 apart: each row of the reader then reads one element."""
        labels: list[int | None] = list(range(self.value.type.rank))
        extents = self.value.shape
        for view in reversed(self.views):
            found = _follow(view, labels, extents)
            if found is None:
                return False
            labels, extents = found, view.result.shape
        if extents != shape:
            return False
        wide = [(d, label) for d, label in enumerate(labels) if label is not None]
        return all(d == label or self.value.shape[label] == 1 for d, label in wide)


def _merges(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether some dimension after a reshape counts over several dimensions before it.

    >>> _merges((64, 3), (8, 8, 3)), _merges((8, 8, 3), (64, 3))
    (False, True)
    """
    left, right = list(_wide(before)), list(_wide(after))
    while left and right:
        run, target = right.pop(), left.pop()
        while run < target and right:
            run *= right.pop()
        if run != target:
            return True
    return False


def _wide(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(extent for extent in shape if extent != 1)


def _follow(
    view: Node, labels: list[int | None], extents: tuple[int, ...]
) -> list[int | None] | None:
    """The label of each dimension of a view's result; None where it has no such form."""
    match view.op:
        case "broadcast":
            return [None] * (view.result.type.rank - len(labels)) + labels
        case "transpose":
            return [labels[axis] for axis in view.attrs["axes"]]
        case "reshape":
            if _wide(view.result.shape) != _wide(extents):
                return None
            kept = iter([x for x, n in zip(labels, extents, strict=True) if n != 1])
            return [None if extent == 1 else next(kept) for extent in view.result.shape]
        case _:
            return None


def routes_from(facts: Facts, reader: int) -> Iterator[Route]:
    """The routes from a node to the nodes that compute what it reads."""
    for value in facts.nodes[reader].operands:
        yield from _routes(facts, reader, value, ())


def _routes(facts: Facts, reader: int, value: Value, views: tuple[Node, ...]) -> Iterator[Route]:
    position = facts.position.get(value)
    if position is None:
        return
    if not facts.is_transparent(position):
        yield Route(reader, position, value, views)
        return
    node = facts.nodes[position]
    further = (*views, node) if is_view(node) else views
    for operand in node.operands:
        yield from _routes(facts, reader, operand, further)
