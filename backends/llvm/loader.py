"""Object files placed in memory and tied together, with no LLVM: what a cached program starts from.

Loading LLVM takes longer than loading a program, and 70 MiB. All that its objects for x86-64 need
is little, since they are made with the large code model, in which every address stands whole:

    sections     what is to be in memory, those that run first, each part with rights of its own
    symbols      of one object, of the others, or one of the few of libc that are allowed
    relocations  R_X86_64_64: the address of a symbol, plus a number, written as 8 bytes

Layouts from the System V ABI's chapters on object files, and its AMD64 supplement.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from graphc.errors import CompileError

Bytes = np.ndarray[Any, Any]

_HEADER = np.dtype(
    {
        "names": ["magic", "kind", "machine", "sections", "count"],
        "formats": ["S6", "<u2", "<u2", "<u8", "<u2"],
        "offsets": [0, 16, 18, 40, 60],
        "itemsize": 64,
    }
)
_SECTION = np.dtype(
    [
        ("name", "<u4"),
        ("kind", "<u4"),
        ("flags", "<u8"),
        ("address", "<u8"),
        ("offset", "<u8"),
        ("size", "<u8"),
        ("link", "<u4"),
        ("info", "<u4"),
        ("alignment", "<u8"),
        ("entry_size", "<u8"),
    ]
)
_SYMBOL = np.dtype(
    [
        ("name", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("section", "<u2"),
        ("value", "<u8"),
        ("size", "<u8"),
    ]
)
_RELOCATION = np.dtype([("offset", "<u8"), ("kind", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])

_ELF64_LITTLE = b"\x7fELF\x02\x01"
_RELOCATABLE, _X86_64 = 1, 62
_SYMBOLS, _RELOCATIONS, _ZEROS = 2, 4, 8  # kinds of sections
_WRITABLE, _IN_MEMORY, _RUNS = 1, 2, 4  # flags of sections
_UNDEFINED, _LAST_SECTION = 0, 0xFF00  # above: symbols that are in no section
_WHOLE_ADDRESS = 1  # R_X86_64_64
_PAGE_BYTES = mmap.PAGESIZE


class Symbol(NamedTuple):
    """A name in an object: `value` is its offset in a section; others see a global one."""

    name: str
    section: int
    value: int
    is_global: bool


@dataclass(frozen=True)
class _Object:
    """An object file, cut into its tables; `places` are its sections' offsets in the memory."""

    code: bytes
    sections: Any
    places: dict[int, int]

    def table(self, section: Any, layout: Any) -> Any:
        count = int(section["size"]) // layout.itemsize
        return np.frombuffer(self.code, layout, count, int(section["offset"]))

    def of_kind(self, kind: int) -> Iterator[Any]:
        return (section for section in self.sections if section["kind"] == kind)

    def text_at(self, section: Any, offset: int) -> str:
        start = int(section["offset"]) + offset
        return self.code[start : self.code.index(b"\0", start)].decode()

    @cached_property
    def symbols(self) -> list[Symbol]:
        """In the order of the table."""
        return [
            Symbol(self.text_at(self.sections[table["link"]], name), section, value, info >> 4 > 0)
            for table in self.of_kind(_SYMBOLS)
            for name, info, _, section, value, _ in self.table(table, _SYMBOL).tolist()
        ]


def can_load(code: bytes) -> bool:
    """Whether an object is one for x86-64 that needs whole addresses alone."""
    if len(code) < _HEADER.itemsize:
        return False
    head = np.frombuffer(code, _HEADER, 1)[0]
    if (head["magic"], head["kind"], head["machine"]) != (_ELF64_LITTLE, _RELOCATABLE, _X86_64):
        return False
    found = _opened(code)
    return all(
        kind == _WHOLE_ADDRESS and found.symbols[symbol].section < _LAST_SECTION
        for section in found.of_kind(_RELOCATIONS)
        for _, kind, symbol, _ in found.table(section, _RELOCATION).tolist()
    )


