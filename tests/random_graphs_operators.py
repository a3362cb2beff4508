"""Recipes of random graphs: products, windows, reads at indices, normalisations, losses, draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.dtypes import int32, int64
from graphc.ir import Value
from graphc.ops.loss_terms import loss_attributes
from tests.random_graphs_maker import Maker, Unsuitable, is_ranked

Recipe = Callable[[Maker], None]

# Products


def _product(m: Maker) -> None:
    b = m.builder
    x = m.pick(lambda value: value.type.rank >= 2)
    fitting = b.swap(x)
    y = m.pick(lambda v: v.type.rank >= 2 and v.shape[-2] in (x.shape[-1], x.shape[-2]))
    b.op("tanh", b.matmul(x if y.shape[-2] == x.shape[-1] else fitting, y))


def _linear(m: Maker) -> None:
    """x W^T + b, then an activation: a product with its epilogue."""
    b, x = m.builder, m.pick(lambda value: value.type.rank >= 2)
    width = m.integer(1, 20)
    y = b.matmul(x, b.swap(m.parameter(width, x.shape[-1])))
    y = b.add(y, b.broadcast(m.parameter(width), y.shape))
    b.op(m.choose(["tanh", "sigmoid", "silu", "neg"]), y)


def _attend(m: Maker) -> None:
    """softmax(Q K^T s + mask) V in primitives."""
    b, q = m.builder, m.pick(lambda value: value.type.rank >= 2)
    k = m.pick(lambda v: v.shape[:-2] == q.shape[:-2] and v.shape[-1:] == q.shape[-1:])
    v = m.pick(lambda v: v.shape[:-1] == k.shape[:-1] and v.type.rank == k.type.rank)
    scores = b.scale(b.matmul(q, b.swap(k)), 1 / math.sqrt(q.shape[-1]))
    if m.coin():
        rows, columns = (b.iota(scores.shape, scores.type.rank - n, int64) for n in (2, 1))
        seen = b.compare("ge", rows, columns)
        scores = b.where(seen, scores, b.like(-1e9 if m.coin() else -np.inf, scores))
    last = (scores.type.rank - 1,)
    if m.coin():
        weights = b.op("softmax", scores, axis=last[0])
    else:
        e = b.exp(b.sub(scores, b.expand(b.max(scores, last), last, scores.shape)))
        weights = b.div(e, b.expand(b.sum(e, last), last, scores.shape))
    # Masked scores are not moderate, so only what follows from them is entered.
    b.matmul(weights, v)


# Windows


def _image(m: Maker, fits: Callable[[Value], bool] = lambda value: True) -> Value:
    """A value as [N, C, H, W]."""
    b = m.builder
    x = m.pick(lambda value: value.type.rank >= 2 and value.type.size <= 1024 and fits(value))
    if x.type.rank == 4:
        return x
    (height, width), outer = x.shape[-2:], math.prod(x.shape[:-2])
    batch = [n for n in (1, 2, 3, outer) if outer % n == 0][m.integer(0, 2)]
    return b.reshape(x, (batch, outer // batch, height, width))


def _pair(m: Maker, low: int, high: int) -> tuple[int, int]:
    return m.integer(low, high), m.integer(low, high)


def _apply_convolution(m: Maker) -> Value:
    b, image = m.builder, _image(m)
    channels = image.shape[1]
    groups = [1, 1, channels, 2, 3][m.integer(0, 5)]
    if channels % groups:
        raise Unsuitable
    filters = groups * [1, 2, 3, 8, 17][m.integer(0, 5)]
    if filters > 40:
        raise Unsuitable
    kernel = (1, 1) if m.integer(0, 4) == 0 else _pair(m, 1, 4)
    weight = m.parameter(filters, channels // groups, *kernel)
    moves: dict[str, Any] = {
        "stride": _pair(m, 1, 3),
        "padding": _pair(m, 0, 3),
        "dilation": _pair(m, 1, 3),
    }
    if m.coin():
        moves |= {"stride": (1, 1), "dilation": (1, 1)}
    return b.op("conv2d", image, weight, groups=groups, **moves)


def _convolve(m: Maker) -> None:
    _apply_convolution(m)


def _convolution_block(m: Maker) -> None:
    """Convolution, bias, activation, pooling: what fuses into one loop nest."""
    b, y = m.builder, _apply_convolution(m)
    y = b.add(y, b.expand(m.parameter(y.shape[1]), (0, 2, 3), y.shape))
    y = b.op(m.choose(["tanh", "sigmoid", "silu"]), y)
    kernel = _pair(m, 1, 3)
    b.op("avg_pool2d", y, kernel=kernel, stride=kernel, **_borders(), count_include_pad=True)


def _borders() -> dict[str, Any]:
    return {"padding": (0, 0), "ceil_mode": False}


def _window(m: Maker) -> dict[str, Any]:
    kernel = _pair(m, 1, 4)
    padding = tuple(m.integer(0, extent // 2 + 1) for extent in kernel)
    attrs = {"kernel": kernel, "stride": _pair(m, 1, 4), "padding": padding}
    return {**attrs, "ceil_mode": m.coin()}


def _pool(m: Maker) -> None:
    dilation = _pair(m, 1, 3) if m.integer(0, 3) == 0 else (1, 1)
    image = _image(m, m.is_ordered)
    m.builder.emit("max_pool2d", (image,), {**_window(m), "dilation": dilation})


def _average(m: Maker) -> None:
    m.builder.op("avg_pool2d", _image(m), **_window(m), count_include_pad=m.coin())


def _adapt(m: Maker) -> None:
    x = _image(m)
    m.builder.op("adaptive_avg_pool2d", x, output_size=_pair(m, 1, 4))


# Reads and writes at indices


def _indices(m: Maker, extent: int, like: Sequence[int]) -> Value:
    positions = m.random.integers(0, max(1, extent), tuple(like))
    return m.builder.array(np.asarray(positions, np.int64))


def _gather(m: Maker) -> None:
    x = m.pick(is_ranked)
    axis = m.axis(x)
    m.builder.op("gather", x, _indices(m, x.shape[axis], (2, 3)), axis=axis)


def _gather_at_run_time(m: Maker) -> None:
    """Indices that follow from an input, all within the dimension."""
    b, x, n = m.builder, m.pick(is_ranked), m.pick(dtype=int32)
    axis = m.axis(x)
    index = b.op("clamp", n, min=0, max=max(0, x.shape[axis] - 1))
    b.op("gather", x, index, axis=axis)


def _gather_elements(m: Maker) -> None:
    x = m.pick(is_ranked)
    axis = m.axis(x)
    m.builder.op("gather_elements", x, _indices(m, x.shape[axis], x.shape), axis=axis)


def _scatter(m: Maker) -> None:
    b, x = m.builder, m.pick(is_ranked)
    axis = m.axis(x)
    indices = _indices(m, x.shape[axis], (5,))
    updates = b.op("gather", x, indices, axis=axis)
    b.op("scatter_add", x, indices, b.scale(updates, 0.5), axis=axis)


def _scatter_elements(m: Maker) -> None:
    b, x = m.builder, m.pick(is_ranked)
    axis = m.axis(x)
    updates = b.op("gather_elements", x, _indices(m, x.shape[axis], x.shape), axis=axis)
    indices = _indices(m, x.shape[axis], x.shape)
    b.op("scatter_add_elements", x, indices, b.scale(updates, 0.25), axis=axis)


def _move_window(m: Maker) -> None:
    """A part read, and written back changed, at a place that follows from an input."""
    b, x = m.builder, m.pick(is_ranked)
    n = m.pick(lambda value: value.type.size > 0, dtype=int32)
    sizes = tuple(m.integer(1, extent + 1) for extent in x.shape)
    first = b.cast(
        b.op("slice", b.reshape(n, (n.type.size,)), start=(0,), stop=(1,), step=(1,)), int64
    )
    room = b.array(np.asarray([e - s for e, s in zip(x.shape, sizes, strict=True)], np.int64))
    zeros = b.like(0, room)
    starts = b.op("minimum", b.op("maximum", b.broadcast(first, room.shape), zeros), room)
    part = b.op("dynamic_slice", x, starts, sizes=sizes)
    b.op("dynamic_update", x, b.op("tanh", part), starts)


def _sort(m: Maker) -> None:
    x = m.pick(lambda value: is_ranked(value) and m.is_ordered(value))
    m.builder.emit("sort", (x,), {"axis": m.axis(x), "descending": m.coin()})


def _sort_integers(m: Maker) -> None:
    """Ties keep their order, so the positions are determined."""
    n = m.pick(is_ranked, dtype=int32)
    m.builder.emit("sort", (n,), {"axis": m.axis(n), "descending": m.coin()})


# Normalisations, activations and losses


def _normalise(m: Maker) -> None:
    """Softmax or layer normalisation, written in primitives."""
    b, x = m.builder, m.pick(is_ranked)
    axes = (x.type.rank - 1,)
    if m.random.random() < 0.5:
        e = b.exp(b.sub(x, b.expand(b.max(x, axes), axes, x.shape)))
        b.div(e, b.expand(b.sum(e, axes), axes, x.shape))
        return
    centred = b.sub(x, b.expand(b.mean(x, axes), axes, x.shape))
    variance = b.mean(b.mul(centred, centred), axes)
    scale = b.op("rsqrt", b.shift(variance, 1e-1))
    b.mul(centred, b.expand(scale, axes, x.shape))


def _affine(m: Maker, shape: Sequence[int]) -> tuple[str, list[Value]]:
    """The attribute `affine` of a normalisation and its parameters."""
    kind = m.choose(["none", "weight", "both"])
    count = {"none": 0, "weight": 1, "both": 2}[kind]
    return kind, [m.parameter(*shape) for _ in range(count)]


def _normalise_rows(m: Maker) -> None:
    x = m.pick(is_ranked)
    first = m.axis(x)
    kind, parameters = _affine(m, x.shape[first:])
    attrs: dict[str, Any] = {"axes": tuple(range(first, x.type.rank)), "eps": 0.1, "affine": kind}
    m.builder.op(m.choose(["layer_norm", "rms_norm"]), x, *parameters, **attrs)


def _normalise_channels(m: Maker) -> None:
    x = m.pick(lambda value: value.type.rank >= 2)
    kind, parameters = _affine(m, x.shape[1:2])
    attrs: dict[str, Any] = {"eps": 0.1, "affine": kind}
    if m.coin():
        m.builder.emit("batch_norm", (x, *parameters), attrs)
    else:
        groups = [n for n in (1, 2, 3, x.shape[1]) if x.shape[1] % n == 0]
        m.builder.op(
            "group_norm", x, *parameters, groups=groups[m.integer(0, len(groups))], **attrs
        )


def _composite(m: Maker) -> None:
    b, x = m.builder, m.pick(is_ranked)
    last = x.type.rank - 1
    rows = {"softmax": {"axis": last}, "log_softmax": {"axis": m.axis(x)}}
    attrs: dict[str, dict[str, Any]] = {
        **rows,
        "logsumexp": {"axes": (last,), "keepdims": m.coin()},
        "silu": {},
    }
    attrs["gelu"] = {"approximate": m.choose(["none", "tanh"])}
    attrs["softplus"] = {"beta": 1.0, "threshold": 20.0}
    name = m.choose(list(attrs))
    b.op(name, x, **attrs[name])


def _kinked(m: Maker) -> None:
    b, x = m.builder, m.pick(m.is_signed)
    if m.coin():
        b.op("leaky_relu", x, slope=0.1)
    else:
        b.op("elu", x, alpha=0.5)


def _loss(m: Maker) -> None:
    b, x = m.builder, m.pick(lambda value: value.type.rank >= 2)
    reduction, smoothing = m.choose(["mean", "sum", "none"]), 0.1 * m.integer(0, 2)
    index_loss: dict[str, Any] = dict(loss_attributes(reduction, smoothing))
    soft_loss: dict[str, Any] = dict(loss_attributes(reduction, smoothing, None))
    if m.coin():
        target = _indices(m, x.shape[1], (*x.shape[:1], *x.shape[2:]))
        b.op("cross_entropy", x, target, **index_loss)
        return
    target = b.op("softmax", m.pick(lambda value: value.shape == x.shape), axis=1)
    b.op("soft_cross_entropy", x, target, **soft_loss)


# Draws and counters


def _draw(m: Maker) -> None:
    shape, kind = m.pick(is_ranked).shape, m.choose(["random_uniform", "random_normal"])
    m.builder.op(kind, m.key, shape=shape, dtype=m.dtype, stream=m.integer(0, 100))


def _drop(m: Maker) -> None:
    """Dropout."""
    b, x = m.builder, m.pick(is_ranked)
    attrs: dict[str, Any] = {"shape": x.shape, "dtype": m.dtype, "stream": m.integer(0, 100)}
    kept = b.compare("ge", b.op("random_uniform", m.key, **attrs), b.like(0.5, x))
    b.where(kept, b.scale(x, 2.0), b.like(0.0, x))


def _count(m: Maker) -> None:
    b, x = m.builder, m.pick(is_ranked)
    positions = b.iota(x.shape, m.axis(x), int64)
    b.add(x, b.scale(b.cast(positions, m.dtype), 0.125))


RECIPES: tuple[Recipe, ...] = (
    *(_product, _product, _linear, _attend),
    *(_convolve, _convolve, _convolution_block, _pool, _average, _adapt),
    *(_gather, _gather_at_run_time, _gather_elements, _scatter, _scatter_elements, _move_window),
    *(_sort, _sort_integers),
    *(_normalise, _normalise_rows, _normalise_channels, _composite, _kinked, _loss),
    *(_draw, _drop, _count),
)
