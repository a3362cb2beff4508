"""From a graph to a program: the whole story."""

from __future__ import annotations

from graphc import settings
from graphc.backend import find
from graphc.errors import MemoryBudgetError
from graphc.ir import Graph
from graphc.lowering.lower import lower
from graphc.passes.base import Pipeline
from graphc.passes.faults import checks_of
from graphc.passes.pipelines import DEFAULT
from graphc.passes.stages import run_stages
from graphc.planning.plan import plan_memory
from graphc.runtime.program import Program
from graphc.runtime.state import State


def compile_graph(
    graph: Graph,
    state: State | None = None,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    passes: Pipeline = DEFAULT,
    memory_budget: int | None = None,
) -> Program:
    """Passes, lowering, memory plan and code; `state` holds the graph's state tensors.

    Raises MemoryBudgetError where the plan's peak is above `memory_budget` bytes.
    """
    state = State() if state is None else state
    stages = run_stages(graph, passes)
    fixed = {name: slot.order for name, slot in state.items() if slot.locked}
    schedule = lower(stages["fused"], fixed)
    plan = plan_memory(schedule)
    if memory_budget is not None and plan.peak_bytes > memory_budget:
        raise MemoryBudgetError(
            f"{graph.name} needs {plan.peak_bytes} bytes, the budget is {memory_budget}"
        )
    for storage in schedule.storages:
        if storage.purpose == "state" and not state[storage.name].locked:
            state.set_order(storage.name, storage.order)
    count = settings.threads() if threads is None else threads
    constants = stages["fused"].constants
    executable = find(backend).load(schedule, plan, state, constants, count)
    return Program(stages, schedule, plan, executable, checks_of(stages["fused"]))