def _opened(code: bytes) -> _Object:
    head = np.frombuffer(code, _HEADER, 1)[0]
    sections = np.frombuffer(code, _SECTION, int(head["count"]), int(head["sections"]))
    return _Object(code, sections, {})


class Loaded:
    """Objects in memory of their own; keep it as long as an address taken from it.

    `symbols` of libc are the only ones that the objects may refer to outside themselves. Raises
    CompileError for any other.
    """

    def __init__(self, objects: Sequence[bytes], symbols: Collection[str]) -> None:
        self._objects = [_opened(code) for code in objects]
        parts = self._place()
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._memory = mmap.mmap(-1, max(parts[-1], _PAGE_BYTES), flags)
        self._bytes: Bytes = np.frombuffer(self._memory, np.uint8)
        self._base = int(self._bytes.ctypes.data)
        self._fill()
        self._addresses = self._defined()
        for found in self._objects:
            self._relocate(found, symbols)
        self._protect(parts)
        self._objects = []

    def address(self, symbol: str) -> int:
        """Of a function; 0 where there is none of that name."""
        return self._addresses.get(symbol, 0)

    def _place(self) -> tuple[int, int, int]:
        """Give each section its offset; the ends of what runs, is read, and is written."""
        end, ends = 0, []
        for rights in (_RUNS, 0, _WRITABLE):
            for found in self._objects:
                for number, section in enumerate(found.sections):
                    flags = int(section["flags"])
                    if flags & _IN_MEMORY and flags & (_RUNS | _WRITABLE) == rights:
                        start = _aligned(end, int(section["alignment"]))
                        found.places[number] = start
                        end = start + int(section["size"])
            end = _aligned(end, _PAGE_BYTES)
            ends.append(end)
        return ends[0], ends[1], ends[2]

    def _fill(self) -> None:
        for found in self._objects:
            for number, place in found.places.items():
                section = found.sections[number]
                if section["kind"] != _ZEROS:
                    self._bytes[place : place + int(section["size"])] = found.table(
                        section, np.dtype(np.uint8)
                    )

    def _defined(self) -> dict[str, int]:
        return {
            symbol.name: self._base + found.places[symbol.section] + symbol.value
            for found in self._objects
            for symbol in found.symbols
            if symbol.is_global and symbol.section in found.places
        }

    def _relocate(self, found: _Object, allowed: Collection[str]) -> None:
        for section in found.of_kind(_RELOCATIONS):
            if int(section["info"]) not in found.places:
                continue  # of what does not go to memory
            start = found.places[int(section["info"])]
            for offset, _, number, addend in found.table(section, _RELOCATION).tolist():
                address = self._address_of(found, found.symbols[number], allowed) + addend
                place = start + offset
                self._memory[place : place + 8] = (address % 2**64).to_bytes(8, "little")

    def _address_of(self, found: _Object, symbol: Symbol, allowed: Collection[str]) -> int:
        name = symbol.name
        if symbol.section != _UNDEFINED:
            return self._base + found.places[symbol.section] + symbol.value
        if name in self._addresses:
            return self._addresses[name]
        if name not in allowed:
            raise CompileError(f"generated code refers to {name!r}, which is nowhere")
        outside = ctypes.cast(getattr(ctypes.CDLL(None), name), ctypes.c_void_p).value
        assert outside is not None
        return outside

    def _protect(self, ends: tuple[int, int, int]) -> None:
        """Nothing may be written that runs."""
        runs, read, _ = ends
        protect(self._base, runs, mmap.PROT_READ | mmap.PROT_EXEC)
        protect(self._base + runs, read - runs, mmap.PROT_READ)


def protect(address: int, count: int, rights: int) -> None:
    """Set the rights of whole pages. Raises CompileError where the system refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    types = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    call = ctypes.CFUNCTYPE(ctypes.c_int, *types, use_errno=True)(("mprotect", libc))
    if count and call(address, count, rights):
        raise CompileError(f"the system refuses memory that runs: error {ctypes.get_errno()}")


def _aligned(offset: int, alignment: int) -> int:
    return -(-offset // max(alignment, 1)) * max(alignment, 1)
