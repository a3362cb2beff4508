"""One launch's kernel: the naive loop nest of a node or group.

    parallel over the rows of the domain:
        lets, stores of results that have the domain's shape
        serial over the rest:  lets, stores of results that have more dimensions

The domain is the results' shape, unless a reduction is read back at full shape inside the group
(a softmax by rows): then it is what that reduction leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from graphc.ir import Node, Value
from graphc.loops import Buffer, Kernel, Loop, Statement, Store, index, variable
from graphc.loops.intervals import Interval
from graphc.loops.simplify import simplify_kernel
from graphc.lowering.body import Body, Level, Reader
from graphc.lowering.places import Place
from graphc.ops import get


@dataclass(frozen=True)
class Lowered:
    """A kernel and the places of its formal buffers, in order."""

    kernel: Kernel
    places: tuple[Place, ...]
    nodes: tuple[Node, ...]


def lower_values(
    name: str,
    results: Sequence[tuple[Value, Place]],
    places: Mapping[Value, Place],
    producers: Mapping[Value, Node],
    domain: tuple[int, ...],
) -> Lowered:
    """The kernel that computes `results` into their places over `domain`, the leading extents."""
    body = Body(places, producers)
    order = [d for d in results[0][1].order if d < len(domain)]
    names = [f"i{d}" for d in range(len(domain))]
    for d in order:
        _enter(body, names[d], domain[d])
    for sweep in _sweeps(results, len(domain)):
        _store(body, sweep, names)
    return finish(name, body, order, names, domain)


def _enter(body: Body, name: str, extent: int) -> None:
    body.ranges[name] = Interval(0, max(0, extent - 1))
    body.levels.append(Level(frozenset((name,))))


def _sweeps(
    results: Sequence[tuple[Value, Place]], depth: int
) -> Sequence[Sequence[tuple[Value, Place]]]:
    """The results that are stored in one loop: of one shape and order past the domain."""
    found: dict[object, list[tuple[Value, Place]]] = {}
    for value, place in results:
        inner = tuple(d for d in place.order if d >= depth)
        found.setdefault((place.shape, inner), []).append((value, place))
    return tuple(found.values())


def _store(body: Body, results: Sequence[tuple[Value, Place]], names: Sequence[str]) -> None:
    """Store results at the innermost domain level, in one loop over what is left of their shape.

    All are computed before any is stored: a result may replace an operand of the others.
    """
    depth, place = len(body.levels), results[0][1]
    for d in place.order:
        if d >= len(names):
            _enter(body, f"j{d}", place.shape[d])
    at = [variable(names[d] if d < len(names) else f"j{d}") for d in range(len(place.shape))]
    values = [body.read(value, at) for value, _ in results]
    if len(values) > 1:
        values = [body.held(value) for value in values]
    for value, (_, target) in zip(values, results, strict=True):
        buffer = body.formal(target, "out")
        body.levels[-1].statements.append(Store(buffer.name, tuple(at), value))
    while len(body.levels) > depth:
        level = body.leave()
        (name,) = level.variables
        d = int(name[1:])
        loop = Loop("serial", name, index(0), index(place.shape[d]), tuple(level.statements))
        body.levels[-1].statements.append(loop)


def finish(
    name: str, body: Body, order: Sequence[int], names: Sequence[str], domain: Sequence[int]
) -> Lowered:
    """The kernel of a body whose levels are parallel loops over `order` of the `domain`."""
    statements: tuple[Statement, ...] = tuple(body.levels[-1].statements)
    for position in range(len(order) - 1, -1, -1):
        d = order[position]
        loop = Loop("parallel", names[d], index(0), index(domain[d]), statements)
        statements = (*body.levels[position].statements, loop)
    return _kernel(name, body, statements)


def _kernel(name: str, body: Body, statements: tuple[Statement, ...]) -> Lowered:
    buffers = tuple(buffer for buffer, _ in body.formals)
    kernel = _simplified(name, buffers, statements)
    return Lowered(kernel, tuple(place for _, place in body.formals), tuple(body.ops.values()))


@lru_cache(maxsize=512)
def _simplified(name: str, buffers: tuple[Buffer, ...], body: tuple[Statement, ...]) -> Kernel:
    """Kept, since equal layers have equal kernels; their digest is taken once then, too."""
    return simplify_kernel(Kernel(name, buffers, body))


def lower_nest(
    name: str,
    node: Node,
    results: Sequence[Place],
    places: Mapping[Value, Place],
    producers: Mapping[Value, Node],
) -> Lowered:
    """The kernel of an operator that gives its whole loop nest."""
    rule = get(node.op).nest
    assert rule is not None
    body = Body(places, producers)
    reader = Reader(body, node)
    reader.results = tuple(body.formal(place, "out") for place in results)
    statements = tuple(rule(reader))
    body.ops[id(node)] = node
    return _kernel(name, body, statements)
