"""`scan`, the loop that stays a loop, as jax.lax has it.

The body is traced once into a region. What it reads of the code around becomes an operand, the
same in each iteration; state that it assigns (buffers of modules) becomes a carry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from graphc.dtypes import int64, promote
from graphc.errors import ArgumentError, DTypeError, ShapeError, TraceError
from graphc.frontends.tracing.convert import as_tensor, cast, emit, is_weak, to, whole_number
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.recorder import current, recording
from graphc.frontends.tracing.tensor import Tensor
from graphc.frontends.tracing.trace import Trace
from graphc.frontends.tracing.trees import Tree, build, flatten, leaf_paths
from graphc.ir import TensorType


class ScanTrace(Trace):
    """The body of a scan: random numbers get a key of their own in each iteration."""

    iteration: Tensor | None = None

    def make_key(self) -> Tensor:
        assert self.parent is not None
        outer = self.open(self.parent.key())
        self.iteration = self.input(TensorType((), int64), "iteration")
        (key,) = self.emit("fold_in", [outer, self.iteration])
        return key


@dataclass(frozen=True)
class _Loop:
    """A scan's arguments, flat."""

    body: Callable[[Any, Any], tuple[Any, Any]]
    carries: list[Tensor]
    carry_tree: Tree
    names: list[str]  # of the carries
    weak: list[bool]  # carries that start as Python numbers
    xs: list[Tensor]
    xs_tree: Tree
    length: int
    reverse: bool
    checkpoint: int


@dataclass(frozen=True)
class _Body:
    """A body, traced."""

    trace: ScanTrace
    inputs: list[Tensor]  # carries
    slices: list[Tensor]  # of xs
    carries: list[Any]  # tensors and Python numbers
    ys: list[Tensor]
    ys_tree: Tree


@face()
def scan(
    body: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    checkpoint: int | None = None,
) -> tuple[Any, Any]:
    """The loop `for x in xs: carry, y = body(carry, x)`; gives (last carry, stacked ys).

    `init`, `xs`, carries and ys are tensors or nested tuples, lists and dicts of them. A carry
    keeps its shape and type. Without `xs`, body gets None `length` times. `reverse` starts at
    the end of `xs`; ys stay in the order of xs.

    `checkpoint` is a number of steps: a gradient keeps only the carries after so many of them,
    and runs each segment again. About the root of the length takes the least memory.
    """
    first, carry_tree = flatten(init)
    sequences, xs_tree = flatten(xs)
    tensors = [as_tensor(sequence) for sequence in sequences]
    loop = _Loop(
        body,
        [as_tensor(leaf) for leaf in first],
        carry_tree,
        leaf_paths(init, "carry"),
        [is_weak(leaf) for leaf in first],
        tensors,
        xs_tree,
        _length(tensors, length),
        bool(reverse),
        _checkpoint(checkpoint),
    )
    return _append(*_settled(loop))


def _checkpoint(steps: int | None) -> int:
    """Raises ArgumentError for less than one step."""
    if steps is None:
        return 0
    if whole_number(steps, "scan: checkpoint") < 1:
        raise ArgumentError(f"scan: checkpoint is {steps}; expected at least 1 step")
    return int(steps)


def _length(xs: list[Tensor], length: int | None) -> int:
    shapes = {x.shape[:1] for x in xs}
    if () in shapes:
        raise ShapeError("scan: xs holds a scalar; each of xs needs a leading dimension")
    found = {extent for (extent,) in shapes}
    if length is not None:
        found.add(whole_number(length, "scan: length"))
    if len(found) != 1:
        given = f"are {sorted(found)}" if found else "are not given"
        raise ShapeError(f"scan: length and the leading extents of xs {given}; expected one")
    return found.pop()


