"""Kernels as CUDA C: the text itself, and what it computes, bit for bit."""

from __future__ import annotations

import ctypes
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import cuda_on_cpu
import numpy as np
import pytest
from kernel_samples import SAMPLES, floats, loop, out, sample
from numpy.typing import NDArray
from random_kernels import random_kernel

from graphc.backends.cuda.nvrtc import find_nvrtc, ptx
from graphc.backends.cuda.source import Source, cuda_source, emit
from graphc.dtypes import float32
from graphc.errors import CompileError
from graphc.loops import Buffer, Kernel, Let, Local, Store, call, const, index, load, variable
from graphc.loops.evaluate import run_kernel

Array = NDArray[Any]
HERE = Path(__file__).parent
i = variable("i")


@pytest.mark.parametrize("name", ["product", "ragged"])
def test_text(name: str) -> None:
    """Equal to the file beside this one; where that is removed, it is written anew."""
    expected, text = HERE / f"{name}.cu", cuda_source(SAMPLES[name]()[0])
    if not expected.exists():
        expected.write_text(text)
        pytest.fail(f"wrote {expected}: read it and run again")
    assert text == expected.read_text()


def test_names_of_a_kernel_never_reach_the_text() -> None:
    hostile = '*/ "); system("x"); //'
    index_name, value_name, buffer_name = hostile + "i", hostile + "v", hostile + "b"
    x = variable(index_name)
    local = Buffer(hostile + "t", (2,), float32, space="register")
    body = (
        Local(local),
        Let(value_name, load(buffer_name, (x,), float32)),
        Store(local.name, (index(0),), call("add", *[load(buffer_name, (x,), float32)] * 2)),
        Store("y", (x,), load(local.name, (index(0),), float32)),
    )
    formals = (Buffer(buffer_name, (3,), float32), out("y", (3,)))
    kernel = Kernel(hostile, formals, (loop("parallel", index_name, 3, *body),))
    assert "system" not in cuda_source(kernel)


def two_phases() -> tuple[Kernel, dict[str, Array]]:
    """The second nest reads all that the first wrote."""
    total = out("total", ())
    first = loop("parallel", "i", 40, Store("y", (i,), call("exp", load("x", (i,), float32))))
    held = call("add", load("total", (), float32), load("y", (i,), float32))
    second = loop("serial", "i", 40, Store("total", (), held))
    start = Store("total", (), const(0, float32))
    return sample("two_phases", {"x": floats(40)}, [out("y", (40,)), total], first, start, second)


def test_top_statements_are_launches_of_their_own() -> None:
    source = emit(two_phases()[0])
    assert [entry.threads for entry in source.entries] == [40, 1, 1]
    assert [name.rsplit("_", 1)[1] for name in (e.name for e in source.entries)] == ["0", "1", "2"]


def test_statements_that_share_a_local_are_one_launch() -> None:
    local = Buffer("t", (4,), float32, space="scratch")
    fill = loop("parallel", "i", 4, Store("t", (i,), const(2, float32)))
    copy = loop("parallel", "i", 4, Store("y", (i,), load("t", (i,), float32)))
    kernel, _ = sample("shared", {}, [out("y", (4,))], Local(local), fill, copy)
    assert [entry.threads for entry in emit(kernel).entries] == [1]


def test_restrict_can_be_left_out() -> None:
    kernel = SAMPLES["product"]()[0]
    assert "__restrict__" in cuda_source(kernel)
    assert "__restrict__" not in cuda_source(kernel, restrict=False)


def test_an_operation_without_a_form_is_an_error() -> None:
    value = call("mulhi", load("x", (i,), float32), load("x", (i,), float32))
    nest = loop("parallel", "i", 4, Store("y", (i,), value))
    kernel, _ = sample("bad", {"x": floats(4)}, [out("y", (4,))], nest)
    with pytest.raises(CompileError, match="no CUDA form of operation 'mulhi' on float32"):
        cuda_source(kernel)


KERNELS = SAMPLES | {"two_phases": two_phases}
KERNELS |= {f"random {seed}": partial(random_kernel, seed) for seed in range(60)}


@pytest.fixture(scope="module")
def compiled(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, Source], ctypes.CDLL]:
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    sources = {name: emit(make()[0]) for name, make in KERNELS.items()}
    return sources, cuda_on_cpu.build(sources, tmp_path_factory.mktemp("cuda"))


def laid_out(array: Array, buffer: Buffer) -> Array:
    """A copy of an array's elements as they lie in memory."""
    order = buffer.order or range(array.ndim)
    return np.array(array.transpose(order), order="C").reshape(-1)


def bits(array: Array) -> Array:
    """Elements to the bit, but for what a NaN carries."""
    if array.dtype.kind != "f":
        return array
    same = np.where(np.isnan(array), array.dtype.type(np.nan), array)
    return same.view(f"u{array.dtype.itemsize}")


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("grid", [(1, 1), (3, 4), (64, 32)])
def test_emulated_kernels_equal_the_naive_evaluation(
    name: str,
    grid: tuple[int, int],
    compiled: tuple[dict[str, Source], ctypes.CDLL],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Compiled by g++, run thread by thread: the same bits, and nothing undefined."""
    sources, library = compiled
    kernel, arrays = KERNELS[name]()
    memory = {b.name: laid_out(arrays[b.name], b) for b in kernel.buffers}
    cuda_on_cpu.run(library, sources[name], kernel, memory, *grid)
    run_kernel(kernel, arrays)
    for buffer in kernel.buffers:
        wanted = laid_out(arrays[buffer.name], buffer)
        np.testing.assert_array_equal(bits(memory[buffer.name]), bits(wanted))
    assert "runtime error" not in capfd.readouterr().err


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("architecture", ["compute_80", "compute_90"])
def test_nvrtc_compiles_the_text(name: str, architecture: str) -> None:
    if find_nvrtc() is None:
        pytest.skip("needs the wheel nvidia-cuda-nvrtc")
    source = emit(KERNELS[name]()[0])
    assembly = ptx(source.text, architecture)
    for entry in source.entries:
        assert f".entry {entry.name}(" in assembly
