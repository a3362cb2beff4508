"""Between the kernels of a step there is no Python, no allocation and no system call.

Three pieces of evidence: generated code refers to nothing but a few named symbols, none of which
allocates; Python's profiler and the C heap see the same in a step of many kernels as in one of few;
and a process that the kernel kills at its first system call but a futex runs steps to the end.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphc.backends.llvm.engine import ALLOWED_SYMBOLS
from graphc.frontends.train.step import TrainStep
from tests.end_to_end import confined
from tests.end_to_end.confined import warm
from tests.end_to_end.training import MODELS

ROOT = Path(__file__).parents[2]
names = pytest.mark.parametrize("name", MODELS)


def launches(step: TrainStep) -> int:
    return len(step.program.launches)


def test_generated_code_can_only_call_what_does_not_allocate() -> None:
    """That objects refer to nothing else is tested for every target beside the backend."""
    assert {"syscall", "memcpy", "memset"} >= ALLOWED_SYMBOLS


# Python


def profiled(call: Callable[[], None]) -> list[tuple[str, str]]:
    """(event, function) of everything that Python does in a call."""
    seen: list[tuple[str, str]] = []

    def note(frame: Any, event: str, argument: Any) -> None:
        name = frame.f_code.co_name if event in ("call", "return") else str(argument.__name__)
        seen.append((event, name))

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return seen


def test_python_does_the_same_for_few_kernels_as_for_many() -> None:
    (few, run_few), (many, run_many) = warm("mlp"), warm("cifar-cnn")
    assert launches(many) > launches(few) > 5
    seen = profiled(run_few)
    assert ("call", "run") in seen
    assert profiled(run_many) == seen


@names
def test_other_threads_stay_in_their_one_call(name: str) -> None:
    _, run = warm(name, threads=2)

    def places() -> dict[int, tuple[str, int]]:
        frames = sys._current_frames()
        workers = [t for t in threading.enumerate() if t.name.startswith("graphc-")]
        found = {t.ident: frames[t.ident] for t in workers if t.ident in frames}
        return {ident: (f.f_code.co_name, f.f_lasti) for ident, f in found.items()}

    before = places()
    for _ in range(100):
        run()
    assert before and places() == before
    assert {function for function, _ in before.values()} == {"_work"}


# The heap


HEAP_FIELDS = (
    "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"  # as in malloc.h
)


class HeapInfo(ctypes.Structure):
    """glibc's struct mallinfo2."""

    _fields_ = tuple((field, ctypes.c_size_t) for field in HEAP_FIELDS.split())


def heap_bytes() -> tuple[int, int]:
    """Bytes given out by malloc, and bytes it holds as maps of their own."""
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = HeapInfo
    found = mallinfo()
    return int(found.uordblks), int(found.hblkhd)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@names
@pytest.mark.parametrize("threads", [1, 2])
def test_the_heap_stays_as_it_is(name: str, threads: int) -> None:
    _, run = warm(name, threads)
    heap_bytes()
    before = heap_bytes()
    for _ in range(100):
        run()
    grown, mapped = np.subtract(heap_bytes(), before)
    assert mapped == 0
    assert grown < 8192  # Python's own objects; one allocation kept a step would be more


# System calls


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's seccomp")
@pytest.mark.skipif(platform.machine() not in confined.NUMBERS, reason="call numbers not known")
@names
@pytest.mark.parametrize("threads", [1, 2])
def test_steps_make_no_system_call(name: str, threads: int) -> None:
    """One thread: none at all. Two: only those that wait and wake."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.end_to_end.confined", name, str(threads)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        timeout=120,
    )
    if done.stdout == "not offered\n":
        pytest.skip("this system does not let a process confine itself")
    assert done.stdout == "confined\n100 steps\n", done.stderr
    assert done.returncode == -signal.SIGSYS  # by the call after the steps
