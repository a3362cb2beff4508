"""The peak that is known before anything runs is what a program then takes, to the byte."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import optim
from graphc.backends.llvm.program import NativeProgram
from graphc.compiler import memory_of
from graphc.frontends.compile import pipeline
from graphc.models.registry import MODELS
from graphc.runtime.state import ALIGNMENT_BYTES


def attention_step(threads: int) -> graphc.TrainStep:
    """Attention keeps a block of scores in each thread's scratch."""

    class Heads(graphc.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.project = graphc.nn.Linear(16, 48)

        def forward(self, x: Any) -> Any:
            q, k, v = F.split(self.project(x), 3, axis=-1)
            return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    return graphc.TrainStep(
        Heads(),
        lambda model, x: (model(x) ** 2).mean(),
        optim.Adam(1e-3),
        graphc.Spec((2, 4, 70, 16)),
        threads=threads,
    )


def ready_step(name: str, threads: int) -> graphc.TrainStep:
    step: graphc.TrainStep = MODELS[name].make()[0]
    step.threads = threads
    return step


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", ["attention", "mlp", "cifar-cnn"])
def test_the_peak_is_what_is_allocated(name: str, threads: int) -> None:
    step = attention_step(threads) if name == "attention" else ready_step(name, threads)
    expected = memory_of(step.graph, threads=threads, passes=pipeline(True, None))
    tracemalloc.start()
    program = step.program  # from the cache: what passes take does not blur the count
    inputs = [np.zeros(value.shape, value.dtype.numpy) for value in step.graph.inputs]
    outputs = program._executable.run(inputs)
    taken = sum(
        trace.size
        for trace in tracemalloc.take_snapshot().traces
        if trace.domain == np.lib.tracemalloc_domain
    )
    tracemalloc.stop()

    executable: Any = program._executable
    assert isinstance(executable, NativeProgram)
    state = [slot.base for slot in step.state.values()]
    arrays = [*inputs, *outputs, *state, *executable.compiled.constants.values()]
    total = sum(array.nbytes for array in arrays) + executable.working_bytes
    assert program.memory.peak_bytes == expected.peak_bytes == total
    # Beside it are only the table of addresses and what aligns each block of memory.
    table_bytes = 8 * len(program.schedule.storages)
    assert total <= taken <= total + table_bytes + 4096 + ALIGNMENT_BYTES * len(arrays)
    if name == "attention":
        assert program.memory.scratch_bytes > 0
        assert executable._scratch.nbytes == threads * program.memory.scratch_bytes


def test_scratch_is_that_of_the_kernel_that_needs_most() -> None:
    one, many = attention_step(1).program.memory, attention_step(4).program.memory
    assert one.scratch_bytes == many.scratch_bytes
    assert many.peak_bytes - one.peak_bytes == 3 * one.scratch_bytes
    assert one.scratch_bytes % ALIGNMENT_BYTES == 0
