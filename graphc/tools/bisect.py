"""Bisect: which step of the compiler changes what a graph computes.

    passes     after each pass, the graph by its operators' NumPy meanings, against the one before,
               within what a change of every input in its last place makes of the results
    lowering   each node's naive kernels, against the node's NumPy meaning, within the same
    kernels    each launch as the backend runs it, against its naive kernel on the same elements,
               to the bit
    plan       the whole program on one thread, against its naive kernels, to the bit
    threads    the same on all threads

Each question has one suspect: a kernel is run alone, on memory of its own, so neither the plan nor
other kernels have a say in it. The first difference is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from graphc import settings
from graphc.backend import find
from graphc.compiler import build, compile_graph
from graphc.ir import Graph, Node, Value
from graphc.loops import Schedule
from graphc.lowering.lower import lower
from graphc.ops.evaluate import apply, evaluate
from graphc.ops.numerics import NumpyArray
from graphc.passes.autodiff import expand
from graphc.passes.base import Pipeline
from graphc.passes.decompose import Decompose
from graphc.passes.pipelines import DEFAULT
from graphc.runtime.profile import made_inputs
from graphc.runtime.state import State
from graphc.tools.compare import distance, same_bits, tolerance
from graphc.tools.replay import (
    Memory,
    alone,
    elements,
    memory_for,
    replay,
    run_naive,
    runs,
    touched,
)

Arrays = Mapping[str, NumpyArray]
Report = Callable[[str], None]

_ROUNDINGS = 16  # a result comes of many operations
_DRAWS = 4


@dataclass(frozen=True)
class Difference:
    """Where a program first departs from its meaning.

    step      passes, lowering, kernels, plan or threads
    name      the pass, node or launch
    what      the output, state tensor or buffer that differs
    distance  relative to the largest element
    source    lines of the model
    """

    step: str
    name: str
    what: str
    distance: float
    source: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = f" ({', '.join(self.source)})" if self.source else ""
        return f"{self.step}: {self.name} changes {self.what} by {self.distance:.2g}{lines}"


@dataclass(frozen=True)
class Case:
    """A graph on given arrays, and how it is to be compiled."""

    graph: Graph
    inputs: Sequence[NumpyArray]
    state: Arrays
    backend: str
    threads: int
    passes: Pipeline


def find_difference(
    graph: Graph,
    state: Arrays | None = None,
    inputs: Sequence[NumpyArray] | None = None,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    passes: Pipeline = DEFAULT,
    report: Report = lambda line: None,
) -> Difference | None:
    """The first step of the compiler whose result departs from the step before; None: no one.

    `state` holds the graph's state tensors; it and the inputs are made where none are given.
    `report` is told what has been checked. Choose small shapes: the naive kernels run in NumPy.

    >>> from graphc.frontends.tracing import Spec, trace
    >>> print(find_difference(trace(lambda x: (x * x).sum(), Spec((8,)))))
    None
    """
    given = made_inputs(graph) if inputs is None else inputs
    count = settings.threads() if threads is None else threads
    kept = _made_state(graph) if state is None else state
    case = Case(graph, given, kept, backend, count, passes)
    fused, found = _check_passes(case, report)
    if found is not None:
        return found
    found = _check_lowering(fused, case, report)
    return found if found is not None else _check_program(fused, case, report)


def _made_state(graph: Graph) -> dict[str, NumpyArray]:
    names = [value.name for value in graph.state]
    arrays = made_inputs(replace(graph, inputs=graph.state, state=()))
    return dict(zip(names, arrays, strict=True))


# Passes


def _check_passes(case: Case, report: Report) -> tuple[Graph, Difference | None]:
    """The graph after all passes, or after the first that changes a result."""
    graph = case.graph
    before = _results(graph, case)
    tolerances = _tolerances(before, case)
    for step in case.passes:
        changed = step.run(graph)
        if changed is graph:
            continue
        after = _results(changed, case)
        for name, expected in before.items():
            apart = distance(after[name], expected)
            if apart > tolerances.get(name, 0.0):  # the number of a fault is whole
                return changed, Difference("passes", str(step), name, apart)
        graph, before = changed, after
    report(f"passes    {len(case.passes)} keep what the graph computes")
    return graph, None


def _results(graph: Graph, case: Case) -> dict[str, NumpyArray]:
    """{output or state tensor: elements} by the operators' meanings."""
    outputs, updates = evaluate(without_gradients(graph), case.inputs, case.state)
    named = {f"output {number}": array for number, array in enumerate(outputs)}
    return named | dict(updates)


def _tolerances(results: Arrays, case: Case) -> dict[str, float]:
    """How far rounding may move each result of the graph."""

    def again(random: np.random.Generator) -> list[NumpyArray]:
        moved = replace(
            case,
            inputs=[_moved(array, random) for array in case.inputs],
            state={name: _moved(array, random) for name, array in case.state.items()},
        )
        found = _results(case.graph, moved)
        return [found[name] for name in results]

    longest = max(map(_fold_length, without_gradients(case.graph).nodes), default=1)
    allowed = _roundings(list(results.values()), again, longest)
    return dict(zip(results, allowed, strict=True))


def _roundings(
    results: Sequence[NumpyArray],
    again: Callable[[np.random.Generator], Sequence[NumpyArray]],
    length: float,
) -> list[float]:
    """Tolerances of results, by how far they move where what they come from is moved by rounding.

    A sum of n terms may move sqrt(n) times as far when its order changes, since its parts can be
    that much larger than its terms. Several draws, since one may move a result hardly by chance.
    """
    random = np.random.default_rng(0)
    factor = _ROUNDINGS * max(1.0, length) ** 0.5
    allowed = [tolerance(array) for array in results]
    for _ in range(_DRAWS):
        moved = again(random)
        for number, array in enumerate(results):
            apart = factor * distance(moved[number], array)
            allowed[number] = max(allowed[number], apart)
    return allowed


