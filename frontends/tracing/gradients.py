"""`grad`, `value_and_grad`, `vjp`: gradients of Python functions.

Inside traced code they write a `grad` node, which holds the function and is expanded by the pass
autodiff, innermost first; so they compose. Outside, on arrays, they evaluate at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from graphc.errors import ArgumentError, DTypeError, ShapeError, TraceError
from graphc.frontends.tracing.convert import as_tensor, cast, emit, normal_axis
from graphc.frontends.tracing.face import entry
from graphc.frontends.tracing.recorder import current, recording
from graphc.frontends.tracing.tensor import Tensor
from graphc.frontends.tracing.trace import Trace
from graphc.frontends.tracing.trees import build, flatten
from graphc.ir import Attribute, Graph

Function = Callable[..., Any]


def grad(fn: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """A function that gives the gradient of `fn`, a scalar, with respect to its arguments.

    `argnums` is the position of an argument (the gradient has its structure), or several (a
    tuple). With `has_aux`, `fn` gives (scalar, anything else), the result is (gradient, that).

    >>> import numpy as np
    >>> grad(lambda x: (x * x).sum())(np.float32([1, 2]))
    array([2., 4.], dtype=float32)
    """

    def gradient(*args: Any, **kwargs: Any) -> Any:
        _, aux, found = _differentiate(fn, args, kwargs, argnums, has_aux)
        return (found, aux) if has_aux else found

    return _named_after(fn, entry(gradient))


def value_and_grad(
    fn: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """As `grad`, but gives (value, gradient); with `has_aux`, ((value, aux), gradient)."""

    def both(*args: Any, **kwargs: Any) -> Any:
        value, aux, found = _differentiate(fn, args, kwargs, argnums, has_aux)
        return ((value, aux) if has_aux else value), found

    return _named_after(fn, entry(both))


def _named_after(fn: Function, result: Function) -> Function:
    return wraps(fn)(result) if hasattr(fn, "__name__") else result


def _name(fn: Function) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


class Region:
    """A function traced with inputs in place of the leaves of some of its arguments."""

    def __init__(
        self, fn: Function, args: Sequence[Any], kwargs: dict[str, Any], positions: Sequence[int]
    ) -> None:
        outer = current()
        self.trace = Trace(outer.session, outer)
        self.name = _name(fn)
        self.operands: list[Tensor] = []
        self.inputs: list[Tensor] = []
        replaced = list(args)
        for position in positions:
            leaves, tree = flatten(args[position])
            tensors = [as_tensor(leaf) for leaf in leaves]
            inputs = [self.trace.input(tensor.type) for tensor in tensors]
            replaced[position] = build(tree, inputs)
            self.operands += tensors
            self.inputs += inputs
        with recording(self.trace):
            self.result = fn(*replaced, **kwargs)

    def close(self, outputs: Sequence[Tensor]) -> tuple[list[Tensor], Graph]:
        """(operands, region) of a node: inputs, then what the function reads around it.

        The outputs are followed by the new elements of the state that the function assigned.
        """
        captures = self.trace.captures().values()
        inputs = [tensor.value for tensor in self.inputs] + [value for _, value in captures]
        results = [*outputs, *self.trace.written.values()]
        operands = self.operands + [operand for operand, _ in captures]
        return operands, self.trace.graph(self.name, inputs, results)

    def store(self, tensors: Sequence[Tensor]) -> None:
        """Assign the state around to what the node gives for it."""
        for holder, tensor in zip(self.trace.written, tensors, strict=True):
            current().write(holder, tensor)


def _differentiate(
    fn: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    argnums: int | Sequence[int],
    has_aux: bool,
) -> tuple[Any, Any, Any]:
    """(value, aux, gradients), from a `grad` node in the code around."""
    positions = _positions(argnums, len(args))
    args = _floats(args, positions)
    region = Region(fn, args, kwargs, positions)
    with recording(region.trace):
        value, extra = _split_aux(region.result, has_aux)
        leaves, aux_tree = flatten(extra)
        outputs = [_scalar(value, region.name), *(as_tensor(leaf) for leaf in leaves)]
    operands, graph = region.close(outputs)
    further = len(graph.outputs) > 1
    attrs: dict[str, Attribute] = {
        "argnums": tuple(range(len(region.inputs))),
        "value": True,
        "aux": further,
    }
    found = current().emit("grad", operands, attrs, [graph])
    region.store(found[len(outputs) : len(graph.outputs)])
    aux = build(aux_tree, found[1 : len(outputs)])
    gradients = _structured(found[len(graph.outputs) :], args, positions)
    return found[0], aux, gradients[0] if isinstance(argnums, int) else tuple(gradients)


def _positions(argnums: int | Sequence[int], count: int) -> list[int]:
    listed = [argnums] if isinstance(argnums, int) else list(argnums)
    if not listed or any(not -count <= number < count for number in listed):
        raise ArgumentError(f"grad: argnums is {argnums} for {count} positional arguments")
    return [normal_axis(number, count, "grad") for number in listed]


def _floats(args: tuple[Any, ...], positions: Sequence[int]) -> tuple[Any, ...]:
    """The arguments, with the leaves to differentiate as tensors of a float type."""
    converted = list(args)
    for position in positions:
        leaves, tree = flatten(args[position])
        converted[position] = build(tree, [_differentiable(leaf, position) for leaf in leaves])
    return tuple(converted)


def _differentiable(leaf: Any, position: int) -> Tensor:
    tensor = as_tensor(leaf)
    if not tensor.dtype.is_float:
        raise DTypeError(f"grad: argument {position} is {tensor.type}; expected a float type")
    return tensor


def _structured(
    gradients: Sequence[Tensor], args: tuple[Any, ...], positions: Sequence[int]
) -> list[Any]:
    """The gradients, each in the structure of its argument."""
    rest = iter(gradients)
    found = []
    for position in positions:
        leaves, tree = flatten(args[position])
        found.append(build(tree, [next(rest) for _ in leaves]))
    return found


def _split_aux(result: Any, has_aux: bool) -> tuple[Any, Any]:
    if not has_aux:
        return result, None
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TraceError("grad: with has_aux the function must give a pair (scalar, aux)")
    return result


def _scalar(value: Any, name: str) -> Tensor:
    leaves, tree = flatten(value)
    if len(leaves) != 1:
        raise TraceError(f"grad: {name} gives {tree}; expected one scalar")
    tensor = as_tensor(leaves[0])
    if tensor.shape != ():
        raise ShapeError(f"grad: {name} gives {tensor.type}; expected a scalar")
    if not tensor.dtype.is_float:
        raise DTypeError(f"grad: {name} gives {tensor.type}; expected a float type")
    return tensor


# Products of a cotangent and the Jacobian


@entry
def vjp(fn: Function, *inputs: Any) -> tuple[Any, Function]:
    """fn(*inputs), and a function from cotangents of its results to those of the inputs.

    The cotangents have the structure of the results; what comes back is a tuple, one item for
    each input. Inputs of an integer type have the cotangent None.
    """
    region = Region(fn, inputs, {}, range(len(inputs)))
    with recording(region.trace):
        leaves, tree = flatten(region.result)
        outputs = [as_tensor(leaf) for leaf in leaves]
    operands, graph = region.close(outputs)
    found = replay(graph, operands)
    region.store(found[len(outputs) :])
    structure = flatten(inputs)[1]

    def pullback(cotangents: Any) -> Any:
        given, given_tree = flatten(cotangents)
        if given_tree != tree:
            raise TraceError(f"vjp: results are {tree}, cotangents {given_tree}")
        return build(structure, _pull(graph, operands, len(region.inputs), given))

    return build(tree, found[: len(outputs)]), entry(pullback)


def _pull(
    graph: Graph, operands: list[Tensor], inputs: int, cotangents: Sequence[Any]
) -> list[Tensor | None]:
    """The gradient of the sum of results times cotangents, with respect to the first operands."""
    floats = [i for i in range(inputs) if operands[i].dtype.is_float]

    def weighted(*tensors: Tensor) -> Tensor:
        replaced = dict(zip(floats, tensors, strict=True))
        results = replay(graph, [replaced.get(i, t) for i, t in enumerate(operands)])
        pairs = zip(results, cotangents, strict=False)
        terms = [_inner(result, c) for result, c in pairs if result.dtype.is_float]
        return sum(terms[1:], start=terms[0])

    gradients = grad(weighted, range(len(floats)))(*(operands[i] for i in floats))
    by_position = dict(zip(floats, gradients, strict=True))
    return [by_position.get(i) for i in range(inputs)]


def _inner(result: Tensor, cotangent: Any) -> Tensor:
    """The sum of result times cotangent."""
    fixed = cast(as_tensor(cotangent), result.dtype)
    if fixed.shape != result.shape:
        raise ShapeError(f"vjp: a result is {result.type}, its cotangent {fixed.type}")
    product = emit("mul", result, emit("stop_gradient", fixed))
    axes = tuple(range(product.ndim))
    return emit("sum", product, axes=axes) if axes else product


def replay(graph: Graph, operands: Sequence[Tensor]) -> list[Tensor]:
    """Apply a region to tensors, by its nodes, in the current recorder."""
    tensors = dict(zip(graph.inputs, operands, strict=True))
    for node in graph.nodes:
        arguments = [tensors[value] for value in node.operands]
        results = current().emit(node.op, arguments, node.attrs, node.regions, node.source)
        tensors.update(zip(node.results, results, strict=True))
    return [tensors[value] for value in graph.outputs]
