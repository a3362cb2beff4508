"""LLVM text to an object file: by a function, and as a program that does it for another process.

LLVM is called under one lock in a process, so only another process can generate code at the same
time. This file needs nothing of graphc and may be run by its path:

    python assembler.py FOLDER    reads a target, then texts; writes an object for each

FOLDER is where llvmlite is found. Every message is its length in 8 bytes, then its bytes; an empty
one answers a text that LLVM refuses. It ends where its input does.
"""

from __future__ import annotations

import json
import sys
from typing import IO, Any

_LENGTH_BYTES = 8


def new_machine(triple: str, cpu: str, features: str) -> Any:
    """What LLVM generates code with. No LLVM pass runs; code generation is at level 2."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    description = binding.Target.from_triple(triple)
    return description.create_target_machine(cpu=cpu, features=features, opt=2, jit=True)


def parse(text: str, machine: Any) -> Any:
    """A module for the machine. Raises RuntimeError where the text is no valid LLVM."""
    from llvmlite import binding

    module = binding.parse_assembly(text)
    module.verify()
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    return module


def assemble(text: str, machine: Any) -> bytes:
    """The object file of a module's text. Raises RuntimeError where it is no valid LLVM."""
    code: bytes = machine.emit_object(parse(text, machine))
    return code


def send(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(_LENGTH_BYTES, "little") + message)
    stream.flush()


def receive(stream: IO[bytes]) -> bytes | None:
    """The next message; None at the end of the stream, also where it ends within one."""
    head = stream.read(_LENGTH_BYTES)
    size = int.from_bytes(head, "little")
    message = stream.read(size)
    return message if len(head) == _LENGTH_BYTES and len(message) == size else None


def _serve(source: IO[bytes], answers: IO[bytes]) -> None:
    target = receive(source)
    if target is None:
        return
    machine = new_machine(*json.loads(target))
    while (text := receive(source)) is not None:
        try:
            send(answers, assemble(text.decode(), machine))
        except RuntimeError:
            send(answers, b"")


if __name__ == "__main__":
    sys.path.append(sys.argv[1])
    _serve(sys.stdin.buffer, sys.stdout.buffer)
