"""Functions that move elements, reductions and sorting, against NumPy."""

import numpy as np
import pytest
from traced import check, normal

import graphc
import graphc.functional as F
from graphc.errors import ArgumentError, ShapeError

X = normal(2, 3, 4)

MOVES = {
    "reshape": (lambda x: F.reshape(x, (4, -1)), lambda x: x.reshape(4, -1)),
    "method reshape": (lambda x: x.reshape(6, 4), lambda x: x.reshape(6, 4)),
    "ravel": (F.ravel, np.ravel),
    "transpose": (F.transpose, np.transpose),
    "transpose axes": (lambda x: x.transpose(2, 0, 1), lambda x: x.transpose(2, 0, 1)),
    "T": (lambda x: x.T, lambda x: x.T),
    "swapaxes": (lambda x: F.swapaxes(x, 0, -1), lambda x: np.swapaxes(x, 0, -1)),
    "moveaxis": (lambda x: F.moveaxis(x, (0, 1), (-1, 0)), lambda x: x.transpose(1, 2, 0)),
    "expand_dims": (lambda x: F.expand_dims(x, (0, -1)), lambda x: np.expand_dims(x, (0, -1))),
    "squeeze": (lambda x: F.squeeze(x[:1], 0), lambda x: np.squeeze(x[:1], 0)),
    "broadcast_to": (lambda x: F.broadcast_to(x, (5, 2, 3, 4)), lambda x: np.stack([x] * 5)),
    "concatenate": (lambda x: F.concatenate([x, x], -1), lambda x: np.concatenate([x, x], -1)),
    "concatenate flat": (lambda x: F.concatenate([x, x], None), lambda x: np.tile(x.ravel(), 2)),
    "stack": (lambda x: F.stack([x, -x], 1), lambda x: np.stack([x, -x], 1)),
    "split": (lambda x: F.split(x, 2, 2), lambda x: np.split(x, 2, 2)),
    "split at": (lambda x: F.split(x, [1, 3], -1), lambda x: np.split(x, [1, 3], -1)),
    "flip": (lambda x: F.flip(x, (0, 2)), lambda x: np.flip(x, (0, 2))),
    "flip all": (F.flip, np.flip),
    "roll": (lambda x: F.roll(x, -3, 2), lambda x: np.roll(x, -3, 2)),
    "repeat": (lambda x: F.repeat(x, 3, 1), lambda x: np.repeat(x, 3, 1)),
    "repeat flat": (lambda x: x.repeat(2), lambda x: x.repeat(2)),
    "tile": (lambda x: F.tile(x, (2, 1, 1, 3)), lambda x: np.tile(x, (2, 1, 1, 3))),
    "tile short": (lambda x: F.tile(x, 2), lambda x: np.tile(x, 2)),
    "tril": (lambda x: F.tril(x, 1), lambda x: np.tril(x, 1)),
    "triu": (lambda x: F.triu(x, -1), lambda x: np.triu(x, -1)),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVES)
def test_moves_as_numpy(name):
    function, reference = MOVES[name]
    check(function, reference(X), X)


REDUCTIONS = ["sum", "prod", "mean", "max", "min", "var", "std"]


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), ()])
@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_reductions_as_numpy(name, axis, keepdims):
    expected = getattr(np, name)(X, axis=axis, keepdims=keepdims)
    check(lambda x: getattr(F, name)(x, axis=axis, keepdims=keepdims), expected, X)


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_positions_as_numpy(name, axis):
    for keepdims in (False, True):
        expected = getattr(np, name)(X, axis=axis, keepdims=keepdims)
        check(lambda x, k=keepdims: getattr(F, name)(x, axis, k), expected, X)


def test_further_reductions():
    check(lambda x: F.any(x > 1, 1), (X > 1).any(1), X)
    check(lambda x: F.all(x > -1, (0, 2), True), (X > -1).all((0, 2), keepdims=True), X)
    check(lambda x: F.cumsum(x, 1), X.cumsum(1), X)
    check(F.cumsum, X.cumsum(), X)
    check(lambda x: F.logsumexp(x, (0, 1)), np.log(np.exp(X).sum((0, 1))), X)
    check(lambda x: F.count_nonzero(x > 0), np.count_nonzero(X > 0), X)
    check(lambda x: F.var(x, ddof=1), X.var(ddof=1), X)


