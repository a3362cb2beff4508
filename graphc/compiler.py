"""From a graph to a program: the whole story."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from graphc import settings
from graphc.backend import Array, Backend, find
from graphc.budget import within_budget
from graphc.ir import Graph, Remark
from graphc.loops import Schedule
from graphc.lowering.lower import lower
from graphc.lowering.sharing import share_streams
from graphc.passes.autodiff import Autodiff
from graphc.passes.base import Pipeline, run_pipeline
from graphc.passes.faults import checks_of
from graphc.passes.pipelines import DEFAULT
from graphc.passes.remat import Remat
from graphc.passes.stages import run_stages
from graphc.planning.plan import MemoryPlan, plan_memory
from graphc.runtime.compiled import Compiled, layout_of
from graphc.runtime.kept import KeptProgram
from graphc.runtime.program import Program
from graphc.runtime.state import State
from graphc.runtime.turns import MAKING
from graphc.runtime.workspace import Workspace


def compile_graph(
    graph: Graph,
    state: State | None = None,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    passes: Pipeline = DEFAULT,
    memory_budget: int | None = None,
    workspace: Workspace | None = None,
) -> Program:
    """Passes, lowering, memory plan and code, or what the cache holds of them.

    `state` holds the graph's state tensors. Where the peak is above `memory_budget` bytes,
    tensors are computed again instead of kept, no more of them than it takes. Programs that are
    given one `workspace` share their arena, and run one at a time. Raises MemoryBudgetError where
    the peak stays above.
    """
    state = State() if state is None else state
    with MAKING:
        compilation = _Compilation(graph, passes, _settled(graph, state), find(backend))
        compilation, compiled = within_budget(compilation, memory_budget, _threads(threads))
        plan = compiled.plan.with_threads(_threads(threads))
        for storage in compiled.layout.storages:
            if storage.purpose == "state" and not state[storage.name].locked:
                state.set_order(storage.name, storage.order)
        executable = compilation.backend.load(compiled, state, plan.threads, workspace)
    return Program(graph, compiled, plan, executable, lambda: compilation.stages)


def memory_of(
    graph: Graph,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    passes: Pipeline = DEFAULT,
    memory_budget: int | None = None,
) -> MemoryPlan:
    """The memory of the program that `compile_graph` would make; none of it is allocated."""
    compilation = _Compilation(graph, passes, {}, find(backend))
    _, compiled = within_budget(compilation, memory_budget, _threads(threads))
    return compiled.plan.with_threads(_threads(threads))


def _settled(graph: Graph, state: State) -> Mapping[str, tuple[int, ...]]:
    """The orders of the state tensors that another program holds."""
    names = [value.name for value in graph.state if value.name in state]
    return {name: state[name].order for name in names if state[name].locked}


def _threads(threads: int | None) -> int:
    return settings.threads() if threads is None else threads


@dataclass(frozen=True)
class _Compilation:
    """The way of a graph, each step of it when it is asked for.

    `plain` is the same way without the last pass, which is run on its result.
    """

    graph: Graph
    passes: Pipeline
    orders: Mapping[str, tuple[int, ...]]  # of the state that other programs hold
    backend: Backend
    plain: _Compilation | None = None

    @cached_property
    def stages(self) -> Mapping[str, Graph]:
        if self.plain is None:
            return run_stages(self.graph, self.passes)
        stages = self.plain.stages
        return {**stages, "fused": run_pipeline(stages["fused"], self.passes[-1:])}

    def with_less_memory(self, percent: int) -> _Compilation:
        """The same, with tensors computed again until that much of the peak is left."""
        return replace(self, passes=(*self.passes, Remat(percent)), plain=self)

    def remembered(self, budget: str) -> _Compilation | None:
        """The way that kept a budget before."""
        passes = self.kept.choice(budget)
        return None if passes is None else replace(self, passes=passes)

    def remember(self, budget: str, chosen: _Compilation) -> None:
        self.kept.choose(budget, chosen.passes)

    def alternatives(self) -> tuple[_Compilation, ...]:
        """Other ways to the same bits, that may take less memory: loops that run again."""
        passes = tuple(
            replace(step, recompute=True) if isinstance(step, Autodiff) else step
            for step in self.passes
        )
        if passes == self.passes or not _has_loops(self.graph):
            return ()
        return (replace(self, passes=passes),)

    @cached_property
    def lowered(self) -> tuple[Schedule, Mapping[str, Array]]:
        """The schedule, and the constants that it has beside the graph's."""
        return share_streams(lower(self.stages["fused"], self.orders))

    def schedule(self) -> Schedule:
        return self.lowered[0]

    @cached_property
    def kept(self) -> KeptProgram:
        return KeptProgram(self.graph, self.passes, self.orders, self.backend.identity())

    @cached_property
    def from_cache(self) -> Compiled | None:
        return self.kept.read(again=self.schedule)

    def plan(self) -> MemoryPlan:
        """The plan, generating no code: where there is none yet, threads have no scratch in it."""
        return self.from_cache.plan if self.from_cache else plan_memory(self.schedule())

    def result(self) -> Compiled:
        """From the cache, or made and kept there."""
        compiled = self.from_cache
        if compiled is None:
            compiled = self.run()
            self.kept.write(compiled)
        return compiled

    def run(self) -> Compiled:
        fused, (schedule, added) = self.stages["fused"], self.lowered
        return build(schedule, {**fused.constants, **added}, self.backend, checks_of(fused))


def _has_loops(graph: Graph) -> bool:
    return any(node.op == "scan" for node in graph.every_node())


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
