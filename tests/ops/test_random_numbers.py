"""Random numbers: the published vectors, independence of shape, distributions, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphc import dtypes
from graphc.errors import ArgumentError, DTypeError, GraphcError
from graphc.ir import TensorType, Value
from graphc.ops import get, make_node
from graphc.ops.random import threefry

Array = np.ndarray[Any, Any]
KEY = np.array([1, 2], np.uint32)
MANY = 1 << 17


def draw(op: str, *operands: Array, **attrs: Any) -> Any:
    meaning = get(op).meaning
    assert meaning is not None
    return meaning(*operands, **attrs)


# Random123's kat_vectors, threefry2x32 with 20 rounds: counter, key, result.
@pytest.mark.parametrize(
    ("counter", "key", "result"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_published_vectors(
    counter: tuple[int, int], key: tuple[int, int], result: tuple[int, int]
) -> None:
    first, second = (np.full(1, word, np.uint32) for word in counter)
    words = threefry(np.array(key, np.uint32), first, second)
    assert tuple(int(word[0]) for word in words) == result


@pytest.mark.parametrize("op", ["random_uniform", "random_normal"])
def test_an_element_depends_on_its_index_alone(op: str) -> None:
    attrs = {"dtype": dtypes.float32, "stream": 5}
    flat = draw(op, KEY, shape=(24,), **attrs)
    np.testing.assert_array_equal(draw(op, KEY, shape=(2, 3, 4), **attrs).reshape(-1), flat)
    np.testing.assert_array_equal(draw(op, KEY, shape=(7,), **attrs), flat[:7])


def test_keys_and_streams_give_other_numbers() -> None:
    draws = [
        draw("random_bits", key, shape=(64,), stream=stream)
        for key in (KEY, KEY[::-1], draw("fold_in", KEY, np.array(1)))
        for stream in (0, 1, 2**30 - 1)
    ]
    words = np.concatenate(draws)
    assert len(np.unique(words)) == words.size  # a collision of 576 words has chance 4e-5


def test_folds_of_either_type_agree_and_differ_by_number() -> None:
    keys = [draw("fold_in", KEY, np.array(number)) for number in (0, 1, 2, 2**33, -1)]
    assert len({key.tobytes() for key in keys}) == 5
    np.testing.assert_array_equal(keys[2], draw("fold_in", KEY, np.array(2, np.uint32)))


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=str)
def test_uniform_numbers_fill_their_range(dtype: dtypes.DType) -> None:
    values = draw("random_uniform", KEY, shape=(MANY,), dtype=dtype, stream=0)
    assert values.dtype == dtype.numpy and values.min() >= 0 and values.max() < 1
    # Kolmogorov and Smirnov: the chance of a distance above 1.95 / sqrt(n) is 0.001.
    distance = np.abs(np.sort(values) - (np.arange(MANY) + 0.5) / MANY).max()
    assert distance < 1.95 / np.sqrt(MANY)
    neighbours = np.corrcoef(values[:-1], values[1:])[0, 1]
    assert abs(neighbours) < 4 / np.sqrt(MANY)


@pytest.mark.parametrize("dtype", [dtypes.float32, dtypes.float64], ids=str)
def test_normal_numbers_have_the_moments_of_the_normal_distribution(dtype: dtypes.DType) -> None:
    values = draw("random_normal", KEY, shape=(MANY,), dtype=dtype, stream=0).astype(np.float64)
    # Standard errors of the first four moments, in units of 1 / sqrt(n).
    errors = [1, np.sqrt(2), np.sqrt(15), np.sqrt(96)]
    for power, expected, error in zip(range(1, 5), (0, 1, 0, 3), errors, strict=True):
        assert abs(np.mean(values**power) - expected) < 4 * error / np.sqrt(MANY)
    within = np.mean(np.abs(values) < 1)
    assert abs(within - 0.6826894921) < 4 * 0.47 / np.sqrt(MANY)
    assert np.isfinite(values).all()


@pytest.mark.parametrize(
    ("op", "operand", "attrs", "error", "words"),
    [
        ("random_bits", (3,), {"shape": (2,), "stream": 0}, DTypeError, "expected u32[2]"),
        ("random_bits", (2,), {"shape": (2,), "stream": -1}, ArgumentError, "stream is -1"),
        ("random_bits", (2,), {"shape": (2,), "stream": 1 << 30}, ArgumentError, "stream is"),
        (
            "random_uniform",
            (2,),
            {"shape": (2,), "stream": 0, "dtype": dtypes.int32},
            DTypeError,
            "expected float32 or float64",
        ),
    ],
)
def test_operands_that_do_not_fit(
    op: str, operand: tuple[int, ...], attrs: Any, error: type[GraphcError], words: str
) -> None:
    with pytest.raises(error, match=f"^{op}: ") as caught:
        make_node(op, [Value(TensorType(operand, dtypes.uint32))], attrs)
    assert words in str(caught.value)
