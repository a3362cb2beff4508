"""Groups that sweep over the same elements become one group: the second step of fusion.

    %2 = group(%m, %g)       the new first moment, stored          parameter, gradient and both
    %3 = group(%v, %g)       the new second moment, stored    ->   moments: one group of three
    %4 = group(%p, %2, %3)   the new parameter, stored             results, each element read once

    %2 = sum(%dy) {axes=(2,3)}                                ->   one group of two folds
    %4 = group(%dy, %x)      the sum of dy (x - mean)

Growth goes back from one root, and so stops where a value has readers in several groups. Here
elementwise groups of one shape, and folds of one shape over the same dimensions, are joined where
one reads what the other computes, or both read a tensor of that shape, provided that nothing
outside runs between them. Small folds of what one group computes are joined too, to be one launch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from graphc.ir import Value
from graphc.passes.ancestry import Ancestry, mask_of
from graphc.passes.fusion_facts import Facts
from graphc.passes.growth import MOST_NODES, Growth, Refused
from graphc.passes.routes import routes_from

_SMALL_ELEMENTS = 1 << 14


def join_siblings(facts: Facts, ancestry: Ancestry, groups: list[Growth]) -> list[Growth]:
    """The groups after joining, in the order given; `ancestry` follows."""
    joining = _Joining(facts, ancestry, groups)
    for group in groups:
        joining.absorb_all(group)
    for group in groups:  # again: small folds may read one group only now
        if group.sweep is not None and group.sweep.axes:
            joining.absorb_all(group)
    return [group for group in groups if joining.is_alive(group)]


class _Joining:
    """Which group each node is in, and which groups read each tensor."""

    def __init__(self, facts: Facts, ancestry: Ancestry, groups: Iterable[Growth]) -> None:
        self.facts = facts
        self.ancestry = ancestry
        self.owner: dict[int, Growth] = {}
        self.readers: dict[Value, list[int]] = {}
        for group in groups:
            self.owner.update(dict.fromkeys(group.members, group))
            self._enter_operands(group)

    def is_alive(self, group: Growth) -> bool:
        return self.owner[group.root] is group

    def absorb_all(self, group: Growth) -> None:
        """Join to the group all that may be joined, until none is left."""
        if group.sweep is None or not self.is_alive(group):
            return
        tried: set[int] = set()
        while True:
            candidates = [other for other in self._near(group) if other.root not in tried]
            if not candidates:
                return
            for other in candidates:
                tried.add(other.root)
                try:
                    self._join(group, other)
                except Refused as reason:
                    if group.root not in other.refusals:
                        group.refusals[other.root] = str(reason)
                    continue
                break

    # Who may be joined

    def _near(self, group: Growth) -> list[Growth]:
        """Groups of the same sweep that the group reads, or that read a tensor with it; the
        latest first."""
        sweep = group.sweep
        assert sweep is not None
        producers = [p for p in self._producers(group) if p in self.owner]
        found = {self.owner[position].root for position in producers}
        for value in self._wide_operands(group):
            found.update(self.owner[root].root for root in self.readers.get(value, ()))
        if sweep.axes and math.prod(sweep.shape) <= _SMALL_ELEMENTS:
            for position in producers:
                found.update(self._readers_of(self.owner[position]))
        others = [self.owner[root] for root in sorted(found, reverse=True)]
        return [other for other in others if other is not group and other.sweep == sweep]

    def _producers(self, group: Growth) -> Iterator[int]:
        for member in group.members:
            yield from self.facts.sources(member)

    def _readers_of(self, group: Growth) -> Iterator[int]:
        """The roots of the groups that read what a group computes."""
        for member in group.members:
            for value in self.facts.nodes[member].results:
                for reader in self.facts.readers(value):
                    if reader in self.owner:
                        yield self.owner[reader].root

    def _enter_operands(self, group: Growth) -> None:
        if group.sweep is not None:
            for value in self._wide_operands(group):
                self.readers.setdefault(value, []).append(group.root)

    def _wide_operands(self, group: Growth) -> Iterator[Value]:
        """Tensors of the sweep's shape that come from outside and are read element by element."""
        sweep = group.sweep
        assert sweep is not None
        for member, role in group.roles.items():
            for value in self.facts.nodes[member].operands if role != "mapped" else ():
                if value.shape == sweep.shape:
                    yield from self._seen_through(value, group)

    def _seen_through(self, value: Value, group: Growth) -> Iterator[Value]:
        """The value, or what it is computed from by nodes that every reader copies."""
        position = self.facts.position.get(value)
        if position in group.roles or (value.shape and self.facts.is_small(value, value)):
            return
        if position is None or not self.facts.is_copied(position):
            yield value
            return
        for operand in self.facts.nodes[position].operands:
            if operand.shape == value.shape:
                yield from self._seen_through(operand, group)

    # Joining

    def _join(self, group: Growth, other: Growth) -> None:
        """Make `other` part of the group, or raise Refused."""
        updating = self.facts.updating
        if (other.root in updating) != (group.root in updating):
            raise Refused("updates of the state run after all that reads it")
        if len(group.roles) + len(other.roles) > MOST_NODES:
            raise Refused(f"together they hold more than {MOST_NODES} nodes")
        by_rows = group.is_row or other.is_row
        if by_rows and group.rows != other.rows:
            raise Refused("their rows lie differently in memory")
        self._expect_same_index(group, other, by_rows)
        self._expect_same_index(other, group, by_rows)
        members = [*group.members, *other.members]
        read = set().union(*(self.facts.sources(member) for member in members))
        if self.ancestry.any_depends(read - set(members), mask_of(members)):
            raise Refused("something between them runs on its own")
        group.absorb(other)
        self.owner.update(dict.fromkeys(members, group))
        self._enter_operands(group)
        self.ancestry.join(members)

    def _expect_same_index(self, reader: Growth, other: Growth, by_rows: bool) -> None:
        """What one computes, the other reads at the index at which it is computed, or by rows
        at its row."""
        for member in reader.members:
            for route in routes_from(self.facts, member):
                if route.producer not in other.roles:
                    continue
                roles = {reader.roles[member], other.roles[route.producer]}
                if by_rows:
                    shape = self.facts.nodes[member].operands[0].shape
                    same = route.is_direct or route.reads_rows(shape)
                    fits = same and "mapped" not in roles
                else:
                    folds = self.facts.kinds[member] == "reduction"
                    fits = route.is_direct and not folds and roles == {"result"}
                if not fits:
                    raise Refused("it is read at other indexes than it is computed at")
