"""LLVM text to machine code that can be called, with object files kept in the user's cache.

No LLVM pass runs; code generation is at level 2. An object may refer to nothing outside itself but
a short list of symbols, so generated code calls only itself.
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

from .statements import KernelText

_OBJECTS = Store("objects")
ALLOWED_SYMBOLS = frozenset({"syscall", "memcpy", "memset"})


@cache
def _binding() -> Any:
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding


def _machine(target: Target, jit: bool = True) -> Any:
    description = _binding().Target.from_triple(target.triple)
    return description.create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, jit=jit
    )


def object_code(text: str, target: Target) -> bytes:
    """The object file of a module's text, from the cache where it was made before."""
    return cached(f"{toolchain(target)}\n{text}", lambda: generate(text, target))


def cached(key: str, make: Callable[[], bytes]) -> bytes:
    """What was made for a key before, else made now."""
    digest = hashlib.sha256(key.encode()).hexdigest()
    stored = _OBJECTS.read(digest)
    if stored is None:
        stored = make()
        _OBJECTS.write(digest, stored)
    return stored


@cache
def toolchain(target: Target) -> str:
    """The versions that an object depends on, and what LLVM is told of the machine."""
    version = ".".join(map(str, _binding().llvm_version_info))
    return f"graphc {__version__} llvm {version} {target.triple} {target.cpu} {target.features}"


def generate(text: str, target: Target) -> bytes:
    """The object file of a module's text. Raises CompileError where LLVM refuses it."""
    binding = _binding()
    try:
        module = binding.parse_assembly(text)
        module.verify()
    except RuntimeError as error:
        raise CompileError(f"generated code is not valid LLVM: {error}") from None
    machine = _machine(target)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    code: bytes = machine.emit_object(module)
    return code


def assembly(text: str, target: Target) -> str:
    """The machine instructions of a module's text, for people."""
    module = _binding().parse_assembly(text)
    machine = _machine(target)
    module.triple = target.triple
    module.data_layout = str(machine.target_data)
    found: str = machine.emit_assembly(module)
    return found


class Library:
    """Objects loaded together; keep it as long as an address taken from it."""

    def __init__(self, objects: Sequence[bytes], target: Target) -> None:
        binding = _binding()
        module = binding.parse_assembly("")
        module.triple = target.triple
        self._machine = _machine(target)
        self._engine = binding.create_mcjit_compiler(module, self._machine)
        for code in objects:
            self._engine.add_object_file(binding.ObjectFileRef.from_data(code))
        self._engine.finalize_object()

    def address(self, symbol: str) -> int:
        found: int = self._engine.get_function_address(symbol)
        if not found:
            raise CompileError(f"generated code has no function {symbol!r}")
        return found


def module_text(functions: Sequence[KernelText]) -> str:
    """One module of several functions and all that they declare."""
    declarations = sorted(set().union(*(function.declarations for function in functions)))
    return "\n".join([*declarations, "", *(function.definition for function in functions)])
