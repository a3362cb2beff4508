"""`compile`: a function, model or graph as a program that is called with arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc.compiler import compile_graph
from graphc.frontends.tracing.holder import make_state
from graphc.frontends.tracing.program import Traced, trace_program
from graphc.frontends.tracing.trees import build, flatten
from graphc.ir import Graph
from graphc.passes.base import Pipeline
from graphc.passes.pipeline_text import parse_pipeline
from graphc.passes.pipelines import DEFAULT, UNFUSED
from graphc.runtime.program import Program


def pipeline(fuse: bool, passes: Pipeline | str | None) -> Pipeline:
    """The passes that options ask for: `passes`, a tuple or its text, goes before `fuse`."""
    if passes is None:
        return DEFAULT if fuse else UNFUSED
    return parse_pipeline(passes) if isinstance(passes, str) else passes


class CompiledFunction:
    """A program that takes and returns what the traced function does."""

    def __init__(self, program: Program, traced: Traced) -> None:
        self.program = program
        self._traced = traced

    def __call__(self, *arguments: Any) -> Any:
        leaves, _ = flatten(arguments)
        outputs = self.program.run([np.asarray(leaf) for leaf in leaves])
        return build(self._traced.output_tree, outputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.program, name)


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
) -> Any:
    """Compile a function or model for arguments of the given Specs, or a graph.

    The programs of one model share its State; their mode, train or eval, is the one that the
    model has now. Raises ShapeError, DTypeError or TraceError that name the line at fault.

    >>> from graphc import Spec
    >>> double = compile(lambda x: x + x, Spec((2,)), backend="interpreter")
    >>> double(np.ones(2, np.float32)).tolist()
    [2.0, 2.0]
    """
    chosen = pipeline(fuse, passes)
    if isinstance(fn, Graph):
        return compile_graph(
            fn,
            backend=backend,
            threads=threads,
            passes=chosen,
            memory_budget=memory_budget,
        )
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
