"""einsum against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from graphc import dtypes
from graphc.errors import ArgumentError, DTypeError, GraphcError, ShapeError
from graphc.ir import Graph, TensorType, Value
from graphc.ops import Builder
from graphc.ops.einsum import einsum
from graphc.ops.evaluate import evaluate
from graphc.ops.samples import real

EQUATIONS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("ij,kj->ki", (3, 4), (5, 4)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("ij->ji", (3, 4)),
    ("ij->", (3, 4)),
    ("ij->i", (3, 4)),
    ("ba", (3, 4)),
    ("ii", (3, 3)),
    ("ii->i", (4, 4)),
    ("iij->j", (3, 3, 2)),
    ("iiji->ij", (2, 2, 3, 2)),
    ("i,i", (4,), (4,)),
    ("i,j->ij", (4,), (3,)),
    ("i,j->ji", (4,), (3,)),
    ("ij,ij->ij", (3, 4), (3, 4)),
    ("ij,j->ij", (3, 4), (4,)),
    ("ij,kl->", (2, 3), (4, 5)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ij,jk,ki->", (2, 3), (3, 4), (4, 2)),
    ("a,b,c,a->cb", (2,), (3,), (4,), (2,)),
    ("...ij->...ji", (2, 5, 3, 4)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (6, 4, 5)),
    ("i...,i...->...", (4, 2, 3), (4, 2, 3)),
    ("...,...", (2, 3), (3,)),
    ("i...j->j...i", (2, 3, 4)),
    ("... i , i", (2, 3), (3,)),
    ("...i->i", (2, 3)),
    ("ij,ij->ij", (1, 4), (3, 1)),
    ("ij,jk->ik", (3, 1), (4, 5)),
    (",ij->ij", (), (2, 3)),
    ("ij,jk->ik", (3, 0), (0, 5)),
    ("bij,bjk->bik", (0, 3, 4), (0, 4, 5)),
    ("aB,Bc->ac", (2, 3), (3, 2)),
]


def build(equation: str, *types: TensorType) -> Graph:
    values = tuple(Value(type) for type in types)
    b = Builder()
    output = einsum(b, equation, *values)
    return Graph("einsum", values, tuple(b.nodes), (output,))


def doubles(*shapes: tuple[int, ...]) -> list[TensorType]:
    return [TensorType(shape, dtypes.float64) for shape in shapes]


@pytest.mark.parametrize("case", EQUATIONS, ids=lambda case: case[0])
def test_einsum_equals_numpy(case: tuple[str, *tuple[tuple[int, ...], ...]]) -> None:
    equation, *shapes = case
    arrays = [real(shape, dtype=dtypes.float64, seed=i) for i, shape in enumerate(shapes)]
    ((found,), _) = evaluate(build(equation, *doubles(*shapes)), arrays)
    numpy_equation = equation
    if equation == "...i->i":
        numpy_equation = "ai->i"  # NumPy does not sum over dimensions that `...` stands for
    np.testing.assert_allclose(found, np.einsum(numpy_equation, *arrays), rtol=1e-12, atol=1e-12)


def test_a_product_is_one_matmul_and_nothing_else() -> None:
    graph = build("ij,jk->ik", *doubles((3, 4), (4, 5)))
    assert [node.op for node in graph.nodes] == ["matmul"]


@pytest.mark.parametrize(
    ("equation", "shapes", "error", "words"),
    [
        ("ij,jk->ik", [(2, 3), (4, 5)], ShapeError, "'j' of 'ij,jk->ik' is 3 and 4"),
        ("ij->ij", [(2, 3), (4, 5)], ArgumentError, "names 1 operands, 2 are given"),
        ("ij->ik", [(2, 3)], ArgumentError, "'k' of the output"),
        ("ij->ii", [(2, 3)], ArgumentError, "'i' is twice"),
        ("ijk", [(2, 3)], ShapeError, "names 3 dimensions, the operand has 2"),
        ("i", [(2, 3)], ShapeError, "names 1 dimensions"),
        ("i1", [(2, 3)], ArgumentError, "not made of letters"),
        ("ii", [(2, 3)], ShapeError, "'i'"),
        ("i...j...", [(2, 3)], ArgumentError, "not made of letters"),
    ],
)
def test_equations_that_do_not_fit(
    equation: str, shapes: list[tuple[int, ...]], error: type[GraphcError], words: str
) -> None:
    with pytest.raises(error, match=r"^einsum: ") as caught:
        build(equation, *doubles(*shapes))
    assert words in str(caught.value)


def test_operands_have_one_type() -> None:
    types = TensorType((2,), dtypes.float32), TensorType((2,), dtypes.float64)
    with pytest.raises(DTypeError, match="float32, float64"):
        build("i,i", *types)
