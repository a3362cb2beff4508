"""Index arithmetic of reshapes: where an element of the new shape lies in the old one."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.loops import Expr, add, floordiv, index, mod, mul

Run = tuple[range, range]


def matching_runs(old: Sequence[int], new: Sequence[int]) -> list[Run]:
    """Splits two shapes of one size > 0 into shortest runs of dimensions of equal products.

    Within a run dimensions merge or split; between runs indices do not mix.

    >>> matching_runs((2, 3, 4), (6, 4))
    [(range(0, 2), range(0, 1)), (range(2, 3), range(1, 2))]
    """
    runs = []
    i = j = 0
    while i < len(old) or j < len(new):
        start_i, start_j, left, right = i, j, 1, 1
        while (i, j) == (start_i, start_j) or left != right:
            if i < len(old) and (left <= right or j == len(new)):
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
        runs.append((range(start_i, i), range(start_j, j)))
    return runs


def flatten(at: Sequence[Expr], extents: Sequence[int]) -> Expr:
    """The row-major number of an element."""
    number = index(0)
    for position, extent in zip(at, extents, strict=True):
        number = add(mul(number, extent), position)
    return number


def unflatten(number: Expr, extents: Sequence[int]) -> tuple[Expr, ...]:
    """The indices of a row-major element number that lies within the extents."""
    found: list[Expr] = []
    inner = 1
    for position, extent in reversed(list(enumerate(extents))):
        quotient = floordiv(number, inner)
        outermost = all(other == 1 for other in extents[:position])
        found.append(quotient if outermost and extent > 1 else mod(quotient, extent))
        inner *= extent
    return tuple(reversed(found))


def reshaped_index(at: Sequence[Expr], new: Sequence[int], old: Sequence[int]) -> tuple[Expr, ...]:
    """The index in shape `old` of the element at index `at` of shape `new`."""
    if 0 in new:
        return tuple(index(0) for _ in old)
    found: list[Expr] = []
    for olds, news in matching_runs(old, new):
        extents = [new[i] for i in news]
        number = flatten([at[i] for i in news], extents)
        found += unflatten(number, [old[i] for i in olds])
    return tuple(found)
