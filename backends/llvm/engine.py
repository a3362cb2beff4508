"""LLVM text to machine code that can be called, with object files kept in the user's cache.

No LLVM pass runs; code generation is at level 2. An object may refer to nothing outside itself but
a short list of symbols, so generated code calls only itself.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from graphc import __version__, settings
from graphc.errors import CompileError
from graphc.target import Target

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
    return cached(text, target, lambda: text)


def cached(key: str, target: Target, make_text: Callable[[], str]) -> bytes:
    """The object of the text that `key` stands for; the text is made only if it is new."""
    digest = hashlib.sha256(f"{_identity(target)}\n{key}".encode()).hexdigest()
    stored = _read_cached(digest)
    if stored is None:
        stored = _generate(make_text(), target)
        _write_cached(digest, stored)
    return stored


def _identity(target: Target) -> str:
    version = ".".join(map(str, _binding().llvm_version_info))
    return f"graphc {__version__} llvm {version} {target.triple} {target.cpu} {target.features}"


def _generate(text: str, target: Target) -> bytes:
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


# Cache: one file an object, its own digest in front, in a folder that only the user can write


def _read_cached(key: str) -> bytes | None:
    folder = _cache()
    if folder is None:
        return None
    try:
        data = (folder / f"{key}.o").read_bytes()
    except OSError:
        return None
    digest, code = data[:32], data[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _write_cached(key: str, code: bytes) -> None:
    folder = _cache()
    if folder is None:
        return
    try:
        handle, name = tempfile.mkstemp(dir=folder)
        with os.fdopen(handle, "wb") as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(name, folder / f"{key}.o")
    except OSError:
        return  # a full or read-only disk costs time, not the result


def _cache() -> Path | None:
    """The folder of objects, or None where there is none that is the user's alone."""
    root = settings.cache_folder()
    if root is None:
        return None
    folder = root / "objects"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    mine = found.st_uid == os.getuid() and not found.st_mode & 0o022 and not folder.is_symlink()
    return folder if mine else None


def module_text(functions: Sequence[tuple[str, set[str]]]) -> str:
    """One module of several functions and all that they declare."""
    declarations = sorted(set().union(*(declared for _, declared in functions)))
    return "\n".join([*declarations, "", *(text for text, _ in functions)])
