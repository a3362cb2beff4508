"""Fused against unfused: they agree, and what each fusion gives in time, traffic and memory.

Fusions are the options of `recognise`, composites with a loop nest of their own, `fuse`, and the
kinds of its groups. Each is switched off alone, and all together; a program that a switch does not
change is not measured again, nor is one that another switch has made.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np

from graphc.compiler import compile_graph
from graphc.inspect.timing import Clock, Times, race
from graphc.inspect.ungroup import KINDS, Open, Ungroup, whole_nests
from graphc.ir import Graph, Value
from graphc.passes.base import Pipeline
from graphc.passes.cse import Cse
from graphc.passes.dce import Dce, remove_dead
from graphc.passes.decompose import Decompose
from graphc.passes.fuse import Fuse
from graphc.passes.recognise import Recognise
from graphc.passes.remat import Remat
from graphc.runtime.profile import traffic_bytes
from graphc.runtime.program import Program
from graphc.runtime.state import State

Array = np.ndarray[Any, Any]
ALL = "all"
# How far a float may be off, against the largest of its tensor, when sums are ordered otherwise.
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}
# A tensor much smaller than the largest gradient is rounding noise: the bias before a batch norm.
_NOISE = 1e-2


# Switches


@dataclass(frozen=True)
class Switch:
    """A fusion, and the pipeline without it."""

    name: str
    passes: Pipeline


def switches(passes: Pipeline) -> list[Switch]:
    """Every fusion of a pipeline that is on.

    >>> from graphc.passes.recognise import Recognise
    >>> [switch.name for switch in switches((Recognise(softmax=False),))][:2]
    ['recognise.cross_entropy', 'recognise.normalisations']
    """
    found: list[Switch] = []
    for number, step in enumerate(passes):
        before, after = passes[:number], passes[number + 1 :]
        if isinstance(step, Recognise):
            found += [Switch(f"recognise.{o}", (*before, off, *after)) for o, off in _off(step)]
            found += [Switch(op, (*before, step, Open(op), *after)) for op in whole_nests()]
        elif isinstance(step, Fuse):
            alone = tuple(other for other in after if not isinstance(other, Remat))
            found.append(Switch("fuse", before + alone))
            found += [
                Switch(f"fuse {kind}", (*before, step, *_ungroup(kind), *after)) for kind in KINDS
            ]
    return found


def unfused(passes: Pipeline) -> Pipeline:
    """The pipeline with no pass that fuses, or looks at groups, and composites with nests of
    their own opened.

    >>> from graphc.passes.pipelines import DEFAULT, UNFUSED
    >>> unfused(DEFAULT) == UNFUSED
    True
    """
    return tuple(
        Decompose(lacking="fusion") if isinstance(step, Recognise) else step
        for step in passes
        if not isinstance(step, Fuse | Remat)
    )


def _ungroup(kind: str) -> Pipeline:
    """What groups hold twice is computed once again where they are taken apart."""
    return (Ungroup(kind), Cse(), Dce())


def _off(step: Recognise) -> Iterator[tuple[str, Recognise]]:
    """(option, the pass without it) of every option that is on."""
    for option in fields(step):
        if getattr(step, option.name) is True:
            yield option.name, replace(step, **{option.name: False})


# Agreement


@dataclass(frozen=True)
class Difference:
    """How far two programs are apart in one tensor.

    largest   the greatest magnitude of the unfused one's elements
    scale     what `off` is held against: `largest`, or where that is mere rounding, the size from
              which on it would count
    allowed   the most that `off` may be
    """

    name: str
    off: float
    largest: float
    scale: float
    allowed: float

    @property
    def relative(self) -> float:
        """Against the scale."""
        return self.off / self.scale if self.scale else self.off

    @property
    def agrees(self) -> bool:
        return self.off <= self.allowed


def gradient_graph(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """(the graph that gives the loss and every gradient of a training graph, their names).

    A graph with no gradient gives its outputs and the new values of its state.
    """
    node = next((node for node in reversed(graph.nodes) if node.op == "grad"), None)
    if node is None:
        names = [f"output {number}" for number in range(len(graph.outputs))]
        names += [name for name, _ in graph.updates]
        return _only(graph, graph.results), tuple(names)
    numbers = node.attrs["argnums"]
    gradients = node.results[len(node.results) - len(numbers) :]
    names = ["loss", *(f"gradient of {node.operands[n].name}" for n in numbers)]
    return _only(graph, (node.results[0], *gradients)), tuple(names)


def _only(graph: Graph, outputs: Sequence[Value]) -> Graph:
    """The graph with these outputs, no updates, and the state that it then reads."""
    pruned = remove_dead(replace(graph, outputs=tuple(outputs), updates=(), remarks=()))
    read = {value for node in pruned.nodes for value in node.operands} | set(outputs)
    return replace(pruned, state=tuple(value for value in graph.state if value in read))


def compare(
    graph: Graph,
    state: State,
    arrays: Sequence[Any],
    passes: Pipeline,
    *,
    backend: str = "cpu",
    threads: int | None = None,
) -> list[Difference]:
    """Loss and gradients of a training graph by `passes` and by the same with no fusion."""
    wanted, names = gradient_graph(graph)
    found = []
    for pipeline in (passes, unfused(passes)):
        program = compile_graph(
            wanted, _copy(state, wanted), backend=backend, threads=threads, passes=pipeline
        )
        found.append([np.array(array, np.float64) for array in program.run(arrays)])
    return differences(names, [value.dtype.name for value in wanted.outputs], *found)


def differences(
    names: Sequence[str], dtypes: Sequence[str], fused: Sequence[Array], plain: Sequence[Array]
) -> list[Difference]:
    """How far each tensor is off; NaN and infinity agree with themselves alone."""
    largest = [_largest(array) for array in plain]
    least = _NOISE * max(largest[1:], default=0.0)
    return [
        Difference(
            name,
            _distance(a, b),
            size,
            max(size, least),
            TOLERANCE.get(dtype, 0.0) * max(size, least),
        )
        for name, dtype, a, b, size in zip(names, dtypes, fused, plain, largest, strict=True)
    ]


def _largest(array: Array) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _distance(a: Array, b: Array) -> float:
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(a - b))
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


def _copy(state: State, graph: Graph) -> State:
    """A state of its own, of what the graph reads."""
    return State({value.name: copy.deepcopy(state[value.name]) for value in graph.state})


# Measuring


@dataclass(frozen=True)
class Variant:
    """The step's program by one pipeline.

    traffic_bytes   what its launches must move in a step
    loss            of the first step, from the same state
    """

    name: str
    times: Times
    launches: int
    traffic_bytes: int
    peak_bytes: int
    loss: float


@dataclass(frozen=True)
class Fusions:
    """What fusions give.

    fused      the program with every fusion
    variants   without all of them, then without each that the model has
    unused     fusions that find nothing in this model
    """

    name: str
    fused: Variant
    variants: tuple[Variant, ...]
    unused: tuple[str, ...]


def measure_fusions(
    graph: Graph,
    state: State,
    arrays: Sequence[Any],
    passes: Pipeline,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    seconds: float = 2.0,
    clock: Clock = time.perf_counter,
) -> Fusions:
    """Time a step by `passes` and with each fusion off, in turn, about `seconds` for each."""

    def build(pipeline: Pipeline) -> Program:
        own = _copy(state, graph)
        return compile_graph(graph, own, backend=backend, threads=threads, passes=pipeline)

    programs, unused = {"fused": build(passes), ALL: build(unfused(passes))}, []
    for switch in switches(passes):
        program = build(switch.passes)
        same = [name for name, other in programs.items() if _is_same(program, other)]
        if not same:
            programs[switch.name] = program
        elif same == ["fused"]:
            unused.append(switch.name)
    losses = {name: _loss(program.run(arrays)) for name, program in programs.items()}
    steps = {name: partial(program.run, arrays) for name, program in programs.items()}
    times = race(steps, seconds * len(steps), clock)
    fused, *others = (
        _variant(name, program, times[name], losses[name]) for name, program in programs.items()
    )
    return Fusions(graph.name, fused, tuple(others), tuple(unused))


def _is_same(program: Program, other: Program) -> bool:
    one, two = program.stage("fused"), other.stage("fused")
    assert isinstance(one, Graph) and isinstance(two, Graph)
    return one.structural_hash == two.structural_hash


def _loss(outputs: Sequence[Array]) -> float:
    return float(np.ravel(outputs[0])[0]) if outputs and outputs[0].size else float("nan")


def _variant(name: str, program: Program, times: Times, loss: float) -> Variant:
    return Variant(
        name,
        times,
        len(program.launches),
        traffic_bytes(program.schedule),
        program.memory.peak_bytes,
        loss,
    )
