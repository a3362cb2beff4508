"""What LLVM says of this machine, asked once and kept: a cached program starts without LLVM."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from graphc import target as targets
from graphc.target import Target

from .engine import keep, llvm, read_kept

# What /proc/cpuinfo says of the kind of a processor, on x86 and ARM, and not of its state.
_FACTS = frozenset(
    {
        "vendor_id",
        "cpu family",
        "model",
        "model name",
        "stepping",
        "flags",
        "Features",
        "CPU implementer",
        "CPU architecture",
        "CPU variant",
        "CPU part",
        "CPU revision",
    }
)


@cache
def host() -> Target:
    """The machine this runs on, as `graphc.target.host` describes it."""
    facts = _processor_facts()
    if not facts:
        return targets.host()
    key = f"host {llvm()} {facts}"
    stored = read_kept(key)
    if stored is not None:
        return targets.host_of(*json.loads(stored))
    found = targets.host()
    keep(key, json.dumps([found.triple, found.cpu, found.features]).encode())
    return found


def _processor_facts() -> str:
    """The kinds of the processors, each once; empty where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return "\n".join(
        dict.fromkeys(line for line in lines if line.partition(":")[0].strip() in _FACTS)
    )
