"""Kernels that random graphs led to and that once went wrong: tiled and compiled, bit for bit."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from graphc import target
from graphc.backends.llvm.code import emit
from graphc.backends.llvm.engine import Library, module_text, object_code
from graphc.loops import Kernel
from graphc.loops.evaluate import run_kernel
from graphc.loops.parse import parse_kernel

RUNNABLE = [
    t
    for t in (target.X86_64_V3, target.X86_64_V4)
    if target.host().is_x86 and t.vector_bytes <= target.host().vector_bytes
]
MARGIN = 64

KERNELS = {
    "no loop around a local buffer": """
kernel @cumsum(out b0: f32[1,1], in b1: f32[1,1]) {
  local inout total3: register f32[]
  store total3[] = f32(0.0)
  store total3[] = total3[] + b1[0, 0]
  store b0[0, 0] = total3[]
}""",
    "a fold of which no element is inside": """
kernel @weights(in b0: f32[1,1,17,1], in b1: f32[1,1,8,2], out b2: f32[1,1,2,1]) {
  parallel i2 in 0..2 {
    let v4 = reduce dot [oh2 < 8, ow3 < 2] lanes=1 (b0[0, 0, i2 * 2 + oh2 * 2, ow3 * 2 + -1], b1[0, 0, oh2, ow3] where 0 <= ow3 * 2 + -1 and ow3 * 2 + -1 < 1)
    store b2[0, 0, i2, 0] = v4
  }
}""",  # noqa: E501  # kernel text
    "a last tile of one column": """
kernel @matmul(in b0: f32[5,129], in b1: f32[129,33], out b2: f32[5,33]) {
  parallel i0 in 0..5 {
    parallel i1 in 0..33 {
      let v2 = reduce dot [k1 < 129] lanes=1 (b0[i0, k1], b1[k1, i1])
      store b2[i0, i1] = v2
    }
  }
}""",
    "a last vector of one small element": """
kernel @pooled(in b0: f64[1,1,17,3], out b1: f64[1,1,17,1], out b2: u8[1,1,17,1]) {
  parallel i2 in 0..17 {
    let v3 = reduce argmax [kw2 < 3] lanes=1 (b0[0, 0, i2, kw2], kw2).0
    let v4 = cast<u8>(reduce argmax [kw2 < 3] lanes=1 (b0[0, 0, i2, kw2], kw2).1)
    store b1[0, 0, i2, 0] = v3
    store b2[0, 0, i2, 0] = v4
  }
}""",
}


def run_between_margins(
    kernel: Kernel, arrays: dict[str, np.ndarray], where: target.Target
) -> dict[str, np.ndarray]:
    """The buffers after a run; what lies on both sides of each must stay as it is."""
    text = emit(kernel, "k", where)
    library = Library([object_code(module_text([text]), where)], where)
    pointers = [ctypes.c_void_p] * (len(kernel.buffers) + 1)
    types = (ctypes.c_int64, ctypes.c_int64, *pointers)
    rooms = [np.full(arrays[b.name].nbytes + 2 * MARGIN, 0x5A, np.uint8) for b in kernel.buffers]
    inside = [room[MARGIN : len(room) - MARGIN] for room in rooms]
    for buffer, part in zip(kernel.buffers, inside, strict=True):
        part[:] = arrays[buffer.name].reshape(-1).view(np.uint8)
    scratch = np.zeros(text.scratch_bytes + 64, np.uint8)
    ctypes.CFUNCTYPE(None, *types)(library.address("k"))(
        0, 1, *(part.ctypes.data for part in inside), scratch.ctypes.data
    )
    for room in rooms:
        assert (room[:MARGIN] == 0x5A).all()
        assert (room[len(room) - MARGIN :] == 0x5A).all()
    return {
        buffer.name: part.view(buffer.dtype.numpy).reshape(buffer.shape)
        for buffer, part in zip(kernel.buffers, inside, strict=True)
    }


@pytest.mark.parametrize("where", RUNNABLE, ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_kernel_equals_its_evaluation_and_stays_inside(name: str, where: target.Target) -> None:
    kernel = parse_kernel(KERNELS[name])
    generator = np.random.default_rng(0)
    arrays = {b.name: generator.normal(size=b.shape).astype(b.dtype.numpy) for b in kernel.buffers}
    expected = {name: array.copy() for name, array in arrays.items()}
    run_kernel(kernel, expected)
    found = run_between_margins(kernel, arrays, where)
    for buffer in kernel.buffers:
        np.testing.assert_array_equal(found[buffer.name], expected[buffer.name])
