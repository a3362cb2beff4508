"""Every construct of the loop language, compiled, against its naive evaluation: bit for bit."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from graphc import target
from graphc.backends.llvm.engine import Library, module_text, object_code
from graphc.backends.llvm.program import _aligned
from graphc.backends.llvm.statements import emit_kernel
from graphc.loops.evaluate import run_kernel
from tests.kernel_samples import SAMPLES


def run_compiled(kernel, arrays, where, naive=None):
    """What a kernel makes of the arrays, which lie as the buffers of the naive one say."""
    buffers = (naive or kernel).buffers
    text = emit_kernel(kernel, "k", where)
    library = Library([object_code(module_text([text]), where)], where)
    function = ctypes.CFUNCTYPE(
        None, ctypes.c_int64, ctypes.c_int64, *[ctypes.c_void_p] * (len(buffers) + 1)
    )(library.address("k"))
    scratch, address = _aligned(text.scratch_bytes + 64)
    scratch[:] = 255  # undefined until stored; what lies behind it stays as it is
    flat = []
    for buffer in buffers:
        logical = np.asarray(arrays[buffer.name]).reshape(buffer.shape)
        order = buffer.order or tuple(range(len(buffer.shape)))
        flat.append(np.array(logical.transpose(order), order="C"))
    for thread in range(2):
        function(thread, 2, *[array.ctypes.data for array in flat], address)
    assert scratch[text.scratch_bytes :].tolist() == [255] * 64
    results = {}
    for buffer, array in zip(buffers, flat, strict=True):
        order = buffer.order or tuple(range(len(buffer.shape)))
        results[buffer.name] = array.transpose(np.argsort(order))
    return results


WIDTHS = [
    replace(target.host(), vector_bytes=bytes_)
    for bytes_ in (16, 32, 64)
    if bytes_ <= target.host().vector_bytes
]

# Block and thread loops have no meaning on a CPU.
FOR_CPU = {name: make for name, make in SAMPLES.items() if name != "tiled_product"}


@pytest.mark.parametrize("where", WIDTHS, ids=lambda t: f"{t.vector_bytes}B")
@pytest.mark.parametrize("make", FOR_CPU.values(), ids=FOR_CPU)
def test_compiled_kernel_equals_its_evaluation(make, where):
    kernel, arrays = make()
    expected = {name: np.array(array) for name, array in arrays.items()}
    run_kernel(kernel, expected)
    found = run_compiled(kernel, arrays, where)
    for buffer in kernel.buffers:
        want = np.asarray(expected[buffer.name]).reshape(buffer.shape)
        np.testing.assert_array_equal(found[buffer.name], want, err_msg=buffer.name)
