"""What a contraction asks of its operands' layouts, read off its own lowering.

A contraction's value at an index is reduce(k...) a[...] * b[...], or is computed from one such
product, as the pooled value of a convolution is from the products under its window. Result
indices that only `b` reads are columns (the last of them is what vectors run along), those that
only `a` reads are rows. From where the k axes and the columns occur follow the best orders:

    a    rows first, then the k axes in the order they are folded
    b    the k axes in the order they are folded, then columns: neighbours are loaded as a vector
    y    rows in a's order, then columns

conv2d folds (kh, kw, channel): so x is N H W C, the weight is KH KW C O, y is N H W C; and the
weight of a matmul lies with its columns last. No operator is named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from math import prod

from graphc.ir import Node
from graphc.loops import Call, Expr, Load, Reduce, Variable, alltrue, load
from graphc.loops.affine import free_variables
from graphc.loops.expressions import Literal, children
from graphc.ops import get


@dataclass(frozen=True)
class Contraction:
    """The index expressions of one contraction.

    result   the names of the result's index variables
    folded   the names of the k axes, in the order they are folded
    a, b     operand number and the variables that each of its dimensions reads
    products how many products make one element of the result
    """

    result: tuple[str, ...]
    folded: tuple[str, ...]
    a: tuple[int, tuple[frozenset[str], ...]]
    b: tuple[int, tuple[frozenset[str], ...]]
    products: int

    @property
    def columns(self) -> tuple[str, ...]:
        in_a, in_b = frozenset().union(*self.a[1]), frozenset().union(*self.b[1])
        return tuple(name for name in self.result if name in in_b - in_a)

    def last(self, order_of_a: Sequence[int] | None) -> tuple[str, ...]:
        """The index that vectors run along: the last column, or where there is none, an index that
        both operands read and along which a's neighbours lie, as the channels of a depthwise
        convolution do in N H W C."""
        if self.columns or not order_of_a:
            return self.columns[-1:]
        reads, in_b = self.a[1][order_of_a[-1]], frozenset().union(*self.b[1])
        return tuple(name for name in self.result if {name} == reads and name in in_b)

    def order_of_b(self, order_of_a: Sequence[int] | None = None) -> tuple[int, ...] | None:
        """k in order, then columns; dimensions that neither reads (batches) come first. None where
        nothing is to lie last."""
        last = self.last(order_of_a)
        return self._order(self.b[1], last) if last else None

    def order_of_a(self) -> tuple[int, ...]:
        return self._order(self.a[1], ())

    def _order(self, dims: Sequence[frozenset[str]], last: Sequence[str]) -> tuple[int, ...]:
        def rank(dimension: int) -> tuple[int, int]:
            reads = dims[dimension]
            if reads & set(last):
                return len(self.folded) + 1, dimension
            folded = [self.folded.index(name) for name in reads if name in self.folded]
            return max(folded, default=-1), dimension

        return tuple(sorted(range(len(dims)), key=rank))

    def order_of_result(self, order_of_a: Sequence[int]) -> tuple[int, ...]:
        """Rows as a's dimensions lie, the last column fastest."""
        last = self.last(order_of_a)

        def rank(position: int) -> tuple[int, int]:
            name = self.result[position]
            if name in last:
                return len(order_of_a) + 1, position
            found = [at for at, dim in enumerate(order_of_a) if name in self.a[1][dim]]
            return min(found, default=-1), position

        return tuple(sorted(range(len(self.result)), key=rank))


@dataclass
class _Probe:
    """Lowers a node on stand-in operands to see how it indexes them."""

    node: Node
    numbers: count[int]

    def operand(
        self, position: int, index: Sequence[Expr], guard: Expr | None = None, fill: float = 0
    ) -> Expr:
        dtype = self.node.operands[position].dtype
        return load(str(position), index, dtype, alltrue(guard), fill)

    def fresh(self, prefix: str) -> str:
        return f"{prefix}.{next(self.numbers)}"


def analyse(node: Node) -> Contraction | None:
    """The roles of a contraction's indices; None where its lowering has no plain product form."""
    rule = get(node.op).lower
    if not get(node.op).contraction or rule is None:
        return None
    names = tuple(f"i{position}" for position in range(node.results[0].type.rank))
    value = rule(_Probe(node, count()), tuple(Variable(name) for name in names))
    found = _product(value[0] if isinstance(value, tuple) else value)
    if found is None:
        return None
    product, repeats = found
    a, b = product.body
    if not isinstance(a, Load) or not isinstance(b, Load):
        return None
    folded = tuple(axis.name for axis in product.axes)
    products = repeats * prod(axis.extent for axis in product.axes)
    within = frozenset(names) - _read_apart_from_groups(a)
    return Contraction(names, folded, _reads(a, within), _reads(b), products)


def _product(expr: Expr, repeats: int = 1) -> tuple[Reduce, int] | None:
    """The product that a value is computed from, and how often the folds around it take one."""
    if isinstance(expr, Reduce):
        if expr.combine == "dot":
            return expr, repeats
        repeats *= prod(axis.extent for axis in expr.axes)
    found = (_product(part, repeats) for part in children(expr))
    return next((product for product in found if product is not None), None)


def _reads(
    load: Load, ignored: frozenset[str] = frozenset()
) -> tuple[int, tuple[frozenset[str], ...]]:
    return int(load.buffer), tuple(free_variables(expr) - ignored for expr in load.index)


def _read_apart_from_groups(expr: Expr) -> frozenset[str]:
    """The names read otherwise than as `name // size`: within a group of channels, such a name
    does not change what is read."""
    match expr:
        case Variable(name=name):
            return frozenset((name,))
        case Call(op="floordiv", args=(Variable(), Literal())):
            return frozenset()
    return frozenset().union(*map(_read_apart_from_groups, children(expr)))
