"""The input gradient of a strided convolution as one plain convolution for each remainder.

    parallel i in 0..224:  dot (k < 7) a[(i - k + 1) // 2 + 1] * b[k]  where (i - k + 1) % 2 == 0
    =>
    parallel i in 0..112:  dot (k < 3) a[i - k + 1] * b[k * 2 + 1]     stored at i * 2
    parallel i in 0..112:  dot (k < 4) a[i - k + 2] * b[k * 2]         stored at i * 2 + 1

Only products that the condition lets through are left, in the same order, so no bit changes. What
the condition reads is then plain: neighbours of i can share a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd

from graphc.loops import (
    Axis,
    Call,
    Expr,
    Kernel,
    Let,
    Loop,
    Reduce,
    Statement,
    Store,
    add,
    index,
    mul,
    variable,
)
from graphc.loops.affine import affine
from graphc.loops.clamp import conjuncts
from graphc.loops.expressions import Literal, children, with_children
from graphc.loops.simplify import simplify_kernel
from graphc.loops.substitute import substitute

from .contraction_nest import Nest, extent_of
from .elementwise import substituted


@dataclass(frozen=True)
class _Stride:
    """A condition (factor * loop - step * axis + constant) % stride == 0."""

    loop: Loop
    axis: Axis
    factor: int
    step: int
    constant: int
    stride: int

    def first(self, remainder: int) -> int | None:
        """The first position of the axis that meets the condition where the loop's index leaves
        this remainder; None where none does."""
        start = self.factor * remainder + self.constant
        met = (k for k in range(self.axis.extent) if (start + self.step * k) % self.stride == 0)
        return next(met, None)


def without_strides(kernel: Kernel, nest: Nest) -> list[Kernel]:
    """The kernels of all remainders by the stride of one index; the same kernel alone where no
    condition has that form, or where some elements would have no products at all."""
    found = next((s for c in conjuncts(nest.dot.where) if (s := _stride(c, nest))), None)
    if found is None:
        return [kernel]
    firsts = [found.first(remainder) for remainder in range(found.stride)]
    pieces = [
        _piece(kernel, nest, found, remainder, first)
        for remainder, first in enumerate(firsts)
        if first is not None
    ]
    return pieces if len(pieces) == found.stride else [kernel]


def _stride(condition: Expr, nest: Nest) -> _Stride | None:
    match condition:
        case Call(op="eq", args=(Call(op="mod", args=(inner, Literal(value=size))), zero)):
            if zero != index(0):
                return None
        case _:
            return None
    form, stride = affine(inner), int(size)
    if form is None or len(form.terms) != 2:
        return None
    loops = [x for x in nest.loops if form.coefficient(x.var) and extent_of(x) >= stride]
    axes = [x for x in nest.dot.axes if form.coefficient(x.name)]
    if len(loops) != 1 or len(axes) != 1 or loops[0].var == nest.column:
        return None
    factor, step = form.coefficient(loops[0].var), form.coefficient(axes[0].name)
    if gcd(step, stride) != 1:
        return None  # a step's multiples meet some remainders only
    return _Stride(loops[0], axes[0], factor, step, form.constant, stride)


def _piece(kernel: Kernel, nest: Nest, found: _Stride, remainder: int, first: int) -> Kernel:
    """The kernel for the elements whose index leaves one remainder."""
    name, stride = found.loop.var, found.stride
    body = tuple(_with_axis(s, found, first) for s in _innermost(kernel.body))
    place = {name: add(mul(variable(name), stride), remainder)}
    body = tuple(substituted(s, place) for s in body)
    for loop in reversed(nest.loops):
        extent = extent_of(loop)
        count = -(-(extent - remainder) // stride) if loop.var == name else extent
        body = (Loop("parallel", loop.var, index(0), index(count), body),)
    return simplify_kernel(replace(kernel, body=body))


def _innermost(body: Sequence[Statement]) -> tuple[Statement, ...]:
    while len(body) == 1 and isinstance(body[0], Loop):
        body = body[0].body
    return tuple(body)


def _with_axis(statement: Statement, found: _Stride, first: int) -> Statement:
    """The dot over every `stride`-th position of the axis, from `first`."""
    assert isinstance(statement, Let | Store)
    return replace(statement, value=_thinned(statement.value, found, first))


def _thinned(expr: Expr, found: _Stride, first: int) -> Expr:
    if not (isinstance(expr, Reduce) and found.axis in expr.axes):
        parts = tuple(_thinned(part, found, first) for part in children(expr))
        return with_children(expr, parts)
    name, stride = found.axis.name, found.stride
    count = -(-(found.axis.extent - first) // stride)
    place = {name: add(mul(variable(name), stride), first)}
    axes = tuple(Axis(name, count) if axis == found.axis else axis for axis in expr.axes)
    body = tuple(substitute(part, place) for part in expr.body)
    where = None if expr.where is None else substitute(expr.where, place)
    return replace(expr, axes=axes, body=body, where=where)
