"""`graphc devices`: the processors of this machine, as graphc sees them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from graphc import settings
from graphc import target as targets
from graphc.planning.text import format_bytes


def devices(options: argparse.Namespace) -> None:
    """Print the CPU with its instruction set, caches and processors, then NVIDIA GPUs."""
    for line in (*cpu_lines(), *cuda_lines()):
        print(line)


def cpu_lines() -> Iterator[str]:
    target = targets.host()
    yield f"cpu   {targets.cpu_name()}"
    yield f"      {target.triple}, vectors of {8 * target.vector_bytes} bits, {_products(target)}"
    l3 = targets.cache_bytes(3, 0)
    third = f", L3 {format_bytes(l3)} shared" if l3 else ""
    first, second = format_bytes(target.l1_bytes), format_bytes(target.l2_bytes)
    yield f"      caches of a core: L1 {first} of data, L2 {second}{third}"
    usable = settings.available_processors()
    yield f"      {usable} processors to use, {settings.threads()} threads a program"


def _products(target: targets.Target) -> str:
    return "fused multiply-add" if target.fma else "no fused multiply-add"


def cuda_lines() -> list[str]:
    """A line for each NVIDIA GPU, or why there is none."""
    if find_spec("cupy") is None:
        return ["cuda  none: CuPy is not installed; kernels are printed, running them is to come"]
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return [f"cuda  none: {error}"]
    return [_gpu_line(cupy, number) for number in range(count)] or ["cuda  none"]


def _gpu_line(cupy: Any, number: int) -> str:
    properties = cupy.cuda.runtime.getDeviceProperties(number)
    name = properties["name"].decode()
    version = f"{properties['major']}.{properties['minor']}"
    memory = format_bytes(int(properties["totalGlobalMem"]))
    shared = format_bytes(int(properties["sharedMemPerBlockOptin"]))
    return (
        f"cuda  {number}: {name}, compute capability {version}, {memory}, "
        f"{properties['multiProcessorCount']} multiprocessors, {shared} of shared memory a block"
    )
