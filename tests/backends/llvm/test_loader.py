"""Objects loaded without LLVM do the same as with it; a kept program never loads it."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from graphc import target as targets
from graphc.backends.llvm import engine, host
from graphc.backends.llvm.engine import ALLOWED_SYMBOLS, generate
from graphc.backends.llvm.loader import Loaded, can_load
from graphc.backends.llvm.release import release_llvm
from graphc.errors import CompileError
from graphc.target import AARCH64

HOST = targets.host()
pytestmark = pytest.mark.skipif(not HOST.is_x86, reason="objects of x86-64 are loaded here")

CALLED = """\
@primes = internal constant [4 x i64] [i64 2, i64 3, i64 5, i64 7], align 64
@calls = internal global i64 40, align 8
@zeros = internal global [3 x i64] zeroinitializer, align 32

define internal i64 @local(i64 %x) noinline nounwind {
  %place = getelementptr [4 x i64], ptr @primes, i64 0, i64 %x
  %found = load i64, ptr %place, align 8
  ret i64 %found
}

define i64 @prime(i64 %x) nounwind {
  %found = call i64 @local(i64 %x)
  ret i64 %found
}

define i64 @count() nounwind {
  %first = getelementptr [3 x i64], ptr @zeros, i64 0, i64 2
  %zero = load volatile i64, ptr %first, align 8
  %before = load i64, ptr @calls, align 8
  %one = add i64 %zero, 1
  %after = add i64 %before, %one
  store i64 %after, ptr @calls, align 8
  ret i64 %after
}
"""
CALLER = """\
declare i64 @prime(i64)
declare ptr @memset(ptr, i32, i64)

define internal i64 @local(i64 %x) noinline nounwind {
  %found = mul i64 %x, 100
  ret i64 %found
}

define i64 @twice(i64 %x, ptr %bytes, i64 %count) nounwind {
  %a = call i64 @prime(i64 %x)
  %b = call i64 @local(i64 %a)
  %c = call ptr @memset(ptr %bytes, i32 7, i64 %count)
  ret i64 %b
}
"""


def loaded(*texts: str) -> Loaded:
    objects = [generate(text, HOST) for text in texts]
    assert all(map(can_load, objects))
    return Loaded(objects, ALLOWED_SYMBOLS)


def function(library: Loaded, name: str, *arguments: type) -> ctypes._CFunctionType:
    return ctypes.CFUNCTYPE(ctypes.c_int64, *arguments)(library.address(name))


def test_objects_read_their_data_and_call_each_other_and_libc() -> None:
    library = loaded(CALLER, CALLED)
    twice = function(library, "twice", ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
    array = np.zeros(5, np.uint8)
    assert twice(3, array.ctypes.data, 4) == 700
    assert array.tolist() == [7, 7, 7, 7, 0]
    count = function(library, "count")
    assert [count(), count()] == [41, 42]
    assert not library.address("local")
    assert not library.address("nothing")


def test_what_runs_cannot_be_written() -> None:
    library = loaded(CALLED)
    address = library.address("prime")
    with open("/proc/self/maps") as maps:
        rights = [
            line.split()[1]
            for line in maps
            if int(line.split("-")[0], 16) <= address < int(line.split()[0].split("-")[1], 16)
        ]
    assert rights == ["r-xp"]


def test_a_symbol_that_is_nowhere_is_an_error() -> None:
    text = "declare void @surely_nowhere()\ndefine void @f() nounwind {\n"
    with pytest.raises(CompileError, match="'surely_nowhere'"):
        loaded(text + "  call void @surely_nowhere()\n  ret void\n}\n")
    with pytest.raises(CompileError, match="no function 'f'"):
        engine.Library([generate(CALLED, HOST)], HOST).address("f")


def test_other_objects_are_left_to_llvm() -> None:
    text = "define i64 @f(i64 %x) {\n  ret i64 %x\n}\n"  # it may unwind: other relocations
    assert not can_load(b"")
    assert not can_load(bytes(64))
    assert not can_load(generate(text, AARCH64))
    assert not can_load(generate(text, HOST))
    library = engine.Library([generate(text, HOST)], HOST)
    assert isinstance(library._loaded, engine._LoadedByLLVM)
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("f"))(5) == 5


def test_the_machine_is_described_the_same_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    host.host.cache_clear()
    assert host.host() == HOST
    host.host.cache_clear()
    monkeypatch.setattr(targets, "host", lambda: pytest.fail("LLVM was asked again"))
    assert host.host() == HOST
    monkeypatch.undo()
    host.host.cache_clear()


RUN = """\
import sys
import numpy as np
import graphc
program = graphc.compile(lambda x: (x * 2).sum(), graphc.Spec((8,)))
assert float(program(np.ones(8, np.float32))) == 16
print("llvmlite.binding" in sys.modules)
"""


def test_a_kept_program_runs_without_llvm(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(RUN)
    environment = {"GRAPHC_CACHE": str(tmp_path / "cache"), "PYTHONPATH": ":".join(sys.path)}
    told = [
        subprocess.run(
            [sys.executable, str(script)],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for _ in range(2)
    ]
    assert told == ["True", "False"]


def resident_kibibytes() -> int:
    """What LLVM's file takes of this process's memory."""
    inside, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if not first.endswith(":"):
            inside = "libllvmlite" in line
        elif first == "Rss:" and inside:
            total += int(rest.split()[0])
    return total


def test_llvm_is_dropped_from_memory_and_works_again() -> None:
    code = generate(CALLED, HOST)
    before = resident_kibibytes()
    release_llvm()
    after = resident_kibibytes()
    assert after < before / 2
    assert generate(CALLED, HOST) == code
    assert resident_kibibytes() > after
