"""From a graph to a program: the whole story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from graphc import settings
from graphc.backend import Array, Backend, find
from graphc.errors import MemoryBudgetError
from graphc.ir import Graph, Remark
from graphc.loops import Schedule
from graphc.lowering.lower import lower
from graphc.passes.base import Pipeline
from graphc.passes.faults import checks_of
from graphc.passes.pipelines import DEFAULT
from graphc.passes.stages import run_stages
from graphc.planning.plan import MemoryPlan, plan_memory
from graphc.runtime.compiled import Compiled, layout_of
from graphc.runtime.kept import KeptProgram
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
    """Passes, lowering, memory plan and code, or what the cache holds of them.

    `state` holds the graph's state tensors. Raises MemoryBudgetError where the plan's peak is
    above `memory_budget` bytes.
    """
    state = State() if state is None else state
    names = [value.name for value in graph.state if value.name in state]
    fixed = {name: state[name].order for name in names if state[name].locked}
    maker = find(backend)
    compilation = _Compilation(graph, passes, fixed, maker)
    kept = KeptProgram(graph, passes, fixed, maker.identity())
    compiled = kept.read(again=compilation.schedule)
    if compiled is None:
        compiled = compilation.run()
        kept.write(compiled)
    count = settings.threads() if threads is None else threads
    plan = compiled.plan.with_threads(count)
    _check_budget(plan, memory_budget)
    for storage in compiled.layout.storages:
        if storage.purpose == "state" and not state[storage.name].locked:
            state.set_order(storage.name, storage.order)
    executable = maker.load(compiled, state, count)
    return Program(graph, compiled, plan, executable, lambda: compilation.stages)


@dataclass(frozen=True)
class _Compilation:
    """The way of a graph, each step of it when it is asked for."""

    graph: Graph
    passes: Pipeline
    orders: Mapping[str, tuple[int, ...]]  # of the state that other programs hold
    backend: Backend

    @cached_property
    def stages(self) -> Mapping[str, Graph]:
        return run_stages(self.graph, self.passes)

    def schedule(self) -> Schedule:
        return lower(self.stages["fused"], self.orders)

    def run(self) -> Compiled:
        fused = self.stages["fused"]
        return build(self.schedule(), fused.constants, self.backend, checks_of(fused))


def build(
    schedule: Schedule,
    constants: Mapping[str, Array],
    backend: Backend,
    checks: tuple[Remark, ...] = (),
) -> Compiled:
    """A schedule with its plan and code; `constants` holds what its digests stand for."""
    code = backend.generate(schedule)
    plan = plan_memory(schedule, scratch=code.scratch_bytes)
    return Compiled(
        layout=layout_of(schedule),
        plan=plan,
        checks=checks,
        constants={key: constants[key] for key in schedule.constants.values()},
        objects=backend.link(schedule, plan, code),
        make_schedule=lambda: schedule,
    )


def _check_budget(plan: MemoryPlan, budget_bytes: int | None) -> None:
    if budget_bytes is not None and plan.peak_bytes > budget_bytes:
        raise MemoryBudgetError(
            f"{plan.name} needs {plan.peak_bytes} bytes, the budget is {budget_bytes}"
        )
