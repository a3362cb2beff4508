"""Whether a call fits its operation or formula.

>>> from graphc.dtypes import float32, int64
>>> from graphc.loops.expressions import Call, Variable
>>> fault(Call("add", (Variable("i"), Variable("x", float32)), int64))
'add takes operands of one type, not int64, float32'
"""

from __future__ import annotations

import inspect

from graphc.dtypes import bool_
from graphc.loops import formulas, operations
from graphc.loops.expressions import Call
from graphc.loops.operations import Signature


def signature(op: str) -> Signature | None:
    """The row of an operation or formula; None where there is no such operation."""
    if op not in formulas.TABLE:
        return operations.TABLE.get(op)
    write, dtypes = formulas.TABLE[op]
    kinds = " or ".join(dtype.name for dtype in dtypes)
    return Signature(len(inspect.signature(write).parameters), lambda t: t in dtypes, kinds)


def fault(call: Call) -> str | None:
    """What is wrong with the types of an operation, operands taken as right; None if nothing."""
    row = signature(call.op)
    if row is None:
        return f"no operation {call.op!r}"
    if len(call.args) != row.operands:
        return f"{call.op} takes {row.operands} operands, not {len(call.args)}"
    given = ", ".join(arg.dtype.name for arg in call.args)
    types = [arg.dtype for arg in call.args]
    if call.op == "select" and types.pop(0) != bool_:
        return f"select takes a bool and two values, not {given}"
    if len(set(types)) > 1:
        return f"{call.op} takes operands of one type, not {given}"
    if not row.takes(types[0]):
        return f"{call.op} takes {row.kind}, not {given}"
    if call.op == "bitcast" and types[0].itemsize != call.dtype.itemsize:
        return f"bitcast keeps the width, not {given} to {call.dtype}"
    expected = operations.result_type(call.op, call.args) or call.dtype
    return None if expected == call.dtype else f"{call.op} gives {expected}, not {call.dtype}"
