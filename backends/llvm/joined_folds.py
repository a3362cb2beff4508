"""Sums over the same elements are taken in one loop, by pairs.

    let s = reduce sum [r < n] lanes=64 (x[i, r])
    let m = s * f32(0.5)                                   let s, t = reduce sum_sum [r < n]
    let t = reduce sum [q < n] lanes=64 (y[i, q])   =>         lanes=64 (x[i, r], y[i, r])
                                                           let m = s * f32(0.5)

The second moves up to the first, so it must need nothing from between them. What both read is
read once, and each hides the latency of the other; every sum keeps its own order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from graphc.loops import Item, Kernel, Let, Loop, Reduce, Statement, Variable, When
from graphc.loops.affine import free_variables
from graphc.loops.substitute import substitute
from graphc.target import Target


def join_folds(kernel: Kernel, target: Target) -> Kernel:
    """The kernel with such pairs; the same one where there are none."""
    body = _joined(kernel.body, target)
    return kernel if body == kernel.body else replace(kernel, body=body)


def _joined(body: Sequence[Statement], target: Target) -> tuple[Statement, ...]:
    inside = [_within(statement, target) for statement in body]
    return tuple(_written(_paired(inside, target)))


def _within(statement: Statement, target: Target) -> Statement:
    """Inside a vector loop a fold has a vector for each of its lanes: no room for two."""
    if isinstance(statement, When) or (isinstance(statement, Loop) and statement.kind != "vector"):
        return replace(statement, body=_joined(statement.body, target))
    return statement


@dataclass
class _Place:
    """A statement; of a sum, another that joins it, and the names bound from it on."""

    statement: Statement
    partner: Let | None = None
    bound: set[str] = field(default_factory=set)

    @property
    def fold(self) -> Reduce | None:
        """The sum that a statement is, and nothing else."""
        value = self.statement.value if isinstance(self.statement, Let) else None
        is_sum = isinstance(value, Reduce) and value.combine == "sum" and value.where is None
        return value if isinstance(value, Reduce) and is_sum else None


def _paired(body: Sequence[Statement], target: Target) -> list[_Place]:
    made: list[_Place] = []
    start = 0  # behind the last statement that may store something
    for statement in body:
        place = _Place(statement)
        if not isinstance(statement, Let):
            start = len(made) + 1
        elif (first := _first_of(place, made[start:], target)) is not None:
            first.partner = statement
            continue
        made.append(place)
        if isinstance(statement, Let):
            for earlier in made[start:]:
                earlier.bound.add(statement.name)
    return made


def _first_of(place: _Place, earlier: Sequence[_Place], target: Target) -> _Place | None:
    """A sum that this one may join."""
    fold = place.fold
    if fold is None or not _has_room(fold, target):
        return None
    needed = free_variables(fold)
    for other in earlier:
        alone = other.fold is not None and other.partner is None
        if alone and _goes_over(other.fold, fold) and not needed & other.bound:
            return other
    return None


def _goes_over(a: Reduce | None, b: Reduce) -> bool:
    """Whether two folds take in elements at the same positions alike."""
    if a is None or a.dtype != b.dtype or a.lanes != b.lanes:
        return False
    return [axis.extent for axis in a.axes] == [axis.extent for axis in b.axes]


def _has_room(fold: Reduce, target: Target) -> bool:
    """Whether the accumulators of two such folds leave registers for what they take in."""
    vectors = -(-fold.lanes * fold.dtype.itemsize // target.vector_bytes)
    return 4 * vectors <= target.registers


def _written(places: Sequence[_Place]) -> Iterator[Statement]:
    for place in places:
        if place.partner is None or place.fold is None:
            yield place.statement
        else:
            yield from _pair(place.statement, place.fold, place.partner)


def _pair(first: Statement, fold: Reduce, second: Let) -> Iterator[Let]:
    assert isinstance(first, Let) and isinstance(second.value, Reduce)
    axes = zip(second.value.axes, fold.axes, strict=True)
    names = {old.name: Variable(new.name) for old, new in axes}
    (other,) = (substitute(part, names) for part in second.value.body)
    both = Reduce("sum_sum", fold.axes, (*fold.body, other), fold.dtype, None, fold.lanes)
    for position, name in enumerate((first.name, second.name)):
        yield Let(name, Item(both, position, fold.dtype))