def _settled(loop: _Loop) -> tuple[_Loop, _Body]:
    """The loop and its body, traced again where a number that starts a carry must widen."""
    session = current().session
    streams = session.streams
    body = _trace_body(loop)
    carries = [
        cast(carry, promote(carry.dtype, leaf.dtype))
        if weak and isinstance(leaf, Tensor)
        else carry
        for carry, leaf, weak in zip(loop.carries, body.carries, loop.weak, strict=True)
    ]
    if all(new is old for new, old in zip(carries, loop.carries, strict=True)):
        return loop, body
    session.streams = streams
    wider = _Loop(**{**loop.__dict__, "carries": carries})
    return wider, _trace_body(wider)


def _trace_body(loop: _Loop) -> _Body:
    outer = current()
    trace = ScanTrace(outer.session, outer)
    inputs = [trace.input(c.type, n) for c, n in zip(loop.carries, loop.names, strict=True)]
    slices = [trace.input(TensorType(x.shape[1:], x.dtype)) for x in loop.xs]
    with recording(trace):
        carry, ys = _pair(loop.body(build(loop.carry_tree, inputs), build(loop.xs_tree, slices)))
        leaves, tree = flatten(carry)
        if tree != loop.carry_tree:
            raise TraceError(
                f"scan: the carry starts as {loop.carry_tree} and comes back as {tree}"
            )
        y_leaves, ys_tree = flatten(ys)
        carries = [leaf if is_weak(leaf) else as_tensor(leaf) for leaf in leaves]
        return _Body(trace, inputs, slices, carries, [as_tensor(y) for y in y_leaves], ys_tree)


def _pair(result: Any) -> tuple[Any, Any]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TraceError(f"scan: body gives {type(result).__name__}; expected (carry, y)")
    return result


def _fitting(loop: _Loop, body: _Body) -> list[Tensor]:
    """The carries that the body gives, in the types they started with."""
    with recording(body.trace):
        found = [
            to(leaf, start.dtype) if is_weak(leaf) else leaf
            for leaf, start in zip(body.carries, body.inputs, strict=True)
        ]
    for name, start, end in zip(loop.names, body.inputs, found, strict=True):
        if start.type != end.type:
            error = ShapeError if start.shape != end.shape else DTypeError
            raise error(f"scan: {name} starts as {start.type} and comes back as {end.type}")
    return found


def _append(loop: _Loop, body: _Body) -> tuple[Any, Any]:
    """Append the scan to the code around; (last carry, ys)."""
    outer, trace = current(), body.trace
    results = _fitting(loop, body)
    written = dict(trace.written)
    states = [trace.first_read(holder) for holder in written]
    captures = trace.captures()
    state_operands = [captures.pop(holder)[0] for holder in written]
    operands = [operand for operand, _ in captures.values()]
    inputs = [value for _, value in captures.values()]
    xs, slices = _with_iteration(loop, body)
    region = trace.graph(
        "body",
        [*inputs, *_values(body.inputs), *_values(states), *_values(slices)],
        [*results, *written.values(), *body.ys],
    )
    carried = len(results) + len(written)
    attrs: dict[str, Any] = {"length": loop.length, "reverse": loop.reverse}
    attrs |= {"consts": len(operands), "carries": carried}
    attrs |= {"checkpoint": loop.checkpoint} if loop.checkpoint else {}
    found = outer.emit("scan", [*operands, *loop.carries, *state_operands, *xs], attrs, [region])
    for holder, tensor in zip(written, found[len(results) : carried], strict=True):
        outer.write(holder, tensor)
    last = build(loop.carry_tree, found[: len(results)])
    return last, build(body.ys_tree, found[carried:])


def _values(tensors: Sequence[Tensor]) -> list[Any]:
    return [tensor.value for tensor in tensors]


def _with_iteration(loop: _Loop, body: _Body) -> tuple[list[Tensor], list[Tensor]]:
    """xs and their slices, with the number of the iteration if random numbers need it."""
    if body.trace.iteration is None:
        return loop.xs, body.slices
    numbers = emit("iota", shape=(loop.length,), axis=0, dtype=int64)
    return [*loop.xs, numbers], [*body.slices, body.trace.iteration]
