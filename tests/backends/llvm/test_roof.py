"""The loops that measure the machine, for every target, and the room that stamps need."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from graphc import target as targets
from graphc.backends.llvm.engine import Library, object_code
from graphc.backends.llvm.profiling import record_count
from graphc.backends.llvm.roof import ACCUMULATORS, RoofLoops, levels_of, loops_text
from graphc.backends.llvm.threads import stamp_text
from graphc.dtypes import bool_, float32
from graphc.loops import Argument, Branch, Launch, Repeat, Storage, index
from graphc.target import AARCH64, X86_64_V2, X86_64_V3, X86_64_V4


@pytest.mark.parametrize("target", [X86_64_V2, X86_64_V3, X86_64_V4, AARCH64], ids=lambda t: t.name)
def test_loops_and_stamps_compile_for_every_target(target: targets.Target) -> None:
    text = loops_text(target)
    assert ("llvm.fma" in text) is target.fma
    assert object_code(text, target)[:4] == b"\x7fELF"
    assert object_code(stamp_text(target, 256), target)[:4] == b"\x7fELF"


def test_loops_compute_what_they_say() -> None:
    target = targets.host()
    library = Library([object_code(loops_text(target), target)], target)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * 4)
    memory = np.zeros(4 * 4096 + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    sums, a, b, c = (memory[start + 4096 * n : start + 4096 * (n + 1)] for n in range(4))
    places = [part.ctypes.data for part in (sums, a, b, c)]
    b[:], c[:] = np.arange(4096), 2
    kind(library.address("copy"))(1, 4096, *places)
    np.testing.assert_array_equal(a, b)
    kind(library.address("triad"))(2, 4096, *places)
    np.testing.assert_array_equal(a, b + 1)
    kind(library.address("read"))(1, 4096, *places)
    lanes = 8 * target.vector_bytes // 4
    assert sums[:lanes].sum() == a.sum()
    kind(library.address("multiply_float32"))(1, 60, *places)
    lanes = ACCUMULATORS * target.vector_bytes // 4
    np.testing.assert_array_equal(sums[:lanes], 1)  # the fixed point of x * 0.5 + 0.5


def test_rates_are_plausible_and_the_best_is_kept() -> None:
    roofs = RoofLoops(targets.host(), 2)
    roofs.sample()
    found = roofs.roofs()
    assert set(found) == {1, 2}
    for roof in found.values():
        assert 0.5 < roof.gflops["float32"] < 1e5
        assert [level.name for level in roof.levels][::2][0] == "L2"
        assert roof.levels[-1].name == "DRAM" and roof.levels[-1].fits_bytes is None
        assert all(0.1 < level.gigabytes < 1e5 for level in roof.levels)


def test_far_arrays_are_larger_than_the_caches() -> None:
    *near, far = levels_of(targets.host(), 2)
    assert all(level.fits_bytes is not None for level in near)
    assert far.total_bytes >= 192 << 20 and far.total_bytes >= 4 * max(v.total_bytes for v in near)


def test_every_record_has_room() -> None:
    flag = Argument(Storage("flag", (), bool_, "input").name, index(0))
    launch = Launch("f", "k", (Argument("x", index(0)),))
    assert float32.itemsize == 4
    assert record_count((launch,)) == 2
    assert record_count((Repeat("i", 10, (launch, launch)),)) == 41
    assert record_count((Branch(flag, (launch,), (launch, launch)),)) == 7
