"""Recurrent cells, found in primitives.

    before  %5: f32[8,16] = slice(%gates) {…}                # net.py:7
            %6: f32[8,16] = sigmoid(%5)                      # net.py:7
            …
            %c: f32[8,16] = add(mul(%6, %c0), %9)            # net.py:8
            %h: f32[8,16] = mul(%o, tanh(%c))                # net.py:9
    after   %h: f32[8,16], %c: f32[8,16] = lstm_cell(%gates, %c0)

The new memory of an LSTM is found first, the output then reads it. The gates are i, f, g, o side by
side (r, z, n of a GRU); in another order they stay as they are written.
"""

from __future__ import annotations

from collections.abc import Sequence

from graphc.ir import Node, Value
from graphc.passes.finding import Finder, Write, both_ways
from graphc.passes.rewrite import Rewriter


def find_lstm_memory(finder: Finder, node: Node) -> Write | None:
    """sigmoid(f) c + sigmoid(i) tanh(g)."""
    for kept, entered in both_ways(node):
        for remember, c in _factors(finder, kept):
            for enter, fresh in _factors(finder, entered):
                wanted = (enter, "sigmoid"), (remember, "sigmoid"), (fresh, "tanh")
                gates = _gates(finder, 4, *wanted)
                if gates is not None:
                    operands = (gates, c)
                    return lambda b: b.emit("lstm_cell", operands, {"saved": False})[1]
    return None


def find_lstm_output(finder: Finder, node: Node) -> Write | None:
    """sigmoid(o) tanh(c'), where c' is an LSTM's memory by gates of which o is the last."""
    for leave, top in both_ways(node):
        memory = finder.node(top, "tanh")
        cell = None if memory is None else finder.node(memory.operands[0], "lstm_cell")
        if memory is None or cell is None or cell.results[1] is not memory.operands[0]:
            continue
        if _gate(finder, leave, "sigmoid", 3, 4) is cell.operands[0]:
            output = cell.results[0]
            return lambda b: output
    return None


def find_gru(finder: Finder, node: Node) -> Write | None:
    """(1 - z) n + z h."""
    for fresh, kept in both_ways(node):
        for left, n in _factors(finder, fresh):
            for z, h in _factors(finder, kept):
                if not _is_complement(finder, left, z):
                    continue
                found = _gru_operands(finder, z, n)
                if found is not None and h.type.rank == 2:
                    operands = (*found, h)
                    return lambda b: b.emit("gru_cell", operands, {"saved": False})[0]
    return None


def _gru_operands(finder: Finder, z: Value, n: Value) -> tuple[Value, Value] | None:
    """(x, s) of z = sigmoid(x_z + s_z) and n = tanh(x_n + r s_n), r = sigmoid(x_r + s_r)."""
    tanh = finder.node(n, "tanh")
    total = None if tanh is None else finder.node(tanh.operands[0], "add")
    for from_input, from_state in both_ways(total) if total is not None else ():
        x = _part(finder, from_input, 2, 3)
        for r, last in _factors(finder, from_state):
            s = _part(finder, last, 2, 3)
            if x is None or s is None:
                continue
            if all(_adds(finder, gate, x, s, k) for k, gate in enumerate((r, z))):
                return x, s
    return None


def _adds(finder: Finder, gate: Value, x: Value, s: Value, number: int) -> bool:
    """Whether the gate is the sigmoid of the number-th parts of x and s."""
    sigmoid = finder.node(gate, "sigmoid")
    total = None if sigmoid is None else finder.node(sigmoid.operands[0], "add")
    if total is None:
        return False
    return any(
        _part(finder, a, number, 3) is x and _part(finder, b, number, 3) is s
        for a, b in both_ways(total)
    )


def _is_complement(finder: Finder, left: Value, z: Value) -> bool:
    """Whether the value is 1 - z."""
    node = finder.node(left, "sub")
    return node is not None and node.operands[1] is z and finder.number(node.operands[0]) == 1


def _factors(finder: Finder, value: Value) -> tuple[tuple[Value, Value], ...]:
    """The two factors of a product, in both orders."""
    node = finder.node(value, "mul")
    return () if node is None else tuple(both_ways(node))


def _gates(finder: Finder, count: int, *gates: tuple[Value, str]) -> Value | None:
    """The matrix of which these, after their functions, are the first parts in this order."""
    found = [_gate(finder, value, op, n, count) for n, (value, op) in enumerate(gates)]
    return found[0] if found[0] is not None and len(set(found)) == 1 else None


def _gate(finder: Finder, value: Value, op: str, number: int, count: int) -> Value | None:
    node = finder.node(value, op)
    return None if node is None else _part(finder, node.operands[0], number, count)


def _part(finder: Finder, value: Value, number: int, count: int) -> Value | None:
    """The matrix of which the value is the number-th of `count` equal parts of the columns."""
    node = finder.node(value, "slice")
    if node is None or value.type.rank != 2:
        return None
    rows, columns = value.shape
    start, stop = (0, number * columns), (rows, (number + 1) * columns)
    is_part = (node.attrs["start"], node.attrs["stop"]) == (start, stop)
    whole = node.operands[0]
    return whole if is_part and whole.shape == (rows, count * columns) else None


# The operand of a cell's gradient that is the state's cotangent, a sum where the state is also
# given out; and where the second of the two goes.
COTANGENTS = {"lstm_cell_grad": (2, 4), "gru_cell_grad": (1, 2)}


def sum_in_cell(rewriter: Rewriter, node: Node) -> Sequence[Value] | None:
    """cell_grad(add(a, b)) adds for itself, so that no launch of its own does."""
    position, further = COTANGENTS[node.op]
    total = rewriter.producer(node.operands[position])
    if node.attrs["further"] or total is None or total.op != "add":
        return None
    operands = list(node.operands)
    operands[position], second = total.operands
    operands.insert(further, second)
    with rewriter.sources(total.source):
        return rewriter.emit(node.op, operands, {"further": True})
