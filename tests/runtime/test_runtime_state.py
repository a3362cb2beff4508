"""Slots and State: memory, order of dimensions, locks, loading."""

import copy

import numpy as np
import pytest

from graphc.errors import StateError
from graphc.runtime.state import ALIGNMENT_BYTES, Slot, State

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_slots_are_aligned_copies():
    slot = Slot(X)
    assert slot.array is not X and np.array_equal(slot.array, X)
    assert slot.lock() % ALIGNMENT_BYTES == 0
    assert str(slot.type) == "f32[2,3,4]"
    assert Slot(np.zeros((0, 3))).shape == (0, 3)
    assert Slot(np.int64(7)).array == 7


def test_order_changes_memory_and_not_meaning():
    slot = Slot(X)
    slot.set_order((0, 2, 1))
    assert slot.base.shape == (2, 4, 3) and slot.base.flags.c_contiguous
    assert slot.shape == (2, 3, 4) and np.array_equal(slot.array, X)
    slot.set_order((2, 0, 1))
    assert np.array_equal(slot.base, X.transpose(2, 0, 1))
    slot.write(X + 1)
    assert np.array_equal(slot.base, X.transpose(2, 0, 1) + 1)
    with pytest.raises(StateError, match="no permutation"):
        slot.set_order((0, 1))


def test_a_taken_address_stays():
    slot = Slot(X)
    address = slot.lock()
    slot.write(X * 2)
    assert slot.lock() == address == slot.base.ctypes.data
    slot.set_order((0, 1, 2))
    with pytest.raises(StateError, match="a program holds its address"):
        slot.set_order((1, 0, 2))


def test_write_checks_shape_and_kind():
    slot = Slot(np.zeros(3, np.int64))
    slot.write(np.int32([1, 2, 3]))
    with pytest.raises(StateError, match=r"shape \(2,\)"):
        slot.write([1, 2])
    with pytest.raises(StateError, match="float64"):
        slot.write([1.5, 2, 3])


def test_copies_own_their_memory():
    slot = Slot(X)
    slot.set_order((1, 0, 2))
    slot.lock()
    twin = copy.deepcopy(slot)
    twin.write(X * 0)
    assert np.array_equal(slot.array, X) and twin.order == (1, 0, 2)
    assert not twin.locked and twin.base.ctypes.data % ALIGNMENT_BYTES == 0


def test_state():
    state = State({"a": Slot(X)})
    state.add("b", np.float32([1, 2]))
    assert list(state) == ["a", "b"] and "b" in state and len(state) == 2
    assert state.nbytes == X.nbytes + 8
    state.set_order("a", (2, 1, 0))
    saved = state.state_dict()
    assert all(elements.flags.c_contiguous for elements in saved.values())
    assert np.array_equal(saved["a"], X)
    assert state.address("a") == state["a"].base.ctypes.data
    with pytest.raises(StateError, match="a: the layout is"):
        state.set_order("a", (0, 1, 2))
    with pytest.raises(StateError, match="'b' exists already"):
        state.add("b", np.zeros(2))
    with pytest.raises(StateError, match="no state tensor 'c'; there are a, b"):
        state.array("c")


def test_slots_are_shared_between_states():
    slot = Slot(X)
    first, second = State({"encoder.weight": slot}), State({"weight": slot})
    second.array("weight")[:] = 5
    assert (first.array("encoder.weight") == 5).all()


def test_load_changes_all_or_nothing():
    state = State({"a": Slot(X), "b": Slot(np.zeros(2, np.float32))})
    state.load({"a": X * 2, "b": [1, 2]})
    assert state.array("b").tolist() == [1, 2]
    with pytest.raises(StateError, match="missing: b; unexpected: c, d"):
        state.load({"a": X, "c": 1, "d": 2})
    with pytest.raises(StateError, match=r"b is int64\[3\], expected f32\[2\]"):
        state.load({"a": X, "b": [1, 2, 3]})
    assert np.array_equal(state.array("a"), X * 2)
    state.load({"b": [3, 4], "e": 1}, strict=False)
    assert state.array("b").tolist() == [3, 4]
