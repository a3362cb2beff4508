"""`cond`, the choice between two functions of which only one runs, as jax.lax has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphc.errors import DTypeError, ShapeError, TraceError
from graphc.frontends.tracing.convert import (
    ArrayLike,
    as_bool,
    as_tensor,
    common_type,
    is_weak,
    to,
)
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.holder import Holder
from graphc.frontends.tracing.recorder import current, recording
from graphc.frontends.tracing.tensor import Tensor
from graphc.frontends.tracing.trace import Trace
from graphc.frontends.tracing.trees import Tree, build, flatten
from graphc.ir import Graph, Value


class _Branch:
    """One of the two functions, traced on operands of the given types."""

    def __init__(self, function: Callable[..., Any], operands: list[Tensor], tree: Tree) -> None:
        outer = current()
        self.trace = Trace(outer.session, outer)
        self.inputs = [self.trace.input(operand.type) for operand in operands]
        with recording(self.trace):
            leaves, self.tree = flatten(function(*build(tree, self.inputs)))
            self.leaves = [leaf if is_weak(leaf) else as_tensor(leaf) for leaf in leaves]

    def convert(self, others: list[Any]) -> None:
        """Give numbers among the results the type that the other branch gives."""
        with recording(self.trace):
            self.results = [
                to(leaf, common_type(leaf, other)) if is_weak(leaf) else leaf
                for leaf, other in zip(self.leaves, others, strict=True)
            ]

    def state(self, holders: list[Holder]) -> list[Tensor]:
        """The state tensors as this branch leaves them."""
        return [self.trace.read(holder) for holder in holders]

    def region(self, name: str, keys: list[Value | Holder], outputs: list[Tensor]) -> Graph:
        """The branch as a closed graph, which takes every key whether it reads it or not."""
        captures = self.trace.captures()
        captured = [captures[key][1] if key in captures else Value(key.type) for key in keys]
        return self.trace.graph(name, [*(t.value for t in self.inputs), *captured], outputs)


@face()
def cond(
    predicate: ArrayLike,
    true_function: Callable[..., Any],
    false_function: Callable[..., Any],
    *operands: Any,
) -> Any:
    """true_function(*operands) where the scalar predicate holds, else false_function(*operands).

    Only one of them runs. Both give the same structure, shapes and types.
    """
    condition = as_bool(predicate)
    if condition.shape != ():
        raise ShapeError(f"cond: predicate is {condition.type}; expected a scalar")
    leaves, tree = flatten(operands)
    tensors = [as_tensor(leaf) for leaf in leaves]
    yes, no = (_Branch(f, tensors, tree) for f in (true_function, false_function))
    _check_structure(yes, no)
    yes.convert(no.leaves)
    no.convert(yes.leaves)
    _check_types(yes, no)
    return _append(condition, tensors, yes, no)


def _check_structure(yes: _Branch, no: _Branch) -> None:
    if yes.tree != no.tree:
        raise TraceError(
            f"cond: the true branch gives {yes.tree}, the false branch {no.tree}; expected one "
            "structure"
        )


def _check_types(yes: _Branch, no: _Branch) -> None:
    for number, (a, b) in enumerate(zip(yes.results, no.results, strict=True)):
        if a.type != b.type:
            error = ShapeError if a.shape != b.shape else DTypeError
            raise error(
                f"cond: result {number} is {a.type} in the true branch, {b.type} in the false one"
            )


def _append(condition: Tensor, operands: list[Tensor], yes: _Branch, no: _Branch) -> Any:
    """Append the choice to the code around."""
    outer = current()
    written = list(dict.fromkeys([*yes.trace.written, *no.trace.written]))
    outputs = [branch.results + branch.state(written) for branch in (yes, no)]
    captures = yes.trace.captures() | no.trace.captures()
    keys = list(captures)
    regions = [
        branch.region(name, keys, results)
        for branch, name, results in zip((yes, no), ("true", "false"), outputs, strict=True)
    ]
    captured = [operand for operand, _ in captures.values()]
    found = outer.emit("cond", [condition, *operands, *captured], {}, regions)
    count = len(yes.results)
    for holder, tensor in zip(written, found[count:], strict=True):
        outer.write(holder, tensor)
    return build(yes.tree, found[:count])
