"""CUDA C on a machine without a GPU: compiled by g++ and run, or compiled by NVRTC."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from graphc.backends.cuda.source import NVRTC_OPTIONS, Source
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


def find_nvrtc() -> Path | None:
    """The library of the wheel nvidia-cuda-nvrtc, where it is installed."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for library in sorted(Path(folder).glob("**/libnvrtc.so.*")):
            if "alt" not in library.name and "builtins" not in library.name:
                return library
    return None


class Nvrtc:
    """NVRTC's few functions, through its C interface; it needs no GPU and no driver."""

    def __init__(self, path: Path) -> None:
        # It looks for this one by name, on no path that the wheel sets.
        for builtins in path.parent.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(path))

    def compile(self, text: str, architecture: str) -> str:
        """PTX of a source; raises RuntimeError with the compiler's log."""
        program = ctypes.c_void_p()
        source = text.encode()
        self.library.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None)
        options = [f"--gpu-architecture={architecture}", *NVRTC_OPTIONS]
        failed = self.library.nvrtcCompileProgram(program, len(options), _strings(options))
        output = self._text(program, "ProgramLog" if failed else "PTX")
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        if failed:
            raise RuntimeError(output)
        return output

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()


def _strings(texts: Sequence[str]) -> Any:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))
