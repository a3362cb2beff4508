"""Reductions: the accumulators of a fold while it takes in arrays of elements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from graphc.loops import combine
from graphc.loops.arithmetic import Array
from graphc.loops.evaluate.scalars import literal, pure
from graphc.loops.expressions import Expr, Reduce, Variable

# Folds by one operation that NumPy's accumulate does in the same order, and their units.
SEQUENTIAL = {"sum": (np.add, 0), "prod": (np.multiply, 1)}


class Fold:
    """The accumulators of one reduction, an array (lanes, *space) each."""

    def __init__(self, expr: Reduce, space: tuple[int, ...]) -> None:
        self.combine, self.lanes = expr.combine, expr.lanes
        self.held = [np.full((expr.lanes, *space), literal(start)) for start in combine.unit(expr)]
        self.names = combine.accumulators(expr, "held")
        self.new = tuple(Variable(f"new{k}", body.dtype) for k, body in enumerate(expr.body))
        self.step = combine.step(expr.combine, self.names, self.new)

    def take(self, elements: Sequence[Array], where: Array | None) -> None:
        """Take in elements (count, *space), `lanes` at once, but those where `where` fails."""
        if self.combine in SEQUENTIAL and self.lanes == 1:
            self.accumulate(elements[0], where)
            return
        for start in range(0, elements[0].shape[0], self.lanes):
            group = [element[start : start + self.lanes] for element in elements]
            taken = None if where is None else where[start : start + self.lanes]
            self.take_group(group, taken)

    def take_group(self, group: Sequence[Array], taken: Array | None) -> None:
        held = [array[: group[0].shape[0]] for array in self.held]
        for array, result in zip(
            held, self.evaluate(self.step, self.new, held, group), strict=True
        ):
            array[...] = result if taken is None else np.where(taken, result, array)

    def accumulate(self, element: Array, where: Array | None) -> None:
        """The same as element by element: accumulate's partial results are all rounded."""
        operation, unit = SEQUENTIAL[self.combine]
        if where is not None:
            element = np.where(where, element, element.dtype.type(unit))
        (held,) = self.held
        partial = operation.accumulate(np.concatenate([held, element]), dtype=held.dtype)
        held[0] = partial[-1]

    def evaluate(
        self,
        exprs: Sequence[Expr],
        names: Sequence[Variable],
        held: Sequence[Array],
        new: Sequence[Array],
    ) -> list[Array]:
        variables = (*self.names, *names)
        scope = {v.name: array for v, array in zip(variables, (*held, *new), strict=True)}
        return [pure(expr, scope) for expr in exprs]

    def finish(self) -> list[Array]:
        """Accumulator i takes in i + n/2, for n = lanes, lanes/2, ..., 2."""
        other = tuple(Variable(f"other{k}", name.dtype) for k, name in enumerate(self.names))
        merge = combine.merge(self.combine, self.names, other)
        count = self.lanes
        while count > 1:
            count //= 2
            lower = [array[:count] for array in self.held]
            upper = [array[count : 2 * count] for array in self.held]
            self.held = self.evaluate(merge, other, lower, upper)
        return [array[0] for array in self.held]
