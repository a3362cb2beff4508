"""Steps and programs used from several threads and from forked processes."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.runtime.workspace import Workspace

BATCH = (
    np.random.default_rng(0).normal(size=(512, 64)).astype(np.float32),
    np.arange(512, dtype=np.int32) % 10,
)
SECONDS = 60  # until a process counts as hanging


def make_step() -> graphc.TrainStep:
    return graphc.TrainStep(
        nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 10)),
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.Adam(1e-2),
        graphc.Spec((512, 64)),
        graphc.Spec((512,), "int32"),
        threads=2,
    )


def elements(step: graphc.TrainStep) -> bytes:
    return b"".join(slot.array.tobytes() for _, slot in sorted(step.state.items()))


def in_threads(work: Callable[[], object], count: int) -> None:
    workers = [threading.Thread(target=work) for _ in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def in_a_fork(work: Callable[[], bytes]) -> bytes:
    """What `work` gives in a forked process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, work())
        finally:
            os._exit(0)
    os.close(writer)
    ready, _, _ = select.select([reader], [], [], SECONDS)
    found = os.read(reader, 1000) if ready else b""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    return found


def test_a_step_first_used_in_several_threads_is_made_once() -> None:
    expected, found = make_step(), make_step()
    for _ in range(30):
        expected(*BATCH)
    start = threading.Barrier(3)

    def train() -> None:
        start.wait()
        for _ in range(10):
            found(*BATCH)

    in_threads(train, 3)
    assert elements(found) == elements(expected)


def test_programs_of_one_model_may_be_made_at_once() -> None:
    model = nn.Linear(64, 128)
    results = []

    def compile_and_run() -> None:
        program = graphc.compile(model, graphc.Spec((512, 64)), threads=2)
        results.append(program(BATCH[0]))

    in_threads(compile_and_run, 4)
    assert len(results) == 4 and all(np.array_equal(result, results[0]) for result in results)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_goes_on_with_the_step() -> None:
    step = make_step()
    step(*BATCH)
    found = in_a_fork(lambda: b"".join(np.asarray(step(*BATCH)).tobytes() for _ in range(5)))
    assert found == b"".join(np.asarray(step(*BATCH)).tobytes() for _ in range(5))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_of_a_fork_may_drop_the_step() -> None:
    steps = [make_step()]
    steps[0](*BATCH)

    def drop() -> bytes:
        steps.clear()
        return b"dropped"

    assert in_a_fork(lambda: in_a_fork(drop)) == b"dropped"
    assert np.isfinite(float(steps[0](*BATCH)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_waits_for_the_step_that_runs() -> None:
    """What it copies is then whole, and no lock stays held for ever in the copy."""
    workspace = Workspace()
    events: list[str] = []

    def hold() -> None:
        with workspace.lock:
            held.set()
            free.wait(0.2)
            events.append("run")

    held, free = threading.Event(), threading.Event()
    worker = threading.Thread(target=hold)
    worker.start()
    held.wait()

    def take() -> bytes:
        with workspace.lock:
            return ",".join(events).encode()

    assert in_a_fork(take) == b"run"
    worker.join()
