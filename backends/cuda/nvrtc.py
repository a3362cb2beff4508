"""NVRTC, NVIDIA's run-time compiler, from the wheel nvidia-cuda-nvrtc: no GPU, no driver."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from graphc.backends.cuda.source import NVRTC_OPTIONS
from graphc.errors import ArgumentError, CompileError

ARCHITECTURE = "compute_80"  # the oldest that graphc's kernels are written for


def ptx(text: str, architecture: str = ARCHITECTURE) -> str:
    """PTX of CUDA C.

    Raises ArgumentError where NVRTC is not installed, CompileError with its log where it refuses.
    """
    path = find_nvrtc()
    if path is None:
        raise ArgumentError(
            "ptx needs NVIDIA's compiler, which is not installed: "
            "pip install 'nvidia-cuda-nvrtc==13.0.*'"
        )
    return _load(path).compile(text, architecture)


def find_nvrtc() -> Path | None:
    """The library of the wheel nvidia-cuda-nvrtc, where it is installed."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        for library in sorted(Path(folder).glob("**/libnvrtc.so.*")):
            if "alt" not in library.name and "builtins" not in library.name:
                return library
    return None


class Nvrtc:
    """NVRTC's few functions, through its C interface."""

    def __init__(self, path: Path) -> None:
        # It looks for this one by name, on no path that the wheel sets.
        for builtins in path.parent.glob("libnvrtc-builtins.so*"):
            ctypes.CDLL(str(builtins), ctypes.RTLD_GLOBAL)
        self.library = ctypes.CDLL(str(path))

    def compile(self, text: str, architecture: str) -> str:
        """PTX of a source. Raises CompileError with the compiler's log."""
        program = ctypes.c_void_p()
        source = text.encode()
        self.library.nvrtcCreateProgram(ctypes.byref(program), source, b"kernel.cu", 0, None, None)
        options = [f"--gpu-architecture={architecture}", *NVRTC_OPTIONS]
        failed = self.library.nvrtcCompileProgram(program, len(options), _strings(options))
        output = self._text(program, "ProgramLog" if failed else "PTX")
        self.library.nvrtcDestroyProgram(ctypes.byref(program))
        if failed:
            raise CompileError(f"NVRTC refuses the kernel: {output}")
        return output

    def _text(self, program: ctypes.c_void_p, what: str) -> str:
        size = ctypes.c_size_t()
        getattr(self.library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        buffer = ctypes.create_string_buffer(size.value)
        getattr(self.library, f"nvrtcGet{what}")(program, buffer)
        return buffer.value.decode()


@cache
def _load(path: Path) -> Nvrtc:
    return Nvrtc(path)


def _strings(texts: Sequence[str]) -> Any:
    return (ctypes.c_char_p * len(texts))(*(text.encode() for text in texts))
