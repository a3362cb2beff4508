"""Random kernels from a seed: what the differential tests of the evaluation and backends run on.

    kernel, arrays = random_kernel(seed)        # one parallel loop, every operation, every type

No result depends on the sign or payload of a NaN, which are the machine's: only what is loaded is
taken apart into bits or gives its sign away.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from kernel_samples import Sample, out, sample
from numpy.typing import NDArray

from graphc import dtypes
from graphc.dtypes import DType
from graphc.loops import (
    Axis,
    Expr,
    Item,
    Let,
    Load,
    Loop,
    Store,
    Variable,
    add,
    bitcast,
    call,
    cast,
    const,
    index,
    less,
    load,
    mod,
    mul,
    reduce,
    select,
    variable,
    within,
)
from graphc.loops.combine import TABLE as FOLDS

Array = NDArray[Any]

EXTENT = 24
ROUNDING = ["neg", "abs", "sqrt", "floor", "ceil", "round", "trunc", "rsqrt"]
FORMULAS = ["exp", "exp2", "expm1", "log", "log1p", "tanh", "sigmoid", "erf", "sin", "cos"]
FLOAT_BINARY = ["add", "sub", "mul", "div", "min", "max", "pow"]
INTEGER_UNARY = ["neg", "abs", "not"]
INTEGER_BINARY = ["add", "sub", "mul", "floordiv", "mod", "min", "max"]
BITWISE = ["and", "or", "xor", "shl", "shr", "mulhi"]
RELATIONS = ["lt", "le", "gt", "ge", "eq", "ne"]
i = variable("i")


def random_kernel(seed: int) -> Sample:
    """A kernel of five stores over an input of each type."""
    return _Maker(seed).kernel()


def special_values(dtype: DType, random: np.random.Generator) -> Array:
    """Ends of the range, zeros, NaN and infinities, then numbers of all sizes."""
    if dtype == dtypes.bool_:
        return random.random(EXTENT) < 0.5
    if dtype.is_integer:
        limits = np.iinfo(dtype.numpy)
        bounds = np.array([0, 1, 2, int(limits.min), int(limits.max), 31, 33, 64], object)
        some = random.integers(limits.min, limits.max, EXTENT - 16, dtype=dtype.numpy)
        few = random.integers(0, 5, 8)
        return np.concatenate([bounds.astype(dtype.numpy), some, few.astype(dtype.numpy)])
    tiny = float(np.finfo(dtype.numpy).smallest_subnormal)
    ends = [0.0, -0.0, 1.0, -1.0, math.nan, math.inf, -math.inf, tiny, 0.5, 2.5, 2.0**31, 2.0**63]
    some = random.standard_normal(EXTENT - 16) * 10.0 ** random.integers(-3, 4, EXTENT - 16)
    large = 10.0 ** random.uniform(-30, 30, 4)
    return np.concatenate([ends, some, large]).astype(dtype.numpy)


class _Maker:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.arrays = {f"in_{d}": special_values(d, self.random) for d in dtypes.ALL}
        self.lets: list[Let] = []
        self.folds = 0

    def kernel(self) -> Sample:
        results = [out(f"out{k}", (EXTENT,), self.pick(dtypes.ALL)) for k in range(5)]
        body: list[Let | Store] = []
        for result in results:
            known = len(self.lets)
            value = self.expression(result.dtype, 4)
            body += [*self.lets[known:], Store(result.name, (i,), value)]
        nest = Loop("parallel", "i", index(0), index(EXTENT), tuple(body))
        return sample("random", dict(self.arrays), results, nest)

    def pick(self, choices: Any) -> Any:
        return choices[int(self.random.integers(len(choices)))]

    def expression(self, dtype: DType, depth: int) -> Expr:
        if depth == 0 or self.random.random() < 0.1:
            return self.leaf(dtype)
        makers = [self.operation, self.operation, self.operation, self.choice, self.conversion]
        if depth > 1:
            makers += [self.let, self.fold]
        made: Expr = self.pick(makers)(dtype, depth - 1)
        return made

    def leaf(self, dtype: DType) -> Expr:
        kind = self.pick(["load", "load", "guarded", "literal", "index"])
        if kind == "literal":
            return const(self.pick([0, 1, 3]), dtype)
        if kind == "index" and dtype == dtypes.int64:
            return add(mod(i, 7), -3)
        if kind == "guarded":
            place = add(i, int(self.random.integers(-3, 4)))
            return load(f"in_{dtype}", (place,), dtype, within(place, EXTENT), fill=1)
        return self.loaded(dtype)

    def loaded(self, dtype: DType) -> Load:
        made = load(f"in_{dtype}", (i,), dtype)
        assert isinstance(made, Load)
        return made

    def operation(self, dtype: DType, depth: int) -> Expr:
        if dtype == dtypes.bool_:
            return self.condition(depth)
        if dtype.is_float:
            return self.float_operation(dtype, depth)
        if self.random.random() < 0.3:
            return self.applied(self.pick(INTEGER_UNARY), dtype, 1, depth)
        return self.applied(self.pick(INTEGER_BINARY + BITWISE), dtype, 2, depth)

    def float_operation(self, dtype: DType, depth: int) -> Expr:
        kind = self.random.random()
        if kind < 0.4:
            table = ROUNDING if self.random.random() < 0.5 else FORMULAS
            return self.applied(self.pick(table), dtype, 1, depth)
        if kind < 0.8:
            return self.applied(self.pick(FLOAT_BINARY), dtype, 2, depth)
        if kind < 0.9:
            return call("copysign", self.expression(dtype, depth), self.loaded(dtype))
        return self.applied("fma", dtype, 3, depth)

    def applied(self, op: str, dtype: DType, count: int, depth: int) -> Expr:
        return call(op, *(self.expression(dtype, depth) for _ in range(count)))

    def condition(self, depth: int) -> Expr:
        if self.random.random() < 0.3:
            sides = [self.expression(dtypes.bool_, depth) for _ in range(2)]
            return call(self.pick(["and", "or", "xor"]), sides[0], call("not", sides[1]))
        given = self.pick([d for d in dtypes.ALL if d != dtypes.bool_])
        return self.applied(self.pick(RELATIONS), given, 2, depth)

    def choice(self, dtype: DType, depth: int) -> Expr:
        branches = [self.expression(dtype, depth) for _ in range(2)]
        return select(self.expression(dtypes.bool_, depth), *branches)

    def conversion(self, dtype: DType, depth: int) -> Expr:
        given = self.pick(dtypes.ALL)
        same_width = given.bits == dtype.bits and dtypes.bool_ not in (given, dtype)
        if same_width and self.random.random() < 0.5:
            if given.is_float:
                return bitcast(self.loaded(given), dtype)
            return bitcast(self.expression(given, depth), dtype)
        return cast(self.expression(given, depth), dtype)

    def let(self, dtype: DType, depth: int) -> Expr:
        value = self.expression(dtype, depth)
        name = f"let{len(self.lets)}"
        self.lets.append(Let(name, value))
        return Variable(name, dtype)

    def fold(self, dtype: DType, depth: int) -> Expr:
        """A fold of six elements around a value that stays the same, in one lane or in four."""
        self.folds += 1
        outer, inner = (
            Axis(f"{name}{self.folds}", extent) for name, extent in (("k", 2), ("m", 3))
        )
        axes, lanes = [outer, inner], self.pick([1, 4])
        place = add(mul(variable(outer.name), 3), variable(inner.name))
        element = load(f"in_{dtype}", (place,), dtype)
        where = less(variable(inner.name), 2) if self.random.random() < 0.4 else None
        if dtype == dtypes.bool_:
            return reduce(self.pick(["any", "all"]), axes, element, where=where, lanes=lanes)
        same = self.expression(dtype, depth)
        name = self.pick([name for name in FOLDS if name not in ("any", "all")])
        if name in ("dot", "sum_sum"):
            both = reduce(name, axes, element, same, where=where, lanes=lanes)
            return both if name == "dot" else Item(both, self.pick([0, 1]), dtype)
        if name.startswith("arg") or name == "sum_or":
            return Item(reduce(name, axes, element, place, where=where, lanes=lanes), 0, dtype)
        operation = call("add", element, same)
        return reduce(name, axes, operation, where=where, lanes=lanes)
