"""The NumPy evaluation of kernels and schedules, against plain Python loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kernel_samples import SAMPLES, floats, loop, out, product, sample, tiled_product
from numpy.typing import NDArray
from random_kernels import random_kernel
from scalar_oracle import run as run_scalars

from graphc.dtypes import bool_, float32, int64
from graphc.errors import VerifyError
from graphc.loops import (
    Argument,
    Axis,
    Branch,
    Buffer,
    Kernel,
    Launch,
    Literal,
    Local,
    Repeat,
    Schedule,
    Storage,
    Store,
    add,
    call,
    const,
    index,
    load,
    mul,
    reduce,
    variable,
)
from graphc.loops.evaluate import evaluate_expr, kernels, run_kernel, run_schedule

Array = NDArray[Any]
i, j, k = (variable(name) for name in "ijk")


def copies(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("target_elements", [1, 40, 1 << 18])
def test_kernels_equal_plain_loops(
    name: str, target_elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the work is cut into arrays."""
    monkeypatch.setattr(kernels, "TARGET_ELEMENTS", target_elements)
    kernel, arrays = SAMPLES[name]()
    expected = copies(arrays)
    with np.errstate(all="ignore"):
        run_scalars(kernel, expected)
    run_kernel(kernel, arrays)
    for buffer in kernel.buffers:
        got, wanted = arrays[buffer.name], expected[buffer.name]
        np.testing.assert_array_equal(got, wanted)
        if buffer.dtype.is_float:
            numbers = ~np.isnan(wanted)
            np.testing.assert_array_equal(np.signbit(got)[numbers], np.signbit(wanted)[numbers])


@pytest.mark.parametrize("seed", range(60))
def test_random_kernels_equal_plain_loops(seed: int) -> None:
    kernel, arrays = random_kernel(seed)
    expected = copies(arrays)
    with np.errstate(all="ignore"):
        run_scalars(kernel, expected)
    run_kernel(kernel, arrays)
    for buffer in kernel.buffers:
        np.testing.assert_array_equal(arrays[buffer.name], expected[buffer.name])


def test_tiles_do_not_change_a_bit() -> None:
    naive, arrays = product()
    tiled, tile_arrays = tiled_product()
    run_kernel(naive, arrays)
    run_kernel(tiled, tile_arrays)
    np.testing.assert_array_equal(arrays["c"], tile_arrays["c"])


def test_a_long_sum_is_taken_in_order() -> None:
    """The whole array at once, but rounded element by element."""
    x = floats(5000) * 100
    total = np.float32(0)
    for value in x:
        total += value
    got = evaluate_expr(
        reduce("sum", [Axis("k", 5000)], load("x", (k,), float32)),
        buffers=[(Buffer("x", (5000,), float32), x)],
    )
    assert got == total and got != x.sum(dtype=np.float64).astype(np.float32)


def test_flat_arrays_are_memory_in_the_buffers_order() -> None:
    x = Buffer("x", (2, 3), float32, order=(1, 0))
    nest = loop(
        "parallel", "i", 2, loop("parallel", "j", 3, Store("y", (i, j), load("x", (i, j), float32)))
    )
    kernel = Kernel("copy", (x, out("y", (2, 3))), (nest,))
    memory, y = np.arange(6, dtype=np.float32), np.zeros(6, np.float32)
    run_kernel(kernel, {"x": memory, "y": y})
    np.testing.assert_array_equal(y, [0, 2, 4, 1, 3, 5])


def test_an_access_outside_names_the_buffer_and_the_index() -> None:
    nest = loop("parallel", "i", 4, Store("y", (i,), load("x", (add(i, 1),), float32)))
    kernel, arrays = sample("shift", {"x": floats(4)}, [out("y", (4,))], nest)
    with pytest.raises(VerifyError, match=r"kernel shift: index 4 in x, shape \(4,\)"):
        run_kernel(kernel, arrays)


