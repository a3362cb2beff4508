"""`trace`: from a Python function or a model to a graph."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from graphc.errors import ArgumentError
from graphc.frontends.tracing.convert import as_tensor
from graphc.frontends.tracing.face import entry
from graphc.frontends.tracing.holder import Holder, Stateful
from graphc.frontends.tracing.recorder import Session, recording
from graphc.frontends.tracing.source import call_model, defining_code, folder_of
from graphc.frontends.tracing.spec import spec_of
from graphc.frontends.tracing.tensor import Tensor
from graphc.frontends.tracing.trace import Trace, graph_name
from graphc.frontends.tracing.trees import Tree, build, flatten, leaf_paths
from graphc.ir import Graph, Value


@dataclass(frozen=True)
class Traced:
    """A traced program.

    graph        its inputs are the leaves of the arguments, its outputs those of the result
    holders      {name: holder} of every tensor in graph.state
    input_tree   the structure of the arguments (a tuple), and
    output_tree  that of the result, for `trees.build`
    """

    graph: Graph
    holders: Mapping[str, Holder]
    input_tree: Tree
    output_tree: Tree


def trace(fn: Callable[..., Any], *specs: Any) -> Graph:
    """The graph of a function or model on arguments of the given Specs.

    An argument may be a nested tuple, list or dict of Specs; arrays stand for their own Specs.
    Raises ShapeError, DTypeError or TraceError that name the line at fault.

    >>> from graphc import Spec
    >>> print(trace(lambda x: x + 1, Spec((2,))).outputs[0].type)
    f32[2]
    """
    return trace_program(fn, specs).graph


def trace_program(
    fn: Callable[..., Any],
    specs: Sequence[Any],
    model: Stateful | None = None,
    name: str | None = None,
) -> Traced:
    """Trace `fn` and keep what belongs to the graph.

    `model` gives the names of the state; without it, the model is `fn` itself or what it calls.
    """
    _check_arguments(fn, specs)
    stateful = model if model is not None else _as_model(fn)
    folder = stateful.source_folder() if stateful is not None else folder_of(fn)
    session = Session(folder or folder_of(fn))
    if stateful is not None:
        session.adopt(stateful)
    recorder = Trace(session)
    leaves, input_tree = flatten(tuple(specs))
    paths = input_names(fn, specs)
    inputs = [
        recorder.input(spec_of(leaf).type, path) for leaf, path in zip(leaves, paths, strict=True)
    ]
    with recording(recorder):
        outputs, output_tree = _run(fn, build(input_tree, inputs))
    graph = _finish(recorder, name or program_name(fn), inputs, outputs)
    holders = {value.name: _holder(session, value.name) for value in graph.state}
    return Traced(graph, holders, input_tree, output_tree)


def _check_arguments(fn: Callable[..., Any], specs: Sequence[Any]) -> None:
    """Raises ArgumentError where the function cannot be called with as many arguments."""
    if not callable(fn):
        raise ArgumentError(f"trace: {fn!r} is {type(fn).__name__}; expected a function or model")
    bound = fn.args if isinstance(fn, partial) else ()
    try:
        signature = inspect.signature(_signed(fn.func if isinstance(fn, partial) else fn))
    except (TypeError, ValueError):  # some functions written in C have none
        return
    try:
        signature.bind(*bound, *specs)
    except TypeError as error:
        code = defining_code(fn)
        place = f" ({os.path.basename(code.co_filename)}:{code.co_firstlineno})" if code else ""
        raise ArgumentError(
            f"{program_name(fn)}({', '.join(signature.parameters)}) is called with "
            f"{len(bound) + len(specs)} arguments, {len(specs)} of them Specs: {error}{place}"
        ) from None


def _signed(fn: Callable[..., Any]) -> Callable[..., Any]:
    """What has the signature: for a model its `forward`."""
    return getattr(fn, "forward", fn) if hasattr(fn, "named_holders") else fn


def _as_model(fn: Any) -> Stateful | None:
    return fn if hasattr(fn, "named_holders") else None


@entry
def _run(fn: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[list[Tensor], Tree]:
    leaves, tree = flatten(call_model(fn, *arguments))
    return [as_tensor(leaf) for leaf in leaves], tree


def _holder(session: Session, name: str) -> Holder:
    return session.holders.get(name, session.random_key)


def _finish(
    recorder: Trace, name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]
) -> Graph:
    """The graph with its state, in the model's order, and its updates."""
    for holder in recorder.written:
        recorder.first_read(holder)  # an update needs its state, even if nothing reads that
    order = {name: place for place, name in enumerate(recorder.session.holders)}
    state = sorted(
        recorder.first_reads.values(), key=lambda value: order.get(value.name, len(order))
    )
    written = {
        recorder.session.name_of(holder): recorder.open(tensor).value
        for holder, tensor in recorder.written.items()
    }
    graph = Graph(
        name=graph_name(name),
        inputs=tuple(tensor.value for tensor in inputs),
        nodes=tuple(recorder.nodes),
        outputs=tuple(recorder.open(tensor).value for tensor in outputs),
        state=tuple(state),
        updates=tuple((v.name, written[v.name]) for v in state if v.name in written),
    )
    return _with_inputs_apart(graph)


def _with_inputs_apart(graph: Graph) -> Graph:
    """The graph with inputs renamed that are called like a state tensor."""
    taken = {value.name for value in graph.state}
    if not any(value.name in taken for value in graph.inputs):
        return graph
    new = {v: Value(v.type, f"{v.name}_") for v in graph.inputs if v.name in taken}
    nodes = [replace(n, operands=tuple(new.get(v, v) for v in n.operands)) for n in graph.nodes]
    return replace(
        graph,
        inputs=tuple(new.get(value, value) for value in graph.inputs),
        nodes=tuple(nodes),
        outputs=tuple(new.get(value, value) for value in graph.outputs),
        updates=tuple((name, new.get(value, value)) for name, value in graph.updates),
    )


def input_names(fn: Callable[..., Any], specs: Sequence[Any]) -> list[str]:
    """A name for each leaf of the arguments, from the function's own parameters."""
    try:
        parameters = list(inspect.signature(_signed(fn)).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names: list[str] = []
    for position, spec in enumerate(specs):
        names += leaf_paths(spec, _argument_name(parameters, position))
    return names


def _argument_name(parameters: Sequence[inspect.Parameter], position: int) -> str:
    """The parameter that the positional argument goes to; `rest.0` for one of many."""
    for place, parameter in enumerate(parameters):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return f"{parameter.name}.{position - place}"
        if place == position:
            return parameter.name
    return f"input.{position}"


def program_name(fn: Callable[..., Any]) -> str:
    function = getattr(fn, "func", fn)  # what a partial holds
    return getattr(function, "__name__", type(function).__name__)
