"""Memory that several programs work in."""

from __future__ import annotations

import threading

import numpy as np

import graphc.functional as F
from graphc.compiler import compile_graph
from graphc.frontends.tracing import Spec, trace
from graphc.runtime.workspace import Workspace, aligned_zeros


def test_memory_is_aligned_and_zero() -> None:
    for size in (1, 63, 1000):
        memory = aligned_zeros(size)
        assert memory.shape == (size,) and not memory.any() and memory.ctypes.data % 64 == 0
    assert aligned_zeros(0).shape == (0,)


def test_a_smaller_arena_is_the_same_and_a_larger_one_is_new() -> None:
    workspace = Workspace()
    first = workspace.arena(100)
    assert workspace.arena(40) is first
    larger = workspace.arena(200)
    assert larger.nbytes == 200 and workspace.arena(100) is larger


def test_programs_that_share_it_take_turns() -> None:
    """Called from two threads at once, each finds what it would find alone."""
    workspace = Workspace()
    programs = [
        compile_graph(
            trace(lambda x: F.softmax(x @ x.transpose((1, 0)), -1) @ x, Spec((size, 40))),
            threads=1,
            workspace=workspace,
        )
        for size in (60, 30)
    ]
    inputs = [np.random.default_rng(n).normal(size=(n, 40)).astype(np.float32) for n in (60, 30)]
    expected = [program.run([x])[0] for program, x in zip(programs, inputs, strict=True)]
    found: list[bool] = []

    def call(number: int) -> None:
        for _ in range(200):
            (result,) = programs[number].run([inputs[number]])
            found.append(np.array_equal(result, expected[number]))

    workers = [threading.Thread(target=call, args=(number,)) for number in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 400 and all(found)
