"""Sums of columns are taken in the sweep that goes over the same elements: the last step of fusion.

    %2 = group(%x, %dy)      row by row, f32[8192,1024], stored
    %3 = reshape(%2)         f32[64,128,1024]                  ->  one group: each chunk's rows in
    %4 = group(%3)           its sum over 128 rows, for each       order, its sums in cache
                             column and chunk

A group that folds the middle dimensions of (chunks, rows, columns), as `split_reductions` leaves
them, joins an elementwise group, or one that works row by row, over the same elements, where it
reads what that one computes or both read one tensor. Where nothing else reads what lies between
them, it is not stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from graphc.ir import Value
from graphc.passes.ancestry import Ancestry, mask_of
from graphc.passes.fusion_facts import Facts
from graphc.passes.growth import MOST_NODES, Growth, Refused

_LEAST_ELEMENTS = 1 << 16


def join_column_sums(facts: Facts, ancestry: Ancestry, groups: Sequence[Growth]) -> list[Growth]:
    """The groups after joining, in the order given; `ancestry` follows."""
    owner = {member: group for group in groups for member in group.members}
    left = list(groups)
    for sums in groups:
        columns = columns_of(sums)
        if columns is None:
            continue
        for other in _candidates(facts, sums, left, owner):
            try:
                _expect_fit(facts, ancestry, sums, other, columns)
            except Refused as reason:
                sums.refusals[other.root] = str(reason)
                continue
            other.absorb_sums(sums)
            owner.update(dict.fromkeys(sums.members, other))
            ancestry.join(other.members)
            left.remove(sums)
            break
    return left


def columns_of(group: Growth) -> int | None:
    """How many dimensions are columns of a group that folds those between chunks and columns."""
    sweep = group.sweep
    if sweep is None or group.is_row or not sweep.axes or group.main is None:
        return None
    first, last = sweep.axes[0], sweep.axes[-1]
    between = sweep.axes == tuple(range(first, last + 1))
    if not between or first == 0 or last == len(sweep.shape) - 1:
        return None
    folds = [p for p in group.members if group.facts.kinds[p] == "reduction"]
    plain = all(group.facts.nodes[p].op == "sum" for p in folds)
    return len(sweep.shape) - 1 - last if plain and group.root in folds else None


def _candidates(
    facts: Facts, sums: Growth, groups: Sequence[Growth], owner: dict[int, Growth]
) -> Iterator[Growth]:
    """Groups over as many elements that the sums read, then those that read a tensor with them;
    the latest first."""
    assert sums.sweep is not None
    size = math.prod(sums.sweep.shape)
    if size < _LEAST_ELEMENTS:
        return
    read = {p for member in sums.members for p in facts.sources(member)}
    near = {id(owner[p]) for p in read if p in owner}
    tensors = _tensors(facts, sums, size)
    fitting = [
        group
        for group in groups
        if group is not sums
        and group.sweep is not None
        and not columns_of(group)
        and (group.is_row or not group.sweep.axes)
        and math.prod(group.sweep.shape) == size
    ]
    fitting.sort(key=lambda group: (id(group) not in near, -group.root))
    for group in fitting:
        if id(group) in near or tensors & _tensors(facts, group, size):
            yield group


def _tensors(facts: Facts, group: Growth, size: int) -> set[Value]:
    """Tensors of so many elements that a group reads from outside, seen through what is copied."""
    found: set[Value] = set()
    waiting = [value for member in group.members for value in facts.nodes[member].operands]
    while waiting:
        value = waiting.pop()
        position = facts.position.get(value)
        if position in group.roles or value.type.size != size:
            continue
        if position is not None and facts.is_transparent(position):
            waiting += facts.nodes[position].operands
        else:
            found.add(value)
    return found


def _expect_fit(
    facts: Facts, ancestry: Ancestry, sums: Growth, other: Growth, columns: int
) -> None:
    """Raise Refused where the two cannot be one sweep."""
    assert sums.sweep is not None and other.sweep is not None
    if (sums.root in facts.updating) or (other.root in facts.updating):
        raise Refused("updates of the state run after all that reads it")
    if len(sums.roles) + len(other.roles) > MOST_NODES:
        raise Refused(f"together they hold more than {MOST_NODES} nodes")
    if not _is_split(other.sweep.shape, sums.sweep.shape, columns):
        raise Refused("their elements lie in another order")
    if other.is_row and len(other.sweep.axes) != columns:
        raise Refused("the rows of one are not those of the other")
    if any(value in facts.images for p in other.members for value in facts.nodes[p].results):
        raise Refused("their elements lie in another order")
    members = [*sums.members, *other.members]
    if ancestry.any_depends(other.members, mask_of(sums.members)):
        raise Refused("it reads the sums")
    read = set().union(*(facts.sources(member) for member in members)) - set(members)
    if ancestry.any_depends(read, mask_of(members)):
        raise Refused("something between them runs on its own")


def _is_split(whole: tuple[int, ...], split: tuple[int, ...], columns: int) -> bool:
    """Whether a shape has the columns of another, and before them its dimensions or products of
    neighbours among them.

    >>> _is_split((8192, 1024), (64, 128, 1024), 1), _is_split((8, 16, 4), (16, 8, 4), 1)
    (True, False)
    """
    if len(whole) <= columns or whole[-columns:] != split[-columns:]:
        return False
    left = list(split[:-columns])
    for extent in whole[:-columns]:
        product = 1
        while product < extent and left:
            product *= left.pop(0)
        if product != extent:
            return False
    return math.prod(left) == 1