def _fold_length(node: Node) -> float:
    """At least as many elements as a node adds up to one of a result."""
    most = max((value.type.size for value in node.operands), default=1)
    least = min((value.type.size for value in node.results), default=1)
    return most / max(1, least)


def _moved(array: NumpyArray, random: np.random.Generator) -> NumpyArray:
    """Floats up to two units in the last place away."""
    if array.dtype.kind != "f":
        return array
    steps = random.integers(-2, 3, array.shape)
    return np.asarray(array * (1 + steps * np.finfo(array.dtype).eps), array.dtype)


def without_gradients(graph: Graph) -> Graph:
    """The graph with its `grad` nodes expanded; the same object where it has none."""
    differentiates = any(node.op == "grad" for node in graph.every_node())
    return expand(Decompose(lacking="vjp").run(graph)) if differentiates else graph


# Lowering


def _check_lowering(graph: Graph, case: Case, report: Report) -> Difference | None:
    """Every node alone, on the elements that reach it."""
    known: dict[Value, NumpyArray] = dict(zip(graph.inputs, case.inputs, strict=True))
    known |= {value: np.asarray(case.state[value.name]) for value in graph.state}
    for node in graph.nodes:
        operands = [known[value] for value in node.operands]
        results = _meaning(node, operands)
        allowed = _allowed(node, operands, results)
        lowered = _lowered(node, operands)
        for number, expected in enumerate(results):
            apart = distance(lowered[number], expected)
            if apart > allowed[number]:
                name = f"{node.op} {node.attrs.get('name', '')}".strip()
                return Difference("lowering", name, f"result {number}", apart, node.source)
        known.update(zip(node.results, results, strict=True))
    report(f"lowering  {len(graph.nodes)} nodes have naive kernels of the same meaning")
    return None


def _meaning(node: Node, operands: Sequence[NumpyArray]) -> tuple[NumpyArray, ...]:
    with np.errstate(all="ignore"):
        return apply(node, operands)


def _allowed(
    node: Node, operands: Sequence[NumpyArray], results: Sequence[NumpyArray]
) -> list[float]:
    """How far rounding may move the results of a node."""

    def again(random: np.random.Generator) -> Sequence[NumpyArray]:
        return _meaning(node, [_moved(array, random) for array in operands])

    return _roundings(results, again, _fold_length(node))


def _lowered(node: Node, operands: Sequence[NumpyArray]) -> list[NumpyArray]:
    """The results of a node by the naive kernels that it is lowered to."""
    distinct = dict(zip(node.operands, operands, strict=True))
    named = {value: Value(value.type, f"x{number}") for number, value in enumerate(distinct)}
    single = replace(node, operands=tuple(named[value] for value in node.operands))
    graph = Graph("node", tuple(named.values()), (single,), node.results)
    schedule = lower(graph)
    memory = memory_for(schedule, graph, list(distinct.values()), {})
    replay(schedule, memory)
    return [elements(schedule.by_name[name], memory[name]) for name in schedule.outputs]


# Kernels, plan and threads


def _check_program(graph: Graph, case: Case, report: Report) -> Difference | None:
    schedule = lower(graph)
    memory = memory_for(schedule, graph, case.inputs, case.state)
    found = _check_kernels(schedule, memory, case)
    if found is not None:
        return found
    report(f"kernels   {len(list(schedule.launches()))} launches agree with their naive kernels")
    for step, threads in {"plan": 1, "threads": case.threads}.items():
        for name, array in _run_whole(case, threads):
            expected = elements(schedule.by_name[name], memory[name])
            if not same_bits(array, expected):
                return Difference(step, graph.name, name, distance(array, expected))
        report(f"{step:9} the whole program agrees, threads={threads}")
    return None


def _check_kernels(schedule: Schedule, memory: Memory, case: Case) -> Difference | None:
    """Replay the schedule; of a repeat the first two iterations and the last are checked."""
    for run in runs(schedule, memory):
        launch = run.launch
        native = touched(launch, memory)
        run_naive(schedule, launch, memory)
        if not run.is_last and any(number > 1 for number in run.indices.values()):
            continue
        _run_native(alone(schedule, launch), native, case)
        for name, found in native.items():
            if not same_bits(found, memory[name]):
                apart = distance(found, memory[name])
                return Difference("kernels", launch.name, f"buffer {name}", apart, launch.source)
    return None


def _run_native(single: Schedule, memory: Memory, case: Case) -> None:
    """Run a schedule whose storages are all state, on the backend; `memory` is changed."""
    state = State()
    for storage in single.storages:
        state.add(storage.name, elements(storage, memory[storage.name]))
        state.set_order(storage.name, storage.order or range(len(storage.shape)))
    backend = find(case.backend)
    backend.load(build(single, {}, backend), state, case.threads).run([])
    for storage in single.storages:
        elements(storage, memory[storage.name])[...] = state.array(storage.name)


def _run_whole(case: Case, threads: int) -> Iterator[tuple[str, NumpyArray]]:
    """(storage, elements) of the outputs and the state, from the compiled program."""
    state = State()
    for value in case.graph.state:
        state.add(value.name, case.state[value.name])
    program = compile_graph(
        case.graph, state, backend=case.backend, threads=threads, passes=case.passes
    )
    outputs = program.run(case.inputs)
    yield from zip(program.schedule.outputs, outputs, strict=False)
    yield from ((name, state.array(name)) for name in state)
