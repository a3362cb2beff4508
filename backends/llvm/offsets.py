"""Where an element lies: the arithmetic of indices that needs no code."""

from __future__ import annotations

from functools import lru_cache

from graphc.errors import CompileError
from graphc.loops import Expr
from graphc.loops.affine import Affine, affine


@lru_cache(maxsize=1 << 14)
def offset_of(
    index: tuple[Expr, ...], strides: tuple[int, ...]
) -> tuple[Affine, tuple[tuple[Expr, int], ...]]:
    """An element's offset: a linear part, and expressions with their factors that are not."""
    form, opaque = Affine(0), []
    for expr, stride in zip(index, strides, strict=True):
        part = affine(expr)
        if part is None:
            opaque.append((expr, stride))
        else:
            form = form.plus(part, stride)
    return form, tuple(opaque)


def fold_index(op: str, args: list[int]) -> int:
    """Index arithmetic on known numbers."""
    a, b = args
    match op:
        case "add":
            return a + b
        case "mul":
            return a * b
        case "floordiv":
            return a // b
        case "mod":
            return a % b
        case "max":
            return max(a, b)
        case "min":
            return min(a, b)
        case _:
            raise CompileError(f"{op!r} is no operation on indices")
