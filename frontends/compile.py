"""`compile`: a function, model or graph as a program that is called with arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.compiler import compile_graph
from graphc.errors import ShapeError, StateError
from graphc.frontends.tracing.holder import make_state
from graphc.frontends.tracing.program import Traced, trace_program
from graphc.frontends.tracing.spec import Spec
from graphc.frontends.tracing.trees import build, flatten, leaves_of
from graphc.frontends.train.arguments import fit_array
from graphc.ir import Graph
from graphc.passes.base import Pipeline
from graphc.passes.pipeline_text import parse_pipeline
from graphc.passes.pipelines import DEFAULT, UNFUSED
from graphc.runtime.program import Program
from graphc.runtime.state import State


def pipeline(fuse: bool, passes: Pipeline | str | None) -> Pipeline:
    """The passes that options ask for: `passes`, a tuple or its text, goes before `fuse`."""
    if passes is None:
        return DEFAULT if fuse else UNFUSED
    return parse_pipeline(passes) if isinstance(passes, str) else passes


class CompiledFunction:
    """A program that takes and returns what the traced function does.

    Other attributes are the Program's: launches, memory, stage, dump...
    """

    def __init__(self, program: Program, traced: Traced | None = None) -> None:
        self.program = program
        self._traced = traced

    def __call__(self, *arguments: Any) -> Any:
        """Raises ShapeError or DTypeError for arguments other than those compiled for."""
        if self._traced is None:
            outputs = self.program.run(arguments, self._fitted)
            return outputs[0] if len(outputs) == 1 else tuple(outputs)
        leaves = leaves_of(self._traced.input_tree, arguments)
        if leaves is None:
            raise ShapeError(
                f"{self.program.graph.name}: arguments are {flatten(arguments)[1]}, "
                f"compiled for {self._traced.input_tree}"
            )
        return build(self._traced.output_tree, self.program.run(leaves, self._fitted))

    def _fitted(self, leaves: Sequence[Any]) -> list[np.ndarray[Any, Any]]:
        graph = self.program.graph
        if len(leaves) != len(graph.inputs):
            raise ShapeError(f"{graph.name}: {len(leaves)} arrays, expected {len(graph.inputs)}")
        return [
            fit_array(leaf, Spec(value.shape, value.dtype), f"{graph.name}: {value.name}")
            for value, leaf in zip(graph.inputs, leaves, strict=True)
        ]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["program"], name)


def compile(
    fn: Callable[..., Any] | Graph,
    *specs: Any,
    model: Any = None,
    backend: str = "cpu",
    threads: int | None = None,
    fuse: bool = True,
    seed: int = 0,
    passes: Pipeline | str | None = None,
    memory_budget: int | None = None,
) -> CompiledFunction:
    """Compile a function or model for arguments of the given Specs, or a graph.

    The programs of one model share its State; their mode, train or eval, is the one that the
    model has now. `model` gives the State of a graph, and the names of a function's.

    Raises ShapeError, DTypeError or TraceError that name the line at fault.

    >>> from graphc import Spec
    >>> double = compile(lambda x: x + x, Spec((2,)), backend="interpreter")
    >>> double(np.ones(2, np.float32)).tolist()
    [2.0, 2.0]
    """
    chosen = pipeline(fuse, passes)
    if isinstance(fn, Graph):
        program = compile_graph(
            fn,
            _state_of(fn, model, seed),
            backend=backend,
            threads=threads,
            passes=chosen,
            memory_budget=memory_budget,
        )
        return CompiledFunction(program)
    traced = trace_program(fn, specs, model)
    program = compile_graph(
        traced.graph,
        make_state(traced.holders, seed),
        backend=backend,
        threads=threads,
        passes=chosen,
        memory_budget=memory_budget,
    )
    return CompiledFunction(program, traced)


def _state_of(graph: Graph, model: Any, seed: int) -> State:
    """The state tensors that a graph names. Raises StateError for one that the model lacks."""
    known = State() if model is None else model.make_state(seed)
    missing = [value.name for value in graph.state if value.name not in known]
    if missing:
        owner = "the model lacks" if model is not None else "no model is given (model=) that has"
        raise StateError(f"{graph.name}: {owner} the graph's state {', '.join(missing)}")
    return State({value.name: known[value.name] for value in graph.state})