def test_sums_of_integers_are_int64():
    small = np.full((3, 100), 200, np.uint8)
    check(lambda x: x.sum(1), np.full(3, 20000, np.int64), small)
    check(lambda x: F.sum(x > 0), np.int64(300), small)
    check(lambda x: F.mean(x), np.float32(200), small)


def test_sorting():
    check(lambda x: F.sort(x, 1), np.sort(X, 1), X)
    check(lambda x: F.sort(x, None, descending=True), -np.sort(-X, None), X)
    check(lambda x: F.argsort(x, 0), np.argsort(X, 0, kind="stable"), X)
    order = np.argsort(-X, 2, kind="stable")[..., :2]
    check(lambda x: F.topk(x, 2), (np.take_along_axis(X, order, 2), order), X)
    check(lambda x: F.topk(x, 1, 0, False)[0], X.min(0, keepdims=True), X)


def test_creation():
    check(lambda: F.arange(5), np.arange(5))
    check(lambda: F.arange(2, 9, 3), np.arange(2, 9, 3))
    check(lambda: F.arange(5, 0, -2), np.arange(5, 0, -2))
    check(lambda: F.arange(0, 1, 0.25), np.arange(0, 1, 0.25, np.float32))
    check(lambda: F.eye(3, 4, 1), np.eye(3, 4, 1, np.float32))
    check(lambda: F.full((2, 2), 3), np.full((2, 2), 3))
    check(lambda: F.ones(3), np.ones(3, np.float32))
    check(lambda x: F.zeros_like(x, "int32"), np.zeros_like(X, np.int32), X)
    check(lambda: F.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32))


def test_products():
    a, b = normal(3, 4), normal(4, 5, seed=1)
    check(lambda x, y: x @ y, a @ b, a, b)
    check(lambda x, y: F.dot(x, y), a @ b, a, b)
    check(lambda x, y: F.outer(x[0], y[0]), np.outer(a[0], b[0]), a, b)
    stacked = normal(2, 4, 3)
    check(lambda x, y: F.dot(x, y), np.dot(X, stacked), X, stacked)
    check(lambda x, y: F.tensordot(x, y, ([1], [0])), np.tensordot(a, b, ([1], [0])), a, b)
    check(lambda x, y: F.tensordot(x, y, 1), np.tensordot(a, b, 1), a, b)
    check(lambda x, y: F.einsum("ij,jk->ki", x, y), np.einsum("ij,jk->ki", a, b), a, b)
    check(lambda x: F.einsum("...ij->...", x), np.einsum("...ij->...", X), X)


@pytest.mark.parametrize(
    "function, error, text",
    [
        (lambda x: x.reshape(5, -1), ShapeError, "do not fill"),
        (lambda x: F.transpose(x, (0, 0, 1)), ArgumentError, "no permutation"),
        (lambda x: F.sum(x, 3), ArgumentError, "axis 3 of an array of 3"),
        (lambda x: F.sum(x, (0, 0)), ArgumentError, "twice"),
        (lambda x: F.squeeze(x, 0), ShapeError, "extent 1"),
        (lambda x: F.split(x, 3, 0), ShapeError, "does not divide into 3"),
        (lambda x: F.stack([x, x[0]]), ShapeError, "differ"),
        (lambda x: F.broadcast_to(x, (3, 4)), ShapeError, "does not broadcast"),
        (lambda x: F.concatenate([]), ArgumentError, "no array"),
        (lambda x: F.max(x[:0], 0), ShapeError, "no element"),
        (lambda x: x @ x, ShapeError, "4 columns"),
        (lambda x: F.topk(x, 9), ShapeError, "k is 9"),
    ],
)
def test_errors_name_what_was_given_and_the_line(function, error, text):
    with pytest.raises(error, match=text) as raised:
        graphc.trace(function, graphc.Spec((2, 3, 4)))
    assert "(test_traced_shapes.py:" in str(raised.value)
