"""Kernels that together use every construct of the loop language, with arrays to run them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphc.dtypes import DType, bool_, float32, float64, get, int32, int64, uint8, uint32
from graphc.loops import (
    Axis,
    Buffer,
    Contract,
    Expr,
    Item,
    Kernel,
    Let,
    Literal,
    Local,
    Loop,
    Prefetch,
    Reduce,
    Store,
    Variable,
    When,
    add,
    bitcast,
    call,
    cast,
    const,
    floordiv,
    index,
    less,
    load,
    mod,
    mul,
    reduce,
    select,
    sub,
    variable,
    within,
)
from graphc.loops.kernel import LoopKind, Statement

Array = NDArray[Any]
Sample = tuple[Kernel, dict[str, Array]]

i, j, k, t = (variable(name) for name in "ijkt")


def loop(kind: LoopKind, var: str, upper: int | Expr, *body: Statement, step: int = 1) -> Loop:
    return Loop(kind, var, index(0), index(upper), body, step)


def out(name: str, shape: tuple[int, ...], dtype: DType = float32, **fields: Any) -> Buffer:
    return Buffer(name, shape, dtype, access="out", **fields)


def floats(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def empty(buffer: Buffer) -> Array:
    return np.zeros(buffer.shape, buffer.dtype.numpy)


def sample(name: str, inputs: dict[str, Array], results: list[Buffer], *body: Statement) -> Sample:
    """A kernel over arrays as they are, and zeroed arrays for its results."""
    formals = [Buffer(key, array.shape, get(array.dtype)) for key, array in inputs.items()]
    arrays = inputs | {result.name: empty(result) for result in results}
    return Kernel(name, (*formals, *results), body), arrays


def elementwise() -> Sample:
    """Arithmetic and formulas, a let, a guarded load, a guarded store."""
    x = floats(5, 7)
    body = (
        Let("v", load("x", (i, j), float32)),
        Let("left", load("x", (i, sub(j, 1)), float32, within(sub(j, 1), 7), fill=0.5)),
        Store("y", (i, j), call("fma", call("tanh", _v), _v, Variable("left", float32))),
        Store("z", (j, i), call("exp", _v), less(i, j)),
    )
    nest = loop("parallel", "i", 5, loop("parallel", "j", 7, *body))
    return sample("elementwise", {"x": x}, [out("y", (5, 7)), out("z", (7, 5))], nest)


_v = Variable("v", float32)


def integers() -> Sample:
    """Integer operations, totals of division, conversions, bits."""
    random = np.random.default_rng(2)
    a = random.integers(-(2**31), 2**31, 64).astype(np.int32)
    b = random.integers(-3, 4, 64).astype(np.int32)
    x = np.concatenate([floats(60) * 1e10, [np.nan, np.inf, -np.inf, -0.0]])
    av, bv, xv = load("a", (i,), int32), load("b", (i,), int32), load("x", (i,), float32)
    word = bitcast(av, uint32)
    values = {
        "quotient": call("floordiv", av, bv),
        "rest": call("mod", av, bv),
        "shifted": call("xor", call("shl", av, bv), call("shr", av, bv)),
        "saturated": cast(xv, int32),
        "low": cast(cast(av, uint8), int32),
        "largest": call("max", call("min", av, call("neg", bv)), call("abs", bv)),
        "flags": cast(call("or", call("lt", av, bv), cast(xv, bool_)), int32),
        "high": bitcast(call("mulhi", word, call("not", word)), int32),
    }
    results = [out(name, (64,), int32) for name in values]
    nest = loop("parallel", "i", 64, *(Store(name, (i,), v) for name, v in values.items()))
    return sample("integers", {"a": a, "b": b, "x": x.astype(np.float32)}, results, nest)


def floats_to_the_bit() -> Sample:
    """Rounding, signs, NaN in max and min, double precision and its fma."""
    x = np.concatenate([floats(58) * 4, [np.nan, np.inf, -np.inf, 0.0, -0.0, 2.5]])
    y = np.roll(x, 1)
    xv, yv = load("x", (i,), float32), load("y", (i,), float32)
    wide = cast(xv, float64)
    values = {
        "rounded": call("sub", call("round", xv), call("trunc", yv)),
        "steps": call("add", call("floor", xv), call("ceil", yv)),
        "signs": call("copysign", xv, call("neg", yv)),
        "larger": call("max", xv, yv),
        "smaller": call("min", xv, yv),
        "root": call("div", call("sqrt", call("abs", xv)), yv),
        "back": cast(call("fma", wide, cast(yv, float64), const(1 / 3, float64)), float32),
        "powers": call("pow", call("abs", xv), yv),
        "waves": call("add", call("sin", xv), call("cos", call("mul", yv, const(1e6, float32)))),
    }
    results = [out(name, (64,)) for name in values]
    nest = loop("parallel", "i", 64, *(Store(name, (i,), v) for name, v in values.items()))
    return sample("floats", {"x": x.astype(np.float32), "y": y.astype(np.float32)}, results, nest)


def reductions() -> Sample:
    """Every fold, over two axes, some elements left out, in one lane and in several."""
    x = floats(3, 6, 5)
    x[1, 2, 3] = np.nan
    axes = [Axis("a", 6), Axis("b", 5)]
    a, b = variable("a"), variable("b")
    value = load("x", (i, a, b), float32)
    place = add(mul(a, 5), b)
    folds: dict[str, Reduce] = {
        "total": reduce("sum", axes, value),
        "lanes": reduce("sum", axes, value, lanes=4),
        "product": reduce("prod", axes, value),
        "largest": reduce("max", axes, value, lanes=8),
        "smallest": reduce("min", axes, value),
        "squares": reduce("dot", axes, value, value, lanes=2),
        "lower": reduce("sum", axes, value, where=less(b, a)),
    }
    stores: list[Statement] = [Store(name, (i,), fold) for name, fold in folds.items()]
    best = reduce("argmax", axes, value, place)
    stores += [
        Store("best", (i,), Item(best, 1, int64)),
        Store("value", (i,), Item(best, 0, float32)),
        Store("worst", (i,), Item(reduce("argmin", axes, value, place, lanes=4), 1, int64)),
        Store("some", (i,), reduce("any", axes, call("gt", value, const(1.8, float32)))),
        Store("every", (i,), reduce("all", axes, call("lt", value, const(5.0, float32)))),
    ]
    results = [out(name, (3,)) for name in (*folds, "value")]
    results += [out(name, (3,), int64) for name in ("best", "worst")]
    results += [out(name, (3,), bool_) for name in ("some", "every")]
    return sample("reductions", {"x": x}, results, loop("parallel", "i", 3, *stores))


def nested_folds() -> Sample:
    """Folds of what folds give, as pooling of a convolution: pairs, and a condition of each."""
    x, y = floats(3, 9), floats(4, 3, seed=1)
    a, b = variable("a"), variable("b")
    inside = within(sub(add(mul(a, 2), b), 1), 9)
    left = load("x", (i, sub(add(mul(a, 2), b), 1)), float32, inside)
    inner = reduce("dot", [Axis("b", 3)], left, load("y", (j, b), float32), where=inside)
    value = call("add", inner, load("y", (j, index(0)), float32))
    pairs = reduce("argmax", [Axis("a", 5)], value, cast(a, int32))
    off = call("le", value, const(0, float32))
    bit = call("shl", const(1, uint32), cast(a, uint32))
    bits = select(off, const(0, uint32), bit)
    sums = reduce("sum_or", [Axis("a", 5)], select(off, const(0, float32), value), bits)
    stores = (
        Store("best", (i, j), Item(pairs, 0, float32)),
        Store("place", (i, j), cast(Item(pairs, 1, int32), uint8)),
        Store("total", (i, j), Item(sums, 0, float32)),
        Store("on", (i, j), cast(Item(sums, 1, uint32), uint8)),
    )
    results = [out(name, (3, 4)) for name in ("best", "total")]
    results += [out(name, (3, 4), uint8) for name in ("place", "on")]
    nest = loop("parallel", "i", 3, loop("parallel", "j", 4, *stores))
    return sample("nested_folds", {"x": x, "y": y}, results, nest)


def product() -> Sample:
    """A matrix product as its naive nest: k in order, one fma each."""
    a, b = floats(6, 33), floats(33, 5, seed=1)
    left, right = load("a", (i, k), float32), load("b", (k, j), float32)
    store = Store("c", (i, j), reduce("dot", [Axis("k", 33)], left, right))
    nest = loop("parallel", "i", 6, loop("parallel", "j", 5, store))
    return sample("product", {"a": a, "b": b}, [out("c", (6, 5))], nest)


def tiled_product() -> Sample:
    """The same with register tiles: a serial loop over k around a contraction."""
    a, b = floats(6, 33), floats(33, 5, seed=1)
    row, column = variable("r"), variable("s")
    tile = Buffer("tile", (3, 5), float32, space="register")
    at = (row, column)
    zero = Store("tile", at, const(0, float32))
    left = load("a", (add(mul(i, 3), row), k), float32)
    right = load("b", (k, column), float32)
    back = Store("c", (add(mul(i, 3), row), column), load("tile", at, float32))
    soon = Prefetch("a", (mul(i, 3), index(32)))
    body = (
        Local(tile),
        loop("unroll", "r", 3, loop("vector", "s", 5, zero)),
        soon,
        loop("serial", "k", 33, Contract("tile", "r", "s", left, right)),
        loop("unroll", "r", 3, loop("vector", "s", 5, back)),
    )
    nest = loop("block", "i", 2, *body)
    return sample("tiled_product", {"a": a, "b": b}, [out("c", (6, 5))], nest)


def ragged() -> Sample:
    """Bounds that depend on outer indices, steps, a serial loop with a carried local."""
    x = floats(7, 9)
    running = Buffer("running", (1,), float32, space="scratch")
    here, zero = (index(0),), const(0, float32)
    step = call("add", load("running", here, float32), load("x", (i, j), float32))
    body = (
        Local(running),
        Store("running", here, zero),
        Loop("serial", "j", i, index(9), (Store("running", here, step),
             Store("y", (i, j), load("running", here, float32))), 2),
        When(call("eq", mod(i, 2), index(0)), (Store("z", (floordiv(i, 2),), step_of_local()),)),
    )  # fmt: skip
    nest = loop("parallel", "i", 7, *body)
    return sample("ragged", {"x": x}, [out("y", (7, 9)), out("z", (4,))], nest)


def step_of_local() -> Expr:
    return call("mul", load("running", (index(0),), float32), const(2, float32))


def gather() -> Sample:
    """An index loaded at run time, guarded against the extent; a nested reduce."""
    table, rows = floats(4, 3), np.array([2, -1, 0, 3, 9], np.int64)
    row = load("rows", (i,), int64)
    picked = load("table", (row, t), float32, within(row, 4))
    inner = reduce("max", [Axis("u", 3)], load("table", (variable("v"), variable("u")), float32))
    outer = reduce("sum", [Axis("v", 4)], inner)
    nest = loop(
        "parallel", "i", 5, loop("vector", "t", 3, Store("y", (i, t), call("add", picked, outer)))
    )
    return sample("gather", {"table": table, "rows": rows}, [out("y", (5, 3))], nest)


def choices() -> Sample:
    """Selects between formulas of one argument, scalars and a buffer of rank 0."""
    s = np.array(0.75, np.float32)
    scale = load("s", (), float32)
    x = call("mul", cast(i, float32), scale)
    value = select(less(i, 4), call("erf", x), call("sigmoid", call("neg", x)))
    last = Store("last", (), call("log", scale), call("eq", i, index(7)))
    nest = loop("parallel", "i", 8, Store("y", (i,), value), last)
    return sample("choices", {"s": s}, [out("y", (8,)), out("last", ())], nest)


def laid_out() -> Sample:
    """Buffers whose memory order is not their logical one."""
    x = Buffer("x", (2, 3, 4), float32, order=(0, 2, 1))
    y = out("y", (4, 2, 3), order=(2, 0, 1))
    store = Store("y", (k, i, j), load("x", (i, j, k), float32))
    nest = loop("parallel", "i", 2, loop("parallel", "j", 3, loop("serial", "k", 4, store)))
    return Kernel("laid_out", (x, y), (nest,)), {"x": floats(2, 3, 4), "y": empty(y)}


def empty_axes() -> Sample:
    """Extents of 0 and 1: an empty fold is its unit."""
    x = np.zeros((3, 0), np.float32)
    value = load("x", (i, k), float32)
    body = (
        Store("y", (i,), reduce("sum", [Axis("k", 0)], value)),
        Store("z", (i,), reduce("max", [Axis("k", 0)], value)),
        loop("parallel", "j", 0, Store("y", (i,), load("x", (i, j), float32))),
    )
    nest = loop("parallel", "i", 3, loop("parallel", "one", 1, *body))
    return sample("empty_axes", {"x": x}, [out("y", (3,)), out("z", (3,))], nest)


def doubles() -> Sample:
    """Formulas in double precision and literals that need all its digits."""
    x = np.linspace(-3, 3, 12)
    value = load("x", (i,), float64)
    names = ("exp", "tanh", "erf", "sigmoid", "sin", "cos", "expm1", "exp2")
    positive = call("add", call("abs", value), Literal(0.1, float64))
    stores = [Store(name, (i,), call(name, value)) for name in names]
    stores += [Store(name, (i,), call(name, positive)) for name in ("log", "log1p", "rsqrt")]
    stores.append(Store("pow", (i,), call("pow", positive, value)))
    results = [out(store.buffer, (12,), float64) for store in stores]
    return sample("doubles", {"x": x}, results, loop("parallel", "i", 12, *stores))


def random_words() -> Sample:
    """Counter-based random bits."""
    key = np.array([7, 9], np.uint32)
    words = [load("key", (index(0),), uint32), load("key", (index(1),), uint32)]
    counter = [cast(i, uint32), const(5, uint32)]
    low = Store("low", (i,), call("random_bits", *words, *counter))
    high = Store("high", (i,), call("random_bits_high", *words, *counter))
    results = [out("low", (9,), uint32), out("high", (9,), uint32)]
    return sample("random_words", {"key": key}, results, loop("parallel", "i", 9, low, high))


SAMPLES: dict[str, Callable[[], Sample]] = {
    make.__name__: make
    for make in (
        elementwise,
        integers,
        floats_to_the_bit,
        reductions,
        nested_folds,
        product,
        tiled_product,
        ragged,
        gather,
        choices,
        laid_out,
        empty_axes,
        doubles,
        random_words,
    )
}
