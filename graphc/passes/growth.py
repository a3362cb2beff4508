"""One group in the making: from its last node back over what that reads.

A group's results have one shape, that of its last node; row groups have two (see rows.py). It
holds at most one main operator: a reduction or a product. Roles of its nodes:

    result   of the results' shape: may be read outside too, and is then a result itself
    inner    of the shape that the main reduction folds: read inside only
    mapped   read through views at another index: read inside only

Joining a node that is read outside too must not close a cycle: nothing outside may lie between
two nodes of the group.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from graphc.passes.ancestry import Ancestry, mask_of
from graphc.passes.fusion_facts import Facts
from graphc.passes.kinds import folded_axes, is_cheap
from graphc.passes.routes import Route, routes_from
from graphc.passes.rows import Rows, find_row_path, rows_of

Role = Literal["result", "inner", "mapped"]

MOST_NODES = 96


class Refused(Exception):
    """Why a candidate does not join; the text follows the candidate's name in a remark."""


@dataclass(frozen=True)
class Sweep:
    """The shape of the elements that a group goes over, and which dimensions it folds."""

    shape: tuple[int, ...]
    axes: tuple[int, ...] = ()


class Growth:
    """The nodes of one group by position, with their roles."""

    def __init__(self, facts: Facts, ancestry: Ancestry, free: list[bool], root: int) -> None:
        self.facts = facts
        self.ancestry = ancestry
        self.free = free
        self.root = root
        self.roles: dict[int, Role] = {}
        self.main: int | None = None
        self.rows: Rows | None = None  # what a row group would fold
        self.is_row = False
        self._before_sums: str | None = None  # what it was before sums of columns came in
        self.refusals: dict[int, str] = {}
        self._repeated: set[int] = set()
        self._mask = 0
        self._reads: set[int] = set()
        self._waiting: dict[int, list[Route]] = {}
        self._add(root, "result")
        if facts.kinds[root] == "reduction":
            self._set_main(root)

    @property
    def members(self) -> list[int]:
        """Positions, in the order of the graph."""
        return sorted(self.roles)

    def grow(self) -> None:
        """Take in producers until none is left that may join."""
        progress = True
        while progress:
            progress = False
            for candidate in sorted(self._waiting, reverse=True):
                if candidate not in self._waiting:
                    continue
                try:
                    self._consider(candidate, self._waiting[candidate])
                    progress = True
                except Refused as reason:
                    self.refusals[candidate] = str(reason)
        self.refusals = {
            candidate: reason
            for candidate, reason in self.refusals.items()
            if reason and candidate not in self.roles
        }

    # Entering nodes

    def _add(self, position: int, role: Role, onward: bool = True) -> None:
        """Enter a node; `onward`: what it reads may join too."""
        self.roles[position] = role
        self._mask |= 1 << position
        self._reads |= self.facts.sources(position)
        self._waiting.pop(position, None)
        if onward:
            for route in routes_from(self.facts, position):
                if route.producer not in self.roles:
                    self._waiting.setdefault(route.producer, []).append(route)

    def _set_main(self, position: int) -> None:
        self.main = position
        if self.facts.kinds[position] == "reduction":
            self.rows = rows_of(self.facts, position)

    def _consider(self, candidate: int, routes: list[Route]) -> None:
        """Take the candidate in, or raise Refused."""
        kind = self.facts.kinds[candidate]
        if kind == "opaque" or not self.free[candidate]:
            raise Refused("")
        if (candidate in self.facts.updating) != (self.root in self.facts.updating):
            raise Refused("updates of the state run after all that reads it")
        if len(self.roles) >= MOST_NODES:
            raise Refused(f"the group already holds {MOST_NODES} nodes")
        match kind:
            case "elementwise":
                self._consider_elementwise(candidate, routes)
            case "mover":
                self._consider_mover(candidate, routes)
            case "reduction":
                self._consider_reduction(candidate, routes)
            case _:
                self._consider_product(candidate, routes)

    # Elementwise nodes and movers

    def _consider_elementwise(self, candidate: int, routes: list[Route]) -> None:
        if self._join_row_path(candidate, routes):
            return
        role = self._role(candidate, routes)
        if role == "inner" and self.rows is not None and not self._is_read_inside_only(candidate):
            self._expect_whole_row(candidate)
            self._expect_no_other_product(candidate)
            self._expect_no_cycle({candidate})
            self._become_row(self.rows)
            role = "result"
        self._expect_fit(candidate, role)
        if any(route.repeats or route.reader in self._repeated for route in routes):
            self._repeated.add(candidate)
        self._add(candidate, role)

    def _consider_mover(self, candidate: int, routes: list[Route]) -> None:
        self._role(candidate, routes)  # refuses what would be repeated
        self._expect_fit(candidate, "mapped")
        self._add(candidate, "mapped", onward=False)

    def _role(self, candidate: int, routes: list[Route]) -> Role:
        roles = {self._role_of_operand(route.reader) for route in routes}
        direct = all(route.is_direct for route in routes)
        repeated = any(route.repeats or route.reader in self._repeated for route in routes)
        if self._reads_its_row(candidate, routes):
            return "result"
        if any(route.regroups for route in routes):
            raise Refused("its dimensions are merged or split on the way")
        if repeated and not is_cheap(self.facts.nodes[candidate]):
            raise Refused("computing it again for every reader costs more than storing it")
        if direct and len(roles) == 1:
            return roles.pop()
        return "mapped"

    def _role_of_operand(self, reader: int) -> Role:
        """The role of an elementwise node that `reader` reads directly."""
        if self.facts.kinds[reader] == "reduction":
            return "result" if self.is_row else "inner"
        return self.roles[reader]

    def _reads_its_row(self, candidate: int, routes: list[Route]) -> bool:
        """In a row group, a node of one element a row, read by the row's elements."""
        if not self.is_row or self.rows is None:
            return False
        shape = self.facts.nodes[candidate].results[0].shape
        return self.rows.is_reduced(shape) and self._are_row_reads(routes)

    def _are_row_reads(self, routes: Iterable[Route]) -> bool:
        return all(
            self.roles[route.reader] != "mapped"
            and (route.is_direct or route.reads_rows(self._operand_shape(route.reader)))
            for route in routes
        )

    def _operand_shape(self, reader: int) -> tuple[int, ...]:
        return self.facts.nodes[reader].operands[0].shape

    # Rows

    def _join_row_path(self, candidate: int, routes: list[Route]) -> bool:
        """Take in a path from this candidate back to reductions of rows, all at once."""
        full = self._full_shape()
        if full is None or not any(route.repeats for route in routes):
            return False
        if not self._are_row_reads(routes):
            return False
        path = find_row_path(self.facts, candidate, full, self.free)
        if path is None or (self.rows is not None and path.rows != self.rows):
            return False
        if not path.rows.is_whole and self._full_shape_is_stored(path.rows):
            return False
        new = set(path.nodes) - self.roles.keys()
        if any((p in self.facts.updating) != (self.root in self.facts.updating) for p in new):
            return False
        if len(self.roles) + len(new) > MOST_NODES:
            return False
        self._expect_no_cycle(new)
        self._become_row(path.rows)
        for position in sorted(new, reverse=True):
            self._add(position, "result")
        return True

    def _full_shape_is_stored(self, rows: Rows) -> bool:
        """Whether something outside reads a node of the rows' shape."""
        return any(
            self.facts.nodes[position].results[0].shape == rows.full
            and (position == self.root or not self._is_read_inside_only(position))
            for position in self.roles
        )

    def _full_shape(self) -> tuple[int, ...] | None:
        """The shape whose rows this group could work on."""
        if self.rows is not None:
            return self.rows.full
        if self.main is not None:
            return None
        return self.facts.nodes[self.root].results[0].shape

    def _become_row(self, rows: Rows) -> None:
        self.rows = rows
        self.is_row = True
        self.roles = {
            position: "result" if role == "inner" else role for position, role in self.roles.items()
        }

    # Main operators

    def _consider_reduction(self, candidate: int, routes: list[Route]) -> None:
        if self._join_row_path(candidate, routes):
            return
        rows = rows_of(self.facts, candidate)
        direct = all(route.is_direct for route in routes)
        if self.main is None and not self.is_row:
            self._expect_plain_result(candidate, routes)
            self._expect_fit(candidate, "result")
            self._set_main(candidate)
        elif rows is not None and rows == self.rows and direct and self._are_row_reads(routes):
            self._expect_fit(candidate, "result")
            self._become_row(rows)
        else:
            raise Refused("the group has its main operator, of other dimensions")
        self._add(candidate, "result")

    def _consider_product(self, candidate: int, routes: list[Route]) -> None:
        if self.main is not None or self.is_row:
            raise Refused("the group has its main operator")
        self._expect_plain_result(candidate, routes)
        self._expect_fit(candidate, "result")
        self._set_main(candidate)
        self._add(candidate, "result", onward=False)

    def _expect_plain_result(self, candidate: int, routes: list[Route]) -> None:
        """A main operator's element is computed once, at the index of the results."""
        shape = self.facts.nodes[candidate].results[0].shape
        same = shape == self.facts.nodes[self.root].results[0].shape
        if not same or not all(
            route.is_direct and self.roles[route.reader] == "result" for route in routes
        ):
            raise Refused("it is read at other indexes than the results'")

    # Conditions

    def _expect_fit(self, candidate: int, role: Role) -> None:
        if self._is_read_inside_only(candidate):
            return
        if role != "result":
            raise Refused("it is read elsewhere too, and has not the results' shape")
        self._expect_whole_row(candidate)
        self._expect_no_other_product(candidate)
        self._expect_no_cycle({candidate})

    def _expect_whole_row(self, candidate: int) -> None:
        rows = self.rows
        shape = self.facts.nodes[candidate].results[0].shape
        if rows is not None and not rows.is_whole and shape == rows.full:
            raise Refused("it is read elsewhere too, and its rows do not lie together in memory")

    def _expect_no_other_product(self, candidate: int) -> None:
        """What is stored anyway is best stored by the product that it follows."""
        if self.main is None and not self.is_row:
            return
        product = self.facts.product_before(candidate)
        if product is not None and product not in self.roles and self.free[product]:
            raise Refused(f"it is in the epilogue of {self.facts.nodes[product].op}")

    @property
    def is_read_midway(self) -> bool:
        """Whether something outside reads a node other than the last: joining the nodes then
        makes it depend on more than it did."""
        others = self.roles.keys() - {self.root}
        return not all(map(self._is_read_inside_only, others))

    def _is_read_inside_only(self, candidate: int) -> bool:
        node = self.facts.nodes[candidate]
        return all(
            not self.facts.is_result(value) and self.facts.readers(value) <= self.roles.keys()
            for value in node.results
        )

    def _expect_no_cycle(self, new: set[int]) -> None:
        """Nothing outside may depend on the group and be read by it."""
        inside = self.roles.keys() | new
        read_by_new = set().union(*map(self.facts.sources, new)) - inside
        new_mask = mask_of(new)
        if self.ancestry.any_depends(
            read_by_new, self._mask | new_mask
        ) or self.ancestry.any_depends(self._reads - inside, new_mask):
            raise Refused("something between them runs on its own")

    # Joining what was made with others; see siblings.py

    @property
    def sweep(self) -> Sweep | None:
        """What elements the group goes over; None: it follows a product."""
        shape = self.facts.nodes[self.root].results[0].shape
        if self.is_row and self.rows is not None:
            return Sweep(self.rows.full, tuple(range(self.rows.kept, len(self.rows.full))))
        if self.main is None:
            return Sweep(shape)
        if self.facts.kinds[self.main] != "reduction":
            return None
        main = self.facts.nodes[self.main]
        return Sweep(main.operands[0].shape, folded_axes(main))

    def absorb(self, other: Growth) -> None:
        """Take over the nodes of another group over the same elements."""
        self.roles.update(other.roles)
        rows = self.rows or other.rows
        if rows is not None and (self.is_row or other.is_row):
            self._become_row(rows)
        self.root = max(self.root, other.root)
        self._mask |= other._mask
        self._reads |= other._reads
        self.refusals = {
            candidate: reason
            for candidate, reason in {**other.refusals, **self.refusals}.items()
            if candidate not in self.roles
        }

    def absorb_sums(self, other: Growth) -> None:
        """Take over a group that sums the columns of the same elements; the root stays what tells
        which these are."""
        self._before_sums = self._before_sums or self.describe()
        for position in other.roles:
            is_fold = self.facts.kinds[position] == "reduction"
            self.roles[position] = "result" if is_fold else "mapped"
        self._mask |= other._mask
        self._reads |= other._reads

    # What was made

    def _folds(self) -> int:
        return sum(self.facts.kinds[position] == "reduction" for position in self.roles)

    def describe(self) -> str:
        """The reason of the group, for its remark and its launch."""
        if self._before_sums is not None:
            return f"{self._before_sums}; sums of its columns on the way"
        root = self.facts.nodes[self.root].results[0].type
        if self.is_row and self.rows is not None:
            count = math.prod(self.rows.full[: self.rows.kept])
            return f"row by row, {count} of {self.rows.row_elements} elements: each stays in cache"
        if self.main is None:
            return f"elementwise over {root}: nothing in between is stored"
        main = self.facts.nodes[self.main].op
        if self._folds() > 1:
            return f"{self._folds()} folds over the same elements, which are read once for all"
        if self.main == self.root:
            return f"{main} over what it folds, computed on the way"
        inner = any(role == "inner" for role in self.roles.values())
        both = ", over what it folds, computed on the way" if inner else ""
        return f"{main} with its epilogue over {root}{both}"
