"""x[...] as NumPy's, and functions that take indices."""

import numpy as np
import pytest
from traced import check, normal, run_traced

import graphc
import graphc.functional as F
from graphc.errors import ArgumentError, DTypeError, IndexFault, ShapeError, TraceError

X = normal(4, 5, 6)
ROWS = np.array([[0, -1], [2, 3]])
COLUMNS = np.array([4, 1])

STATIC = [
    np.s_[0], np.s_[-1], np.s_[1:3], np.s_[:, 2], np.s_[..., 1], np.s_[1, ..., -2], np.s_[::2, 1:],
    np.s_[::-1], np.s_[3:0:-2], np.s_[:, ::-1, ::-3], np.s_[None], np.s_[:, None, 2:4, None],
    np.s_[2:2], np.s_[-3:-1], np.s_[10:], np.s_[1, 2, 3], np.s_[...], np.s_[:, 1:2, None, 3],
    np.s_[0, ::-1], np.s_[-1:-5:-1],
]  # fmt: skip


@pytest.mark.parametrize("index", STATIC, ids=str)
def test_static_indices_as_numpy(index):
    check(lambda x: x[index], X[index], X)


ARRAYS = [
    np.s_[ROWS], np.s_[:, COLUMNS], np.s_[..., COLUMNS], np.s_[ROWS, COLUMNS],
    np.s_[:, ROWS, COLUMNS], np.s_[ROWS, :, COLUMNS], np.s_[0, :, COLUMNS],
    np.s_[COLUMNS[:, None] - 4, COLUMNS],
    np.s_[[1, 2]], np.s_[None, ROWS], np.s_[1:3, COLUMNS, ::-1], np.s_[ROWS, 1],
    np.s_[np.array([True, False, True, False])], np.s_[:, 1, COLUMNS], np.s_[ROWS, None, COLUMNS],
    np.s_[X > 0], np.s_[[]],
]  # fmt: skip


@pytest.mark.parametrize("index", ARRAYS, ids=lambda index: "array")
def test_integer_arrays_as_numpy(index):
    check(lambda x: x[index], X[index], X)


def test_traced_integers_wrap_and_gather():
    i, rows, columns = np.int32(-2), ROWS, COLUMNS.astype(np.int32)
    check(lambda x, n: x[n], X[i], X, i)
    check(lambda x, r: x[r], X[rows], X, rows)
    check(lambda x, r, c: x[r, :, c], X[rows, :, columns], X, rows, columns)
    check(lambda x, r, c: x[:, r, c - 6], X[:, rows, columns - 6], X, rows, columns)
    check(lambda x, c: x[1, c], X[1, columns], X, columns)


def test_traced_indices_out_of_range_read_zero():
    found = run_traced(lambda x, i: x[i], np.float32([1, 2, 3]), np.int32([2, 3, -3, -4]))
    assert found.tolist() == [3, 0, 1, 0]
    pairs = run_traced(lambda x, i, j: x[i, j], X, np.int32([0, 0]), np.int32([-6, 5]))
    assert np.array_equal(pairs, np.zeros((2, 6), np.float32))


@pytest.mark.parametrize("index", [5, -1])
def test_computing_at_once_refuses_what_a_program_refuses(index):
    """Embedding, cross entropy, and a gather in the body of a loop."""
    table, numbers = np.ones((5, 2), np.float32), np.array([0, index], np.int32)
    calls = [
        lambda: F.embedding(numbers, table),
        lambda: F.cross_entropy(np.zeros((2, 5), np.float32), numbers),
        lambda: F.scan(lambda c, n: (c, F.embedding(n, table)), np.float32(0), numbers),
        lambda: graphc.grad(lambda t: F.sum(F.embedding(numbers, t)))(table),
    ]
    for call in calls:
        with pytest.raises(IndexFault, match=r"an index lies outside.*test_traced_indexing\.py"):
            call()


def test_take():
    check(lambda x, i: F.take(x, i, 1), X.take(COLUMNS, 1), X, COLUMNS)
    check(lambda x, i: F.take(x, i - 5), X.take(COLUMNS - 5), X, COLUMNS)
    check(lambda x: x.take([0, 1], -1), X.take([0, 1], -1), X)


def test_take_along_axis():
    order = X.argsort(1)
    check(lambda x, i: F.take_along_axis(x, i, 1), np.sort(X, 1), X, order)
    best = X.argmax(2, keepdims=True)
    check(lambda x, i: F.take_along_axis(x, i, 2), X.max(2, keepdims=True), X, best)


def test_embedding_and_its_padding():
    table, words = normal(5, 3), np.array([[0, 2], [4, 2]])
    check(F.embedding, table[words], words, table)
    gradient = graphc.grad(lambda t: F.embedding(words, t, padding_idx=2).sum())(table)
    assert gradient[:, 0].tolist() == [1, 0, 0, 0, 1]


def test_one_hot_and_scatter_add():
    classes = np.array([1, 0, 2])
    check(lambda c: F.one_hot(c, 4), np.eye(4, dtype=np.int64)[classes], classes)
    expected = np.float32([1, 2, 0])
    check(lambda i: F.scatter_add(F.zeros(3), i, 1), expected, np.array([0, 1, -2]))


def test_dynamic_slices():
    check(lambda x, n: F.dynamic_slice(x, (n, 1, 2), (2, 3, 1)), X[1:3, 1:4, 2:3], X, np.int64(1))
    expected = X.copy()
    expected[2:3, 1:3, :2] = 7
    block = np.full((1, 2, 2), 7, np.float32)
    check(
        lambda x, u, n: F.dynamic_update_slice(x, u, (n, n - 1, 0)),
        expected, X, block, np.int32(2),
    )  # fmt: skip


def test_a_loop_over_a_tensor_unrolls():
    check(lambda x: sum(row for row in x), X.sum(0), X)


@pytest.mark.parametrize(
    "function, error, text",
    [
        (lambda x, i: x[4], IndexFault, "index 4 is out of range for 4 elements"),
        (lambda x, i: x[0, 0, 0, 0], IndexFault, "4 indices for"),
        (lambda x, i: x[[9]], IndexFault, "index 9"),
        (lambda x, i: x[..., ...], ArgumentError, "more than one"),
        (lambda x, i: x[::0], ArgumentError, "step 0"),
        (lambda x, i: x[i > 0], TraceError, "F.where"),
        (lambda x, i: x[:i], TraceError, "F.dynamic_slice"),
        (lambda x, i: x["a"], DTypeError, "type str"),
        (lambda x, i: x[x], DTypeError, "expected integers"),
        (lambda x, i: F.take(x, [[7]], 0), IndexFault, "index 7"),
        (lambda x, i: F.one_hot(i), ArgumentError, "num_classes"),
        (lambda x, i: F.embedding(i, x), ShapeError, "embedding: weight"),
        (lambda x, i: F.dynamic_slice(x, (i, i), (1, 1, 1)), ShapeError, "3 starts"),
    ],
)
def test_errors_name_what_was_given_and_the_line(function, error, text):
    with pytest.raises(error, match=text) as raised:
        graphc.trace(function, graphc.Spec((4, 5, 6)), graphc.Spec((), "int32"))
    assert "(test_traced_indexing.py:" in str(raised.value)
