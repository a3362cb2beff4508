"""The independent checker of memory plans and barriers, run on every compile.

It shares no code with the planner: what kernels read and write comes from their bodies, and what
is live, shared and concurrent from playing the schedule on the plan's bytes. It raises PlanError,
naming launches, buffers and bytes, unless all of this holds:

    access      a kernel's formal buffers are read and written as they say; `in` is never stored
                to, `out` is stored to and never read before, `inout` is stored to and read only
                at the index of a store
    arguments   one for each formal buffer, of its element type, inside its storage for every
                index of the repeats; no input and no constant is written
    offsets     every temporary, and nothing else, has one: aligned, inside the arena, with the
                storage's own size
    in place    what one launch reads and writes at once is one element: each load of the read
                buffer is at the index of the written buffer's only store, before it, each element
                is stored once, and the kernel is elementwise
    values      every byte that a step reads was written, on every path to it and in the first
                iteration of a repeat as in all others, by a step that meant this storage, and by
                no other since; outputs are written when the schedule ends
    owners      a storage that a kernel writes in parts has lost none of the bytes it had
    threads     of two steps with no barrier between them, across the back edges of repeats too,
                neither writes what the other touches, unless both run on the first thread
    report      the plan's sizes and totals are those of the schedule, its lifetimes hold every
                touch, and its lower bound is that of its lifetimes

Left unchecked: that a kernel's indices stay inside its formal buffers, and that the iterations of
its parallel loops are independent (`graphc.loops.verify` has its part in both); that a kernel
which writes in parts leaves nothing out that is read; and what
the iterations in the middle do where a schedule runs more than `spots.EVENTS` steps.
"""

from __future__ import annotations

from collections.abc import Callable

from graphc.loops.schedule import Launch, Schedule
from graphc.planning.barriers import BarrierPlan
from graphc.planning.check.bodies import check_access
from graphc.planning.check.report import check_offsets, check_report
from graphc.planning.check.spots import Spots
from graphc.planning.check.threads import check_threads
from graphc.planning.check.values import check_values
from graphc.planning.memory_plan import MemoryPlan

__all__ = ["check_access", "check_plan"]


def check_plan(
    schedule: Schedule,
    plan: MemoryPlan,
    barriers: BarrierPlan | None = None,
    parallel: Callable[[Launch], bool] | None = None,
) -> None:
    """Prove a plan. With no barrier plan, all launches are taken to run on one thread.

    `parallel` says which launches the threads share, where the caller knows it apart from the
    barrier plan. Raises PlanError naming the launches, buffers and bytes of the first thing that
    is wrong.
    """
    check_offsets(schedule, plan)
    check_report(schedule, plan)
    spots = Spots(schedule, plan)
    check_values(schedule, spots)
    if barriers is not None:
        check_threads(schedule, spots, barriers, parallel)
