"""A loop in segments: reverse mode keeps what each segment starts from, and runs it again.

    before   scan over T steps {body}, checkpoint=K
    after    scan over T // K segments, checkpoint=1 {
               scan over K steps {body}                 stacks of K steps, while it runs again
             }
             scan over the T % K steps that are left

With K about the root of T, both the carries that are kept and the stacks of a segment are about
2 sqrt(T) steps' worth instead of T, for one forward more:

    Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir import Graph, Node, TensorType, Value
from graphc.ops.build import Builder
from graphc.ops.scan_gradient import Loop, loop_of


def has_segments(node: Node) -> bool:
    """Whether a node is a loop that is to be divided."""
    return node.op == "scan" and 1 < loop_of(node.attrs).checkpoint < loop_of(node.attrs).length


def in_segments(b: Builder, node: Node) -> tuple[Value, ...]:
    """The results of a loop, computed segment by segment."""
    loop = loop_of(node.attrs)
    whole = loop.length - loop.length % loop.checkpoint
    parts = [(0, whole), (whole, loop.length)]
    carries = node.operands[loop.consts : loop.first_slice]
    stacks: dict[int, tuple[Value, ...]] = {}
    for start, stop in parts[::-1] if loop.reverse else parts:
        if start < stop:
            xs = [_rows(b, x, start, stop) for x in node.operands[loop.first_slice :]]
            write = _segments if start == 0 else _rest
            found = write(b, node, loop, (*node.operands[: loop.consts], *carries), xs)
            carries, stacks[start] = found[: loop.carries], found[loop.carries :]
    ordered = [stacks[start] for start in sorted(stacks)]
    return (*carries, *(_joined(b, pieces) for pieces in zip(*ordered, strict=True)))


def _segments(
    b: Builder, node: Node, loop: Loop, fixed: Sequence[Value], xs: Sequence[Value]
) -> tuple[Value, ...]:
    """The loop over segments of `checkpoint` steps, each of them a loop."""
    steps, (body,) = loop.checkpoint, node.regions
    formal = [Value(v.type, v.name) for v in body.inputs[: loop.first_slice]]
    count = loop.length // steps
    pieces = [b.reshape(x, (count, steps, *x.shape[1:])) for x in xs]
    slices = [Value(TensorType(x.shape[1:], x.dtype)) for x in pieces]
    inner = Builder(node.source)
    results = inner.emit("scan", (*formal, *slices), _attrs(loop, steps), (body,))
    segment = Graph(f"{body.name}.segment", (*formal, *slices), tuple(inner.nodes), results)
    attrs = {**_attrs(loop, count), "checkpoint": 1}
    found = b.emit("scan", (*fixed, *pieces), attrs, (segment,))
    stacks = [b.reshape(y, (count * steps, *y.shape[2:])) for y in found[loop.carries :]]
    return (*found[: loop.carries], *stacks)


def _rest(
    b: Builder, node: Node, loop: Loop, fixed: Sequence[Value], xs: Sequence[Value]
) -> tuple[Value, ...]:
    """The steps that are left over: one loop."""
    attrs = _attrs(loop, loop.length % loop.checkpoint)
    return b.emit("scan", (*fixed, *xs), attrs, node.regions)


def _attrs(loop: Loop, length: int) -> dict[str, int | bool]:
    return {
        "length": length,
        "reverse": loop.reverse,
        "consts": loop.consts,
        "carries": loop.carries,
    }


def _rows(b: Builder, x: Value, start: int, stop: int) -> Value:
    if (start, stop) == (0, x.shape[0]):
        return x
    rest = x.shape[1:]
    ends = (stop, *rest)
    return b.op("slice", x, start=(start, *[0] * len(rest)), stop=ends, step=(1,) * x.type.rank)


def _joined(b: Builder, pieces: Sequence[Value]) -> Value:
    return pieces[0] if len(pieces) == 1 else b.op("concat", *pieces, axis=0)
