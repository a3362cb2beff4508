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

from graphc.ir import Node, Value
from graphc.loops import Buffer, Expr, Kernel, Loop, Statement, Store, index, variable
from graphc.loops.affine import affine
from graphc.loops.expressions import Load, Reduce, children, with_children
from graphc.loops.intervals import Interval
from graphc.loops.kernel import Let
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
    for value, place in results:
        _store(body, value, place, names)
    return _finish(name, body, order, names, domain)


def _enter(body: Body, name: str, extent: int) -> None:
    body.ranges[name] = Interval(0, max(0, extent - 1))
    body.levels.append(Level(frozenset((name,))))


def _store(body: Body, value: Value, place: Place, names: Sequence[str]) -> None:
    """Store a result at the innermost domain level, in loops of its own over what is left."""
    depth = len(body.levels)
    own = range(len(names), len(place.shape))
    inner = [d for d in place.order if d in own]
    for d in inner:
        _enter(body, f"j{d}", place.shape[d])
    at = [variable(names[d] if d < len(names) else f"j{d}") for d in range(len(place.shape))]
    value_expr = body.read(value, at)
    buffer = body.formal(place, "out")
    body.levels[-1].statements.append(Store(buffer.name, tuple(at), value_expr))
    while len(body.levels) > depth:
        level = body.leave()
        (name,) = level.variables
        d = int(name[1:])
        loop = Loop("serial", name, index(0), index(place.shape[d]), tuple(level.statements))
        body.levels[-1].statements.append(loop)


def _finish(
    name: str, body: Body, order: Sequence[int], names: Sequence[str], domain: Sequence[int]
) -> Lowered:
    statements: tuple[Statement, ...] = tuple(body.levels[-1].statements)
    for position in range(len(order) - 1, -1, -1):
        d = order[position]
        loop = Loop("parallel", names[d], index(0), index(domain[d]), statements)
        statements = (*body.levels[position].statements, loop)
    return _kernel(name, body, statements)


def _kernel(name: str, body: Body, statements: tuple[Statement, ...]) -> Lowered:
    buffers = tuple(buffer for buffer, _ in body.formals)
    kernel = simplify_kernel(Kernel(name, buffers, statements))
    kernel = _with_lanes(kernel)
    return Lowered(kernel, tuple(place for _, place in body.formals), tuple(body.ops.values()))


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


# The order of folds


_ORDERED = frozenset({"sum", "prod", "max", "min"})


def _with_lanes(kernel: Kernel) -> Kernel:
    """Folds over neighbours in memory run in lanes; all others in order. Both by shape alone."""
    buffers = kernel.by_name

    def statement(s: Statement) -> Statement:
        match s:
            case Loop(kind, var, lower, upper, body, step):
                return Loop(kind, var, lower, upper, tuple(map(statement, body)), step)
            case Let(name, value):
                return Let(name, _lanes_in(value, buffers))
            case Store(buffer, at, value, guard):
                return Store(buffer, at, _lanes_in(value, buffers), guard)
            case _:
                return s

    return Kernel(kernel.name, kernel.buffers, tuple(map(statement, kernel.body)))


def _lanes_in(expr: Expr, buffers: Mapping[str, Buffer]) -> Expr:
    parts = tuple(_lanes_in(part, buffers) for part in children(expr))
    same = all(new is old for new, old in zip(parts, children(expr), strict=True))
    expr = expr if same else with_children(expr, parts)
    if not isinstance(expr, Reduce) or expr.combine not in _ORDERED:
        return expr
    return Reduce(expr.combine, expr.axes, expr.body, expr.dtype, expr.where, _lanes(expr, buffers))


def _lanes(reduce: Reduce, buffers: Mapping[str, Buffer]) -> int:
    if not reduce.axes:
        return 1
    axis = reduce.axes[-1]
    full = 32 if reduce.dtype.itemsize == 8 else 64
    neighbours = any(_runs_along(load, axis.name, buffers) for load in _loads(reduce))
    if not neighbours or axis.extent < 16:
        return 1
    return full if axis.extent >= full else 16


def _runs_along(load: Load, name: str, buffers: Mapping[str, Buffer]) -> bool:
    buffer = buffers.get(load.buffer)
    if buffer is None:
        return False
    total = 0
    for expr, stride in zip(load.index, buffer.strides, strict=True):
        form = affine(expr)
        if form is None or form.hides(name):
            return False
        total += stride * form.coefficient(name)
    return total == 1


def _loads(expr: Expr) -> list[Load]:
    found = [expr] if isinstance(expr, Load) else []
    for part in children(expr):
        found += _loads(part)
    return found
