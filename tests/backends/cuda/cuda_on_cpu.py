"""CUDA C on a machine without a GPU: compiled by g++ and run."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from graphc.backends.cuda.source import Source
from graphc.loops import Kernel

Array = NDArray[Any]

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
OPTIONS = ("-std=c++17", "-O1", "-ffp-contract=off", "-shared", "-fPIC", "-w")
# Wrapped arithmetic, saturated conversions and total division leave nothing undefined.
SANITIZERS = "-fsanitize=signed-integer-overflow,float-cast-overflow,integer-divide-by-zero,bounds"


def build(sources: Mapping[str, Source], folder: Path) -> ctypes.CDLL:
    """One library of several kernels, each in a namespace, with a C function to launch each."""
    parts = [f'#include "{HEADER}"']
    for number, source in enumerate(sources.values()):
        parts += [f"namespace n{number} {{", source.text]
        parts += [_launcher(entry.name, source.text) for entry in source.entries]
        parts.append("}")
    text, library = folder / "kernels.cpp", folder / "kernels.so"
    text.write_text("\n".join(parts))
    subprocess.run(["g++", *OPTIONS, SANITIZERS, str(text), "-o", str(library)], check=True)
    return ctypes.CDLL(str(library))


def _launcher(name: str, text: str) -> str:
    (header,) = [line for line in text.splitlines() if f" {name}(" in line]
    parameters = header[header.index("(") + 1 : header.rindex(")")].split(", ")
    types = [parameter[: parameter.rindex("v")] for parameter in parameters]
    arguments = ", ".join(f"({type})arguments[{k}]" for k, type in enumerate(types))
    arguments = arguments.replace("__restrict__ ", "")
    return (
        f'extern "C" void launch_{name}(void** arguments, unsigned blocks, unsigned threads) {{\n'
        f"    launch(blocks, threads, [&] {{ {name}({arguments}); }});\n}}"
    )


def run(
    library: ctypes.CDLL,
    source: Source,
    kernel: Kernel,
    arrays: Mapping[str, Array],
    blocks: int,
    threads: int,
) -> None:
    """Launch a kernel's functions in order on arrays laid out as its buffers are."""
    pointers = [arrays[buffer.name].ctypes.data for buffer in kernel.buffers]
    arguments = (ctypes.c_void_p * len(pointers))(*pointers)
    for entry in source.entries:
        getattr(library, f"launch_{entry.name}")(arguments, blocks, threads)
