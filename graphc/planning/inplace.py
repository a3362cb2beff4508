"""Which outputs of a kernel may take the bytes of an input that dies in it.

    loop parallel i in [0, 8):                  in_place_pairs: [(a, y)]
        store y[i] = a[i] * scale[0]            scale is not: its index is not the store's

An element of the output may overwrite the input's element at the same place if nothing reads that
element afterwards. That holds where every load of the input has exactly the index of the output's
only store, in the same iteration and before it, and each element is stored once.

Judged on the naive kernel, of elementwise kernels only. Where a kernel folds (a product with a
residual as epilogue, a row normalisation), its tiled form may keep partial sums in the output, so
that no input may lie there, however its loads look in the naive form. A tiled form of an
elementwise kernel must keep each element's loads before its store and compute no element twice
(no last vector that overlaps the one before).
"""

from __future__ import annotations

from graphc.loops.affine import free_variables
from graphc.loops.expressions import Expr
from graphc.loops.kernel import Buffer, Contract, Kernel, Let, Local, Loop, Store
from graphc.planning.bodies import Placed, covers_all, expressions, extent_of, flatten, folds, loads


def in_place_pairs(kernel: Kernel) -> list[tuple[str, str]]:
    """(input, output) formal buffers that may share their bytes, in the order of the buffers."""
    placed = flatten(kernel)
    if not all(_is_elementwise(statement) for statement in placed):
        return []
    inputs = [buffer for buffer in kernel.buffers if buffer.access == "in"]
    outputs = [buffer for buffer in kernel.buffers if buffer.access == "out"]
    stores = {buffer.name: _only_store(placed, buffer) for buffer in outputs}
    return [
        (source.name, target.name)
        for source in inputs
        for target in outputs
        if _same_elements(source, target)
        and (store := stores[target.name]) is not None
        and _loads_at_store(placed, source.name, store)
    ]


def _is_elementwise(placed: Placed) -> bool:
    if isinstance(placed.statement, Contract | Local) or placed.conditional:
        return False
    if any(extent_of(loop) < 0 for loop in placed.loops):
        return False  # its bounds may load
    return not any(map(folds, expressions(placed)))


def _same_elements(source: Buffer, target: Buffer) -> bool:
    """Whether elements at one index lie at one place."""
    same_size = source.dtype.itemsize == target.dtype.itemsize
    return same_size and source.shape == target.shape and source.strides == target.strides


def _only_store(placed: list[Placed], target: Buffer) -> Placed | None:
    """The store of the target, where it is the only one and writes each element just once."""
    found = [
        item
        for item in placed
        if isinstance(item.statement, Store) and item.statement.buffer == target.name
    ]
    if len(found) != 1 or not covers_all(found[0], target):
        return None
    store = found[0].statement
    assert isinstance(store, Store)
    used = frozenset().union(*map(free_variables, store.index))
    once = all(loop.var in used or extent_of(loop) == 1 for loop in found[0].loops)
    return found[0] if once and _binds_once(placed, found[0].loops) else None


def _binds_once(placed: list[Placed], loops: tuple[Loop, ...]) -> bool:
    """Whether the loops' variables mean one thing each throughout the kernel."""
    names = [loop.var for loop in loops]
    lets = {item.statement.name for item in placed if isinstance(item.statement, Let)}
    return len(set(names)) == len(names) and lets.isdisjoint(names)


def _loads_at_store(placed: list[Placed], source: str, store: Placed) -> bool:
    """Whether every load of the source is in the store's iteration, before it, at its index."""
    assert isinstance(store.statement, Store)
    before = True
    for item in placed:
        for expr in expressions(item):
            for load in loads(expr):
                if load.buffer != source:
                    continue
                if not before or load.index != store.statement.index:
                    return False
                if not _same_iteration(item.loops, store.loops, load.index):
                    return False
        before = before and item is not store
    return True


def _same_iteration(
    outer: tuple[Loop, ...], inner: tuple[Loop, ...], index: tuple[Expr, ...]
) -> bool:
    """Whether a statement in the outer loops runs before one in the inner, at one element.

    The index's variables are loops of both, so that the iterations are the same.
    """
    around = len(outer) <= len(inner) and all(a is b for a, b in zip(outer, inner, strict=False))
    bound = {loop.var for loop in outer}
    return around and all(free_variables(part) <= bound for part in index)
