"""Reverse-mode differentiation of one closed graph, by the operators' vjp rules.

A cotangent of a value has the value's type: the derivative of the seeded outputs, weighted by
their cotangents, with respect to it. Cotangents of a value that is read several times are added
in a fixed order, that of the reversed graph, so that gradients have the same bits on every run.

Griewank and Walther, Evaluating Derivatives, 2nd edition, chapter 3.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.errors import ArgumentError, VerifyError
from graphc.ir import Graph, Node, Value
from graphc.ops.build import Builder
from graphc.ops.define import Decompose, Linearised, get
from graphc.ops.scan_segments import has_segments, in_segments
from graphc.passes.changes import over, substitute
from graphc.passes.clone import live_nodes
from graphc.passes.linearise import linearise


class GradientBuilder(Builder):
    """The `Differentiator` that vjp rules write through: it knows what is differentiated."""

    def __init__(self, source: tuple[str, ...] = (), recompute: bool = False) -> None:
        super().__init__(source)
        self.recompute = recompute  # in loops: nothing is kept but what an iteration starts from
        self.active: set[Value] = set()

    def wants(self, value: Value) -> bool:
        """Whether a cotangent of `value` is of any use; a rule need not compute others."""
        return value in self.active

    def differentiate(self, region: Graph, wanted: Sequence[int]) -> Graph:
        """The reverse of a region, for the rules of operators that have regions.

        Takes (inputs…, cotangents of the float outputs…), gives the cotangents of the inputs
        at the positions `wanted`, which must be of float type; zeros where no output depends on
        one. What the backward needs of the forward is computed again inside.
        """
        forward_and_back = self._both(region, wanted)
        back = forward_and_back.outputs[len(region.outputs) :]
        nodes = live_nodes(forward_and_back.nodes, back)
        return Graph(f"{region.name}.vjp", forward_and_back.inputs, nodes, back)

    def linearise(
        self, region: Graph, wanted: Sequence[int], held: Sequence[int], again: bool = False
    ) -> Linearised:
        """The region with results for its reverse, and the reverse of a region that reads them."""
        both = self._both(region, wanted)
        at_hand = {region.inputs[position] for position in held}
        return linearise(region, both, at_hand, keep=not (self.recompute or again))

    def _both(self, region: Graph, wanted: Sequence[int]) -> Graph:
        seeded = [i for i, value in enumerate(region.outputs) if value.dtype.is_float]
        return reverse(region, wanted, seeded, self.recompute)


def reverse(
    region: Graph, wanted: Sequence[int], seeded: Sequence[int], recompute: bool = False
) -> Graph:
    """A closed graph of the region's forward and its backward.

    Takes (inputs…, cotangents of the outputs at `seeded`…), gives (outputs…, cotangents of the
    inputs at `wanted`…). `recompute`: loops keep only the carries that each iteration started
    from, and their backward computes the rest again.

    Raises ArgumentError for a wanted input that is not of float type, and for an operator on
    the way that has no derivative, with the line of the model.
    """
    builder = GradientBuilder(recompute=recompute)
    targets = [region.inputs[position] for position in wanted]
    _check_differentiable(region, targets)
    builder.active.update(targets)
    outputs = _run_forward(builder, region)
    cotangents: dict[Value, Value] = {}
    seeds = tuple(Value(outputs[position].type) for position in seeded)
    for position, seed in zip(seeded, seeds, strict=True):
        _accumulate(builder, cotangents, outputs[position], seed)
    _run_backward(builder, cotangents)
    builder.source = ()
    gradients = tuple(
        cotangents[value] if value in cotangents else builder.zeros(value.type) for value in targets
    )
    inputs = region.inputs + seeds
    return Graph(region.name, inputs, tuple(builder.nodes), outputs + gradients)


def _check_differentiable(region: Graph, targets: Sequence[Value]) -> None:
    for value in targets:
        if not value.dtype.is_float:
            raise ArgumentError(
                f"grad: argument {value.name or region.inputs.index(value)!r} of "
                f"{region.name!r} has type {value.type}; expected a float type"
            )


def _run_forward(builder: GradientBuilder, region: Graph) -> tuple[Value, ...]:
    """Append the region's nodes, mark what is active, and open composites without a vjp."""
    values: dict[Value, Value] = {}
    for node in region.nodes:
        node = over(node, values)
        results = _forward_node(builder, node)
        if results is not node.results:
            values.update(zip(node.results, results, strict=True))
    return substitute(region.outputs, values)


def _forward_node(builder: GradientBuilder, node: Node) -> Sequence[Value]:
    record = get(node.op)
    is_active = not builder.active.isdisjoint(node.operands) and not record.zero_gradient
    if is_active and has_segments(node):
        return _opened(builder, node, in_segments)
    if is_active and record.vjp is None and record.decompose is not None:
        return _opened(builder, node, record.decompose)
    builder.nodes.append(node)
    if is_active:
        builder.active.update(value for value in node.results if value.dtype.is_float)
    return node.results


def _opened(builder: GradientBuilder, node: Node, open_into: Decompose) -> Sequence[Value]:
    """Append other nodes that compute a node's results; these."""
    inner = Builder(node.source)
    results = open_into(inner, node)
    for simpler in inner.nodes:
        _forward_node(builder, simpler)
    return results


def _run_backward(builder: GradientBuilder, cotangents: dict[Value, Value]) -> None:
    """Visit the forward nodes in reverse, and hand each one's cotangents to its operands."""
    for node in reversed(tuple(builder.nodes)):
        given = [cotangents.get(value) for value in node.results]
        if all(cotangent is None for cotangent in given):
            continue
        if builder.active.isdisjoint(node.results):
            continue
        builder.source = node.source
        for operand, cotangent in zip(node.operands, _pull(builder, node, given), strict=True):
            if cotangent is not None and operand in builder.active:
                _accumulate(builder, cotangents, operand, cotangent)


def _pull(
    builder: GradientBuilder, node: Node, cotangents: Sequence[Value | None]
) -> Sequence[Value | None]:
    """The operands' cotangents, by the operator's rule."""
    rule = get(node.op).vjp
    if rule is None:
        where = f" ({', '.join(node.source)})" if node.source else ""
        raise ArgumentError(f"grad: operator {node.op!r} has no derivative{where}")
    return rule(builder, node, cotangents)


def _accumulate(
    builder: Builder, cotangents: dict[Value, Value], value: Value, cotangent: Value
) -> None:
    """Add to what `value` has been given so far."""
    if cotangent.type != value.type:
        raise VerifyError(
            f"a cotangent has type {cotangent.type}; expected {value.type} "
            f"({', '.join(builder.source)})"
        )
    so_far = cotangents.get(value)
    cotangents[value] = cotangent if so_far is None else builder.add(so_far, cotangent)
