"""A schedule as objects: one of each kernel, from the cache where it was made before, and the step.

A program's objects are those of its kernels, in the schedule's order, then the step's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from graphc import loops as loops_package
from graphc.backend import KernelCode
from graphc.loops import Kernel, Launch, Schedule
from graphc.planning.barriers import BarrierPlan, place_barriers
from graphc.planning.check import check_plan
from graphc.planning.plan import MemoryPlan
from graphc.runtime.versions import sources_digest
from graphc.target import Target

from .engine import keep, module_text, object_code, read_kept, toolchain
from .helpers import generate_all
from .statements import KernelText, emit_kernel
from .threads import step_text
from .tile import tile

_SERIAL_SECONDS = 5e-6
_SCRATCH_BYTES = 8  # of a kept kernel: how much scratch it needs, before its object


def runs_alone(launch: Launch) -> bool:
    """Whether a launch is too short to share out: below about 5 us on one core."""
    return launch.bytes / 20e9 + launch.flops / 40e9 < _SERIAL_SECONDS


def runs_shared(launch: Launch) -> bool:
    return not runs_alone(launch)


def identity(target: Target) -> str:
    """What the code depends on beside the schedule: generator, LLVM and target."""
    folders = (Path(__file__).parent, Path(loops_package.__file__).parent)
    return f"{sources_digest(*map(str, folders))} {toolchain(target)} {target}"


def generate_kernels(schedule: Schedule, target: Target) -> KernelCode:
    """The kernels' objects, and the scratch of a thread."""
    keys = {
        name: f"{identity(target)} {kernel.structural_hash}"
        for name, kernel in schedule.kernels.items()
    }
    parts = {name: read_kept(key) for name, key in keys.items()}
    missing = {name: schedule.kernels[name] for name, part in parts.items() if part is None}
    for name, part in _generate_missing(missing, target).items():
        keep(keys[name], part)
        parts[name] = part
    whole = {name: part for name, part in parts.items() if part is not None}
    objects = {name: part[_SCRATCH_BYTES:] for name, part in whole.items()}
    scratch = [int.from_bytes(part[:_SCRATCH_BYTES], "little") for part in whole.values()]
    return KernelCode(objects, max(scratch, default=0))


def _generate_missing(kernels: Mapping[str, Kernel], target: Target) -> dict[str, bytes]:
    """Each kernel's scratch and object, as they are kept."""
    scratch: list[bytes] = []

    def texts() -> Iterator[str]:
        for kernel in kernels.values():
            text = emit(kernel, symbol(kernel), target)
            scratch.append(text.scratch_bytes.to_bytes(_SCRATCH_BYTES, "little"))
            yield module_text([text])

    objects = generate_all(texts(), len(kernels), target)
    parts = (before + code for before, code in zip(scratch, objects, strict=True))
    return dict(zip(kernels, parts, strict=True))


def link_step(
    schedule: Schedule, plan: MemoryPlan, code: KernelCode, target: Target
) -> list[bytes]:
    """All objects of a planned schedule. Raises PlanError where the checker refuses the plan."""
    barriers = place_barriers(schedule, plan, runs_shared)
    check_plan(schedule, plan, barriers, runs_shared)
    step = step_code(schedule, plan, barriers, target)
    return [*(code.objects[key] for key in schedule.kernels), step]


def step_code(
    schedule: Schedule, plan: MemoryPlan, barriers: BarrierPlan, target: Target, log_bytes: int = 0
) -> bytes:
    """The step's object; `log_bytes` as in `step_text`."""
    symbols = {key: symbol(kernel) for key, kernel in schedule.kernels.items()}
    text = step_text(schedule, symbols, barriers, target, plan.scratch_bytes, log_bytes)
    return object_code(text, target)


def symbol(kernel: Kernel) -> str:
    """A kernel's function in the object."""
    return f"k_{kernel.structural_hash[:24]}"


def kernel_text(kernel: Kernel, symbol: str, target: Target) -> str:
    """The LLVM module of a kernel."""
    return module_text([emit(kernel, symbol, target)])


def emit(kernel: Kernel, symbol: str, target: Target) -> KernelText:
    """A kernel's function, tiled for the target."""
    return emit_kernel(tile(kernel, target), symbol, target)
