"""Results take the memory of results that are gone, and of no others."""

from __future__ import annotations

import numpy as np

import graphc
from graphc.backends.llvm.outputs import Outputs
from graphc.dtypes import float32
from graphc.loops import Storage

LARGE = Storage("output.0", (300, 1000), float32, "output")
SMALL = Storage("output.1", (3,), float32, "output")


def address(array):
    return array.ctypes.data


def test_what_is_gone_is_used_again():
    outputs = Outputs([LARGE, SMALL])
    first, small = outputs.arrays()
    assert first.shape == (300, 1000) and small.shape == (3,) and first.dtype == np.float32
    place = address(first)
    assert place % 64 == 0
    del first
    assert address(outputs.arrays()[0]) == place


def test_what_is_held_keeps_its_memory():
    outputs = Outputs([LARGE])
    (first,) = outputs.arrays()
    first[:] = 1
    corner = first[1:3, 5:7].T
    del first
    (second,) = outputs.arrays()
    second[:] = 2
    assert (corner == 1).all()
    place = address(second)
    del second, corner
    assert address(outputs.arrays()[0]) == place


def test_results_of_several_calls_are_apart():
    program = graphc.compile(lambda x: x + 1.0, graphc.Spec((512, 512)), threads=1)
    zeros = np.zeros((512, 512), np.float32)
    results = [program(zeros + n) for n in range(3)]
    assert [float(result[5, 7]) for result in results] == [1.0, 2.0, 3.0]
    view = memoryview(results[0])
    results.clear()
    assert float(program(zeros + 9)[0, 0]) == 10.0
    assert view[3, 4] == 1.0
