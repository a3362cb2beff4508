"""The loader: order from (seed, epoch), batches, going on in the middle of an epoch."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphc import data
from graphc.errors import ArgumentError, DataError, DTypeError, ShapeError, StateError


def numbers(loader: data.Loader) -> list[list[int]]:
    return [batch[0].tolist() for batch in loader]


def count(size: int, batch_size: int = 4, **options: object) -> data.Loader:
    return data.Loader(data.arrays(np.arange(size)), batch_size, **options)  # type: ignore[arg-type]  # options vary


def test_in_order_keeps_the_last_smaller_batch() -> None:
    loader = count(10, shuffle=False)
    assert numbers(loader) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert len(loader) == 3


def test_shuffled_drops_it_and_gives_other_examples_every_epoch() -> None:
    loader = count(10)
    first, second = numbers(loader), numbers(loader)
    assert [len(batch) for batch in first] == [4, 4] and len(loader) == 2
    assert first != second
    assert len({number for batch in first for number in batch}) == 8


def test_drop_last_can_be_said() -> None:
    assert len(numbers(count(10, drop_last=False))) == 3
    assert len(numbers(count(10, shuffle=False, drop_last=True))) == 2


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    epochs = [numbers(loader) for loader in [count(64, seed=3)] for _ in range(3)]
    again = count(64, seed=3)
    again.epoch = 2
    assert numbers(again) == epochs[2]
    assert numbers(count(64, seed=4)) != epochs[0]


def test_the_order_is_the_same_for_ever() -> None:
    """Written down, so that no version of NumPy or graphc changes a resumed run."""
    assert numbers(count(12, batch_size=12, seed=7)) == [[8, 4, 1, 6, 3, 2, 11, 7, 5, 9, 10, 0]]


@given(st.integers(0, 11), st.integers(0, 2))
def test_goes_on_in_the_middle_of_an_epoch(position: int, epoch: int) -> None:
    whole = count(47, seed=1)
    expected = [batch for _ in range(epoch + 2) for batch in numbers(whole)]
    state = count(47, seed=1).state_dict() | {"epoch": epoch, "position": position}
    resumed = count(47, seed=1)
    resumed.load_state_dict(json.loads(json.dumps(state)))
    rest = numbers(resumed) + numbers(resumed)
    assert rest == expected[epoch * 11 + position :][: len(rest)]
    assert len(rest) == 22 - position


def test_position_counts_batches_given() -> None:
    loader = count(12)
    batches = iter(loader)
    next(batches)
    assert (loader.epoch, loader.position) == (0, 1)
    next(batches), next(batches)
    assert (loader.epoch, loader.position) == (0, 3)
    assert next(batches, None) is None
    assert (loader.epoch, loader.position) == (1, 0)


def test_an_iteration_left_early_counts_as_an_epoch() -> None:
    loader, whole = count(12), count(12)
    next(iter(loader))
    numbers(whole)
    assert numbers(loader) == numbers(whole)


def test_two_iterations_at_once_are_two_epochs() -> None:
    loader, whole = count(12), count(12)
    first, second = numbers(whole), numbers(whole)
    pairs = [(a[0].tolist(), b[0].tolist()) for a, b in zip(loader, loader, strict=True)]
    assert pairs == list(zip(first, second, strict=True))


def test_a_state_of_another_loader_is_refused() -> None:
    state = count(12, seed=1).state_dict()
    with pytest.raises(StateError, match=r"seed is 2, but the state was saved with 1"):
        count(12, seed=2).load_state_dict(state)
    with pytest.raises(StateError, match=r"examples is 13.*saved with 12"):
        count(13, seed=1).load_state_dict(state)
    with pytest.raises(StateError, match=r"position 99 is no place in epochs of 3 batches"):
        count(12, seed=1).load_state_dict(state | {"position": 99})


def test_evaluation_order_is_not_an_epoch() -> None:
    loader = count(10)
    seen = [batch[0].tolist() for batch in loader.in_order()]
    assert seen == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert (loader.epoch, loader.position) == (0, 0)


def test_batches_are_contiguous_arrays() -> None:
    images = np.zeros((8, 5, 3), np.float32).transpose(0, 2, 1)
    for x, y in data.Loader(data.arrays(images, np.arange(8)), 4):
        assert x.shape == (4, 3, 5) and x.flags.c_contiguous and x.dtype == np.float32
        assert y.shape == (4,) and y.flags.c_contiguous


def test_any_sequence_of_examples_is_a_data_set() -> None:
    pairs = [(np.full(3, number, np.float32), number) for number in range(6)]
    ((x, y),) = data.Loader(pairs, 6, shuffle=False)
    assert x.shape == (6, 3) and y.tolist() == [0, 1, 2, 3, 4, 5]
    ((alone,),) = data.Loader([1.5, 2.5], 2, shuffle=False)
    assert alone.tolist() == [1.5, 2.5]


def test_examples_of_different_shapes_are_named() -> None:
    ragged = [np.zeros(3), np.zeros(3), np.zeros(4)]
    with pytest.raises(DataError, match=r"example 2 has shapes \(4,\), but example 0 has \(3,\)"):
        list(data.Loader(ragged, 3, shuffle=False))


def test_impossible_loaders_are_refused() -> None:
    with pytest.raises(ArgumentError, match="3 examples, fewer than one batch of 4"):
        count(3)
    with pytest.raises(ArgumentError, match="batch_size is 0"):
        count(3, batch_size=0)
    with pytest.raises(ArgumentError, match="seed is -1"):
        count(8, seed=-1)
    with pytest.raises(ArgumentError, match=r"batch_size is 2\.5"):
        count(8, batch_size=2.5)  # type: ignore[arg-type]  # the error is the test
    with pytest.raises(ArgumentError, match="transform is a function"):
        count(8, transform="flip")


def test_arrays_that_fit_no_data_set_are_refused() -> None:
    with pytest.raises(ShapeError, match="array 1 has 4 examples, array 0 has 5"):
        data.arrays(np.zeros(5), np.zeros(4))
    with pytest.raises(ShapeError, match="array 0 is a single number"):
        data.arrays(3.0)
    with pytest.raises(DTypeError, match="array 1 has element type <U1"):
        data.arrays([1, 2], ["a", "b"])
    with pytest.raises(ArgumentError, match="at least one"):
        data.arrays()


def test_an_example_by_its_position() -> None:
    pairs = data.arrays(np.arange(6).reshape(3, 2), [7, 8, 9])
    assert [part.tolist() for part in pairs[-1]] == [[4, 5], 9]
    with pytest.raises(IndexError):
        pairs[3]


def test_the_door_is_lazy_and_complete() -> None:
    code = (
        "import sys, graphc.data as data\n"
        "assert 'graphc.frontends.train.data.loader' not in sys.modules\n"
        "assert 'PIL' not in sys.modules\n"
        "for name in data.__all__: getattr(data, name)\n"
        "assert 'PIL' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no 'pickle'; it has ArrayDataset"):
        data.pickle  # noqa: B018  # the error is the test


def test_batches_made_ahead_are_the_same() -> None:
    """Also in the middle of an epoch."""
    plain = [numbers(loader) for loader in [count(47, seed=1)] for _ in range(2)]
    for prefetch in (1, 3, 50):
        loader = count(47, seed=1, prefetch=prefetch)
        assert [numbers(loader) for _ in range(2)] == plain
        assert np.array_equal(next(loader.in_order())[0], np.arange(4))
    loader = count(47, seed=1, prefetch=2)
    batches = iter(loader)
    first = [next(batches)[0].tolist() for _ in range(5)]
    saved = loader.state_dict()
    assert saved["position"] == 5 and first == plain[0][:5]
    batches.close()  # type: ignore[attr-defined]  # a generator
    again = count(47, seed=1, prefetch=2)
    again.load_state_dict(saved)
    assert numbers(again) == plain[0][5:]


def test_examples_are_made_ahead_on_one_other_thread() -> None:
    made: list[tuple[int, int]] = []

    def note(number: np.ndarray) -> np.ndarray:
        made.append((int(number), threading.get_ident()))
        return number

    loader = count(32, 4, shuffle=False, transform=note, prefetch=2)
    batches = iter(loader)
    next(batches)
    batches.close()  # type: ignore[attr-defined]  # a generator; waits for what is being made
    assert 4 <= len(made) <= 12
    assert len({thread for _, thread in made} | {threading.get_ident()}) == 2


def test_an_error_ahead_comes_where_its_batch_is_due() -> None:
    def fail(number: np.ndarray) -> np.ndarray:
        if number == 9:
            raise DataError("example 9 is bad")
        return number

    batches = iter(count(16, 4, shuffle=False, transform=fail, prefetch=3))
    assert [next(batches)[0].tolist() for _ in range(2)] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(DataError, match="example 9 is bad"):
        next(batches)
    with pytest.raises(ArgumentError, match="prefetch is -1"):
        count(8, prefetch=-1)
