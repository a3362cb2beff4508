"""Targets: what a backend needs to know of a machine, as a value.

>>> X86_64_V3.vector_bytes, X86_64_V3.fma
(32, True)
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A kind of CPU.

    triple, cpu, features   LLVM's names
    vector_bytes            width of the widest vectors used
    registers               vector registers
    fma                     fused multiply-add exists; without it products round twice, which
                            gives this target bits of its own
    masked                  masked loads and stores are single instructions
    l1_bytes, l2_bytes      data caches of one core
    """

    name: str
    triple: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    fma: bool
    masked: bool
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10

    @property
    def is_x86(self) -> bool:
        return self.triple.startswith("x86_64")


_LINUX = "x86_64-unknown-linux-gnu"
X86_64_V2 = Target("x86-64-v2", _LINUX, "x86-64-v2", "", 16, 16, fma=False, masked=False)
X86_64_V3 = Target("x86-64-v3", _LINUX, "x86-64-v3", "", 32, 16, fma=True, masked=False)
X86_64_V4 = Target(
    "x86-64-v4", _LINUX, "x86-64-v4", "", 64, 32, fma=True, masked=True, l2_bytes=1 << 20
)
AARCH64 = Target(
    "aarch64", "aarch64-unknown-linux-gnu", "generic", "+neon", 16, 32, fma=True, masked=False
)
NAMED = {target.name: target for target in (X86_64_V2, X86_64_V3, X86_64_V4, AARCH64)}


@cache
def host() -> Target:
    """The machine this runs on, by what LLVM and the kernel's cache tables say of it."""
    from llvmlite import binding

    features = binding.get_host_cpu_features().flatten()
    return host_of(binding.get_process_triple(), binding.get_host_cpu_name(), features)


def host_of(triple: str, cpu: str, features: str) -> Target:
    """The machine this runs on, of which LLVM has told these."""
    base = _level(triple, set(features.split(",")))
    return replace(
        base,
        name="host",
        triple=triple,
        cpu=cpu,
        features=features,
        l1_bytes=cache_bytes(1, base.l1_bytes),
        l2_bytes=cache_bytes(2, base.l2_bytes),
    )


def _level(triple: str, features: set[str]) -> Target:
    if triple.startswith("aarch64"):
        return AARCH64
    if features.issuperset(("+avx512f", "+avx512vl", "+avx512bw", "+avx512dq")):
        return X86_64_V4
    if features.issuperset(("+avx2", "+fma")):
        return X86_64_V3
    return X86_64_V2


def cpu_name() -> str:
    """The processor as its maker calls it, and as LLVM does: "AMD EPYC (znver5)"."""
    from llvmlite import binding

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.machine()} ({binding.get_host_cpu_name()})"


def cache_bytes(level: int, default: int) -> int:
    """Size of the data cache of a level, from Linux's table of caches."""
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        try:
            found = int((folder / "level").read_text())
            kind = (folder / "type").read_text().strip()
            size = (folder / "size").read_text().strip()
        except (OSError, ValueError):
            continue
        if found == level and kind != "Instruction" and size.endswith("K"):
            return int(size[:-1]) << 10
    return default
