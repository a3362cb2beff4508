"""LLVM text to machine code that can be called, with object files kept in the user's cache.

An object may refer to nothing outside itself but a short list of symbols, so generated code calls
only itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from graphc import __version__
from graphc.errors import CompileError
from graphc.runtime.cache import Store
from graphc.target import Target

from .assembler import assemble, new_machine, parse
from .loader import Loaded, can_load
from .statements import KernelText

_OBJECTS = Store("objects")
ALLOWED_SYMBOLS = frozenset({"syscall", "memcpy", "memset"})


@cache
def _binding() -> Any:
    from llvmlite import binding

    return binding


@cache
def _machine(target: Target) -> Any:
    """What makes objects and text; a library has one of its own."""
    return new_machine(target.triple, target.cpu, target.features)


def object_code(text: str, target: Target) -> bytes:
    """The object file of a module's text, from the cache where it was made before."""
    return cached(f"{toolchain(target)}\n{text}", lambda: generate(text, target))


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """What was made for a key before, else made now."""
    stored = read_kept(key)
    if stored is None:
        stored = make()
        keep(key, stored)
    return stored


def read_kept(key: str) -> bytes | None:
    """What was made for a key before."""
    return _OBJECTS.read(_digest(key))


def keep(key: str, code: bytes) -> None:
    """Keep what was made for a key."""
    _OBJECTS.write(_digest(key), code)


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@cache
def toolchain(target: Target) -> str:
    """The versions that an object depends on, and what LLVM is told of the machine."""
    return f"graphc {__version__} {llvm()} {target.triple} {target.cpu} {target.features}"


def llvm() -> str:
    """The version of what brings LLVM along, without loading it."""
    import llvmlite

    return f"llvmlite {llvmlite.__version__}"


def generate(text: str, target: Target) -> bytes:
    """The object file of a module's text. Raises CompileError where LLVM refuses it."""
    try:
        return assemble(text, _machine(target))
    except RuntimeError as error:
        raise CompileError(f"generated code is not valid LLVM: {error}") from None


def assembly(text: str, target: Target) -> str:
    """The machine instructions of a module's text, for people."""
    machine = _machine(target)
    found: str = machine.emit_assembly(parse(text, machine))
    return found


class Library:
    """Objects loaded together; keep it as long as an address taken from it."""

    def __init__(self, objects: Sequence[bytes], target: Target) -> None:
        own = target.is_x86 and all(map(can_load, objects))
        self._loaded = Loaded(objects, ALLOWED_SYMBOLS) if own else _LoadedByLLVM(objects, target)

    def address(self, symbol: str) -> int:
        found = self._loaded.address(symbol)
        if not found:
            raise CompileError(f"generated code has no function {symbol!r}")
        return found


class _LoadedByLLVM:
    """The same for objects of all kinds."""

    def __init__(self, objects: Sequence[bytes], target: Target) -> None:
        binding = _binding()
        module = binding.parse_assembly("")
        module.triple = target.triple
        self._machine = new_machine(target.triple, target.cpu, target.features)
        self._engine = binding.create_mcjit_compiler(module, self._machine)
        for code in objects:
            self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def address(self, symbol: str) -> int:
        found: int = self._engine.get_function_address(symbol)
        return found


def module_text(functions: Sequence[KernelText]) -> str:
    """One module of several functions and all that they declare."""
    declarations = sorted(set().union(*(function.declarations for function in functions)))
    return "\n".join([*declarations, "", *(function.definition for function in functions)])