def test_a_store_outside_is_an_error() -> None:
    nest = loop("parallel", "i", 4, Store("y", (mul(i, -1),), const(1, float32)))
    kernel, arrays = sample("back", {}, [out("y", (4,))], nest)
    with pytest.raises(VerifyError, match=r"index -[123] in y"):
        run_kernel(kernel, arrays)


def test_arrays_must_fit() -> None:
    kernel, arrays = product()
    with pytest.raises(VerifyError, match="no array for buffer a"):
        run_kernel(kernel, {})
    with pytest.raises(VerifyError, match="float64 given, float32 expected"):
        run_kernel(kernel, arrays | {"a": arrays["a"].astype(np.float64)})
    with pytest.raises(VerifyError, match=r"shape \(3, 3\) given, \(6, 33\) expected"):
        run_kernel(kernel, arrays | {"a": floats(3, 3)})


def test_what_nothing_stored_reads_as_nan() -> None:
    local = Buffer("t", (1,), float32, space="register")
    body = (
        Local(local),
        Store("y", (i,), load("t", (index(0),), float32)),
    )
    kernel, arrays = sample("unset", {}, [out("y", (2,))], loop("parallel", "i", 2, *body))
    run_kernel(kernel, arrays)
    assert np.isnan(arrays["y"]).all()


def doubling() -> Kernel:
    """y[i] = 2 x[i] for four elements."""
    value = call("mul", load("x", (i,), float32), const(2, float32))
    nest = loop("parallel", "i", 4, Store("y", (i,), value))
    return Kernel("doubling", (Buffer("x", (4,), float32), out("y", (4,))), (nest,))


def at(storage: str, offset: Any = 0) -> Argument:
    return Argument(storage, index(offset))


def test_a_schedule_repeats_with_moving_offsets() -> None:
    """Row n + 1 is twice row n: 3 launches on windows of one storage."""
    row = mul(variable("n"), 4)
    launch = Launch("double", "k", (at("rows", row), at("rows", add(row, 4))))
    schedule = Schedule(
        "powers",
        (Storage("rows", (4, 4), float32, "state"),),
        {"k": doubling()},
        (Repeat("n", 3, (launch,)),),
    )
    rows = np.zeros((4, 4), np.float32)
    rows[0] = [1, 2, 3, 4]
    run_schedule(schedule, {"rows": rows})
    np.testing.assert_array_equal(rows, np.outer([1, 2, 4, 8], [1, 2, 3, 4]))


@pytest.mark.parametrize("flag", [True, False])
def test_a_schedule_branches(flag: bool) -> None:
    twice = Launch("twice", "k", (at("x"), at("y")))
    again = Launch("again", "k", (at("y"), at("z")))
    once = Launch("once", "k", (at("x"), at("z")))
    schedule = Schedule(
        "branch",
        (
            Storage("flag", (), bool_, "input"),
            Storage("x", (2, 2), float32, "input", order=(1, 0)),
            Storage("y", (4,), float32, "temporary"),
            Storage("z", (2, 2), float32, "output", order=(1, 0)),
        ),
        {"k": doubling()},
        (Branch(at("flag"), (twice, again), (once,)),),
    )
    memory = {"flag": np.array(flag), "x": floats(2, 2)}
    run_schedule(schedule, memory)
    np.testing.assert_array_equal(memory["z"], memory["x"] * (4 if flag else 2))


def test_an_argument_outside_its_storage_is_an_error() -> None:
    schedule = Schedule(
        "outside",
        (Storage("x", (6,), float32, "input"),),
        {"k": doubling()},
        (Launch("double", "k", (at("x", 4), at("x"))),),
    )
    with pytest.raises(VerifyError, match="4 elements from 4 of x, which has 6"):
        run_schedule(schedule, {"x": np.zeros(6, np.float32)})


def test_literals_wrap_to_their_type() -> None:
    assert evaluate_expr(Literal(-1, int64)) == -1
    assert evaluate_expr(Literal((1 << 64) - 1, int64)) == -1
