"""softmax, log_softmax, logsumexp and cross entropy, found in primitives.

    before  %2: f32[8,10] = exp(%x)                          # net.py:7
            %3: f32[8] = sum(%2) {axes=(1,)}                 # net.py:7
            %4: f32[8,10] = (%3 repeated along axis 1)       # net.py:7
            %5: f32[8,10] = div(%2, %4)                      # net.py:7
    after   %5: f32[8,10] = softmax(%x) {axis=1}             # net.py:7

A shift of x that is constant along the axes (its greatest, as a rule) cancels and is dropped: the
composites shift by themselves.
"""

from __future__ import annotations

import math

from graphc.ir import Node, Value
from graphc.ops.build import Builder
from graphc.passes.finding import Finder, Write, both_ways

# No class has this number in i32 or i64: rows of it are ignored, as out of range they would be.
_NO_CLASS = -(1 << 31)


def find_softmax(finder: Finder, node: Node) -> Write | None:
    """exp(x) / sum(exp(x))."""
    powers, total = node.operands
    exp = finder.node(powers, "exp")
    if exp is None:
        return None
    found = finder.fold(finder.whole(total), "sum", powers.type.rank)
    if found is None or found[0] is not powers or len(found[1]) != 1:
        return None
    axes = found[1]
    x = unshifted(finder, exp.operands[0], axes)
    return lambda b: b.op("softmax", x, axis=axes[0])


def find_logsumexp(finder: Finder, node: Node) -> Write | None:
    """log(sum(exp(x))), and log(softmax(x)) as log_softmax(x)."""
    inner = node.operands[0]
    softmax = finder.node(inner, "softmax")
    if softmax is not None:
        return lambda b: b.op("log_softmax", softmax.operands[0], axis=softmax.attrs["axis"])
    spread = finder.whole(inner)
    total = finder.node(spread.value, "sum")
    exp = finder.node(total.operands[0], "exp") if total is not None else None
    if total is None or exp is None or total.result.type.size != node.result.type.size:
        return None
    x, axes = exp.operands[0], total.attrs["axes"]
    return lambda b: b.reshape(b.op("logsumexp", x, axes=axes, keepdims=False), node.result.shape)


def find_shifted_logsumexp(finder: Finder, node: Node) -> Write | None:
    """logsumexp(x - m) + m, with m constant along the axes."""
    for total, shift in both_ways(node):
        found = _logsumexp(finder, total)
        if found is None:
            continue
        z, axes, keepdims = found
        if _shift_of(finder, z, axes) is not finder.whole(shift).value:
            continue
        x = unshifted(finder, z, axes)
        return _write_logsumexp(x, axes, keepdims, node)
    return None


def _write_logsumexp(x: Value, axes: tuple[int, ...], keepdims: bool, node: Node) -> Write:
    return lambda b: b.reshape(
        b.op("logsumexp", x, axes=axes, keepdims=keepdims), node.result.shape
    )


def _logsumexp(finder: Finder, value: Value) -> tuple[Value, tuple[int, ...], bool] | None:
    node = finder.node(finder.whole(value).value, "logsumexp")
    if node is None or node.result.type.size != value.type.size:
        return None
    return node.operands[0], node.attrs["axes"], node.attrs["keepdims"]


def find_log_softmax(finder: Finder, node: Node) -> Write | None:
    """x - logsumexp(x)."""
    x, total = node.operands
    spread = finder.whole(total)
    lse = finder.node(spread.value, "logsumexp")
    if lse is None or lse.operands[0] is not x or len(lse.attrs["axes"]) != 1:
        return None
    (axis,) = lse.attrs["axes"]
    if axis in spread.read_dims or not _keeps_order(spread.dims, axis, x.type.rank):
        return None
    start = unshifted(finder, x, (axis,))
    return lambda b: b.op("log_softmax", start, axis=axis)


def _keeps_order(dims: tuple[int | None, ...], axis: int, rank: int) -> bool:
    """Whether a result without `axis` (or with extent 1 there) is read at its own dimensions."""
    kept = [d for d in range(rank) if d != axis] if len(dims) < rank else list(range(rank))
    return all(dim is None or dim == own for dim, own in zip(dims, kept, strict=True))


def unshifted(finder: Finder, x: Value, axes: tuple[int, ...]) -> Value:
    """x without a shift that is constant along `axes`."""
    node = finder.rewriter.producer(x)
    return x if node is None or _shift_of(finder, x, axes) is None else node.operands[0]


def _shift_of(finder: Finder, x: Value, axes: tuple[int, ...]) -> Value | None:
    """What x has been shifted by, if it does not vary along `axes`."""
    shifted = finder.node(x, "sub")
    if shifted is None:
        return None
    shift = finder.whole(shifted.operands[1])
    if shift.value is shifted.operands[1] or set(shift.read_dims) & set(axes):
        return None
    return shift.value


# Cross entropy


def find_class_sum(finder: Finder, node: Node) -> Write | None:
    """sum(log_softmax(x) * one_hot(t)): the negative cross entropy of each row, summed."""
    product = finder.node(node.operands[0], "mul")
    if product is None:
        return None
    for log_p, hot in both_ways(product):
        scores, classes = finder.node(log_p, "log_softmax"), finder.node(hot, "one_hot")
        if scores is None or classes is None:
            continue
        axis = scores.attrs["axis"]
        if axis != hot.type.rank - 1 or axis not in node.attrs["axes"]:
            continue
        rest = tuple(a for a in node.attrs["axes"] if a != axis)
        x, target = scores.operands[0], classes.operands[0]
        return lambda b: b.neg(b.sum(_cross_entropy(b, x, _ignoring(b, target, x)), rest))
    return None


def _ignoring(b: Builder, target: Value, x: Value) -> Value:
    """Numbers of no class, whose one-hot row is all zeros, as rows to ignore."""
    classes = b.like(x.shape[-1], target)
    inside = b.op(
        "and", b.compare("ge", target, b.like(0, target)), b.compare("lt", target, classes)
    )
    return b.where(inside, target, b.like(_NO_CLASS, target))


def find_gathered_class(finder: Finder, node: Node) -> Write | None:
    """gather_elements(log_softmax(x), t): the negative cross entropy of each row."""
    log_p, index = node.operands
    scores = finder.node(log_p, "log_softmax")
    axis = node.attrs["axis"]
    if scores is None or scores.attrs["axis"] != axis or axis != log_p.type.rank - 1:
        return None
    if index.shape != (*log_p.shape[:-1], 1):
        return None
    x = scores.operands[0]
    return lambda b: b.reshape(
        b.neg(_cross_entropy(b, x, b.reshape(index, index.shape[:-1]))), index.shape
    )


def _cross_entropy(b: Builder, x: Value, target: Value) -> Value:
    """The loss of each row of x[..., C], of target's shape."""
    rows, classes = math.prod(x.shape[:-1]), x.shape[-1]
    flat = b.reshape(x, (rows, classes))
    loss = b.op(
        "cross_entropy",
        flat,
        b.reshape(target, (rows,)),
        ignore_index=_NO_CLASS,
        label_smoothing=0.0,
        reduction="none",
    )
    return b.reshape(loss, target.shape)
