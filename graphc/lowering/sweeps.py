"""Kernels that sum columns while rows go by: chunks in parallel, the rows of each in order.

    parallel chunk:
        serial column:  store sums[chunk, column] = 0
        serial row:
            lets, stores of what has one element a row
            serial column:
                lets, stores of what has the shape of all
                store sums[chunk, column] = sums[chunk, column] + value

The same order as a fold over the rows with one accumulator for each column, and so the same bits;
but each row is read once, for all sums and all else that is computed from it, and the sums of a
chunk stay in cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from graphc.dtypes import float32, float64
from graphc.ir import Graph, Node, Value
from graphc.loops import Expr, Loop, Store, add, const, index, load, mul, variable
from graphc.loops.build import call
from graphc.loops.intervals import Interval
from graphc.lowering.body import Body, Level
from graphc.lowering.kernels import Lowered, finish
from graphc.lowering.places import Place

_LEAST_ELEMENTS = 1 << 16

Results = Sequence[tuple[Value, Place]]


@dataclass(frozen=True)
class Sweep:
    """Elements of `shape`: chunks, then `rows` dimensions from `first` on, then columns."""

    shape: tuple[int, ...]
    first: int
    columns: int

    @property
    def chunks(self) -> tuple[int, ...]:
        return tuple(range(self.first))

    @property
    def rows(self) -> tuple[int, ...]:
        return tuple(range(self.first, self.columns))

    @property
    def inner(self) -> tuple[int, ...]:
        return tuple(range(self.columns, len(self.shape)))


def sweep_of(node: Node) -> Sweep | None:
    """What a sum of columns goes over; None: the node is none, or it is over few elements."""
    if node.op != "sum" or node.result.dtype not in (float32, float64):
        return None
    shape, axes = node.operands[0].shape, node.attrs["axes"]
    if not axes or axes != tuple(range(axes[0], axes[-1] + 1)) or axes[0] == 0:
        return None
    if axes[-1] == len(shape) - 1 or math.prod(shape) < _LEAST_ELEMENTS:
        return None
    return Sweep(shape, axes[0], axes[-1] + 1)


def sums_in(region: Graph) -> dict[Value, Node]:
    """The results of a region that are sums of columns, all over the same elements."""
    made = {value: node for node in region.nodes for value in node.results}
    found = {v: made[v] for v in region.outputs if v in made and sweep_of(made[v]) is not None}
    sweeps = {sweep_of(node) for node in found.values()}
    return found if len(sweeps) == 1 else {}


def lies_in_order(sums: Mapping[Value, Node], places: Iterable[Place]) -> bool:
    """Whether all that is stored, and all large that is read, lies as its dimensions are."""
    size = max(math.prod(node.operands[0].shape) for node in sums.values())
    return all(p.is_row_major or math.prod(p.shape) * 8 < size for p in places)


def lower_sweep(
    name: str,
    results: Results,
    sums: Mapping[Value, Node],
    places: Mapping[Value, Place],
    producers: Mapping[Value, Node],
) -> Lowered:
    """The kernel of a group whose results `sums` are folds of the middle dimensions."""
    sweep = sweep_of(next(iter(sums.values())))
    assert sweep is not None
    writer = _Writer(Body(places, producers), sweep)
    return finish(name, *writer.write(results, sums))


@dataclass
class _Writer:
    body: Body
    sweep: Sweep

    def write(
        self, results: Results, sums: Mapping[Value, Node]
    ) -> tuple[Body, Sequence[int], Sequence[str], Sequence[int]]:
        sweep, body = self.sweep, self.body
        names = [f"i{d}" for d in range(len(sweep.shape))]
        totals = [(value, place) for value, place in results if value in sums]
        others = [(value, place) for value, place in results if value not in sums]
        for d in sweep.chunks:
            self._enter(names[d], d)
        self._clear(totals)
        for d in sweep.rows:
            self._enter(names[d], d)
        self._store([item for item in others if self._is_of_a_row(item[0])])
        for d in sweep.inner:
            self._enter(names[d], d)
        self._store_all(totals, [v for v in others if not self._is_of_a_row(v[0])], sums)
        self._leave(len(sweep.chunks) + 1)
        return body, sweep.chunks, names, sweep.shape

    def _enter(self, name: str, d: int) -> None:
        self.body.ranges[name] = Interval(0, max(0, self.sweep.shape[d] - 1))
        self.body.levels.append(Level(frozenset((name,))))

    def _leave(self, depth: int) -> None:
        """Close levels, each a loop in the one around it."""
        while len(self.body.levels) > depth:
            level = self.body.leave()
            (name,) = level.variables
            extent = self.sweep.shape[int(name[1:])]
            loop = Loop("serial", name, index(0), index(extent), tuple(level.statements))
            self.body.levels[-1].statements.append(loop)

    def _clear(self, totals: Results) -> None:
        depth, sweep = len(self.body.levels), self.sweep
        for d in sweep.inner:
            self._enter(f"z{d}", d)
        at = [variable(f"i{d}") for d in sweep.chunks] + [variable(f"z{d}") for d in sweep.inner]
        for _, place in totals:
            buffer = self.body.formal(place, "out")
            zero = Store(buffer.name, tuple(at), const(0, place.dtype))
            self.body.levels[-1].statements.append(zero)
        self._leave(depth)

    def _is_of_a_row(self, value: Value) -> bool:
        return math.prod(value.shape) < math.prod(self.sweep.shape)

    def _place(self, value: Value) -> list[Expr]:
        """The element's index in a tensor whose dimensions are products of the sweep's."""
        left = list(enumerate(self.sweep.shape))
        found: list[Expr] = []
        for extent in value.shape:
            at, product = index(0), 1
            while product < extent:
                d, step = left.pop(0)
                at, product = add(mul(at, step), variable(f"i{d}")), product * step
            found.append(at)
        return found

    def _store(self, results: Results) -> None:
        values = [self.body.held(self.body.read(v, self._place(v))) for v, _ in results]
        for (result, place), value in zip(results, values, strict=True):
            buffer = self.body.formal(place, "out")
            store = Store(buffer.name, tuple(self._place(result)), value)
            self.body.levels[-1].statements.append(store)

    def _store_all(self, totals: Results, others: Results, sums: Mapping[Value, Node]) -> None:
        """Everything is computed before any is stored: a result may replace an operand."""
        here = [variable(f"i{d}") for d in range(len(self.sweep.shape))]
        at = tuple(here[d] for d in (*self.sweep.chunks, *self.sweep.inner))
        terms = [
            self.body.held(self.body.read(sums[total].operands[0], here)) for total, _ in totals
        ]
        self._store(others)
        for (_, place), term in zip(totals, terms, strict=True):
            buffer = self.body.formal(place, "out")
            before = load(buffer.name, at, place.dtype)
            store = Store(buffer.name, at, call("add", before, term))
            self.body.levels[-1].statements.append(store)
        for total in sums.values():
            self.body.ops[id(total)] = total
