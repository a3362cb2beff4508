"""Batches of examples of several lengths: which bucket, what padding, what order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from graphc import Spec, data
from graphc.errors import ArgumentError, DataError, StateError


def words(*lengths: int) -> data.SequenceDataset:
    """Example i holds i + 1, `lengths[i]` times."""
    return data.sequences([np.full(n, i + 1, np.int32) for i, n in enumerate(lengths)])


def rows_of(batches: Any) -> dict[int, list[int]]:
    """{example: its padded row}, each found once."""
    found: dict[int, list[int]] = {}
    for rows, lengths in batches:
        for row, length in zip(rows.tolist(), lengths, strict=True):
            assert row[0] not in found and row[:length] == [row[0]] * length
            found[row[0]] = row
    return found


def test_an_example_goes_to_the_first_bucket_it_fits() -> None:
    loader = data.BucketLoader(words(2, 5, 3, 4, 1, 5), 2, [3, 5], shuffle=False)
    assert [rows.shape for rows, _ in loader] == [(2, 3), (2, 5), (2, 5)]
    rows = rows_of(loader.in_order())
    assert rows[1] == [1, 1, 0] and rows[2] == [2] * 5
    assert loader.counts == (3, 3)
    assert rows[5] == [5, 0, 0, 0, 0], "what is left of a bucket goes into the next one"


@given(
    some.lists(some.integers(1, 12), min_size=1, max_size=40),
    some.integers(1, 5),
    some.integers(0, 3),
)
def test_every_example_comes_once(lengths: list[int], size: int, seed: int) -> None:
    loader = data.BucketLoader(words(*lengths), size, [4, 9, 12], seed=seed, drop_last=False)
    batches = list(loader)
    assert len(batches) == len(loader) == -(-len(lengths) // size)
    assert [len(rows) for rows, _ in batches[:-1]] == [size] * (len(batches) - 1)
    assert len(rows_of(batches)) == len(lengths)
    for rows, counts in batches:
        assert rows.shape[1] == min(b for b in (4, 9, 12) if b >= counts.max())
    order = [number for numbers, _ in loader.indexed() for number in numbers]
    assert sorted(order) == list(range(len(lengths)))


def test_several_fields_have_lengths_of_their_own() -> None:
    x = [np.ones((n, 2), np.float32) for n in (3, 7, 4)]
    y = [np.full(n, 1) for n in (1, 2, 5)]
    z = [np.float32(n) for n in range(3)]
    loader = data.BucketLoader(
        data.sequences(x, y, z), 1, [(4, 2, None), (8, 6, None)], shuffle=False, padding=(0, -9, 0)
    )
    assert loader.specs == (
        (Spec((1, 4, 2)), Spec(1, "i32"), Spec((1, 2), "i64"), Spec(1, "i32"), Spec(1)),
        (Spec((1, 8, 2)), Spec(1, "i32"), Spec((1, 6), "i64"), Spec(1, "i32"), Spec(1)),
    )
    first, second, third = loader
    assert [part.shape for part in first] == [(1, 4, 2), (1,), (1, 2), (1,), (1,)]
    assert first[2].tolist() == [[1, -9]] and first[0][0, 3].tolist() == [0, 0]
    assert second[0].shape == third[0].shape == (1, 8, 2)
    assert third[2].tolist() == [[1] * 5 + [-9]] and third[4].tolist() == [2]


def test_lengths_are_given_of_the_fields_that_are_named() -> None:
    pairs = data.sequences([[1, 2], [3]], [[1], [2]])
    shown = {
        choice: [part.tolist() for part in next(iter(loader))]
        for choice in (False, (1,))
        for loader in [data.BucketLoader(pairs, 2, [(2, 1)], shuffle=False, lengths=choice)]
    }
    assert shown[False] == [[[1, 2], [3, 0]], [[1], [2]]]
    assert shown[1,] == [[[1, 2], [3, 0]], [[1], [2]], [1, 1]]


def epoch(loader: data.BucketLoader) -> list[list[int]]:
    return [batch[0][:, 0].tolist() for batch in loader]


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    lengths = np.random.default_rng(0).integers(1, 10, 60).tolist()
    first, second = (data.BucketLoader(words(*lengths), 4, [4, 10], seed=3) for _ in range(2))
    epochs = [epoch(first) for _ in range(3)]
    assert epochs[0] != epochs[1]
    second.load_state_dict({**second.state_dict(), "epoch": 1, "position": 5})
    assert epoch(second) == epochs[1][5:]
    assert epoch(second) == epochs[2]
    sizes = [batch[0].shape[1] for batch in first]
    assert sizes != sorted(sizes), "small and large batches alternate"


def test_going_on_with_other_buckets_is_refused() -> None:
    state = data.BucketLoader(words(2, 3), 1, [3]).state_dict()
    with pytest.raises(StateError, match="buckets"):
        data.BucketLoader(words(2, 3), 1, [2, 3]).load_state_dict(state)


def test_transforms_work_on_padded_batches_and_depend_on_the_example() -> None:
    def noisy(x: Any, length: Any, generator: np.random.Generator) -> Any:
        return (x * 1000 + generator.integers(1000)).astype(np.int64), length

    loader = data.BucketLoader(words(1, 4, 2, 3), 2, [2, 4], transform=noisy, seed=1)
    assert loader.specs[0] == (Spec((2, 2), "i64"), Spec(2, "i32"))
    drawn = {int(row[0]) // 1000: int(row[0]) % 1000 for rows, _ in loader for row in rows}
    alone = data.BucketLoader(words(1, 4, 2, 3), 1, [4], transform=noisy, seed=1)
    assert drawn == {int(row[0]) // 1000: int(row[0]) % 1000 for rows, _ in alone for row in rows}


def test_too_long_examples_are_refused_or_left_out() -> None:
    with pytest.raises(DataError, match=r"2 of 3 .* \(4,\); the first is example 1, .* \(6,\)"):
        data.BucketLoader(words(3, 6, 5), 1, [2, 4])
    loader = data.BucketLoader(words(3, 6, 5), 1, [2, 4], too_long="drop")
    assert epoch(loader) == [[1]] and len(loader) == 1


@pytest.mark.parametrize(
    ("buckets", "text"),
    [
        ([], r"buckets is \[\]; expected a list of sizes"),
        (5, "buckets is 5; expected a list of sizes"),
        ([4, 3], r"bucket \(3,\) comes after \(4,\)"),
        ([3, 3], "expected each to be larger"),
        ([(3, 4)], "2 entries, but an example has 1 fields"),
        ([None], "pads no field"),
        ([0], "no length of 1 or more"),
    ],
)
def test_what_is_no_list_of_buckets_is_an_error(buckets: Any, text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        data.BucketLoader(words(1, 2), 1, buckets)


def test_examples_of_another_form_are_named() -> None:
    loader = data.BucketLoader([np.zeros((2, 3)), np.zeros((2, 4))], 2, [2], shuffle=False)
    with pytest.raises(DataError, match=r"example 1 is float64\[T,4\]; example 0 is float64\[T,3"):
        next(iter(loader))
    with pytest.raises(DataError, match="example 1 has 2 fields"):
        data.BucketLoader([(np.zeros(2),), (np.zeros(2), 1)], 2, [2])
    with pytest.raises(ArgumentError, match="fields of"):
        data.sequences([[1]], [[1], [2]])
