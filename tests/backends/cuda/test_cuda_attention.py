"""Attention's nests as CUDA C, compiled by g++ and run thread by thread: the naive nest's bits."""

from __future__ import annotations

import shutil
from pathlib import Path

import cuda_on_cpu
import numpy as np
import pytest

from graphc.backends.cuda.source import emit
from graphc.loops.evaluate import run_kernel
from tests.backends.llvm.test_attention_kernels import (
    CASES,
    kernel_and_arrays,
    sample,
    with_gradient,
)


@pytest.mark.parametrize("case", ["tails, causal", "padding", "dropout"])
def test_emulated_kernels_equal_the_naive_nest(case: str, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    forward = sample(*CASES[case], np.float32)
    chosen = {"attention": forward, "attention_grad": with_gradient(forward)}
    made = {op: kernel_and_arrays(op, given) for op, given in chosen.items()}
    sources = {op: emit(kernel) for op, (kernel, _) in made.items()}
    library = cuda_on_cpu.build(sources, tmp_path)
    for op, (kernel, arrays) in made.items():
        memory = {name: array.copy() for name, array in arrays.items()}
        cuda_on_cpu.run(library, sources[op], kernel, memory, 2, 2)
        run_kernel(kernel, arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(memory[name], array)
