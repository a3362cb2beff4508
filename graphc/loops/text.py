"""Kernels and schedules as text; `graphc.loops.parse` reads it back to equal ones.

    kernel    = kernel @name(access buffer, ...) { statement... }
    buffer    = name: [space] f32[64,32] [order(1,0)]
    access    = in | out | inout                           space = register | scratch | shared
    statement = kind i in expr..expr [step 4] { statement... }
              | let name = expr
              | store name[expr, ...] = expr [where expr]
              | local buffer
              | when expr { statement... }
              | contract tile[row, column] += expr * expr
    kind      = serial | parallel | vector | unroll | block | thread

    expr      = 3 | true | f32(0.5) | u32(7)               literals: i64, bool, any other type
              | name                                       typed where it is bound
              | expr op expr        or, and, < <= > >= == !=, + -, * / // %   loosest first
              | op(expr, ...)       any other operation, of its last operand's type
              | op<f32>(expr, ...)  where that is not its type: cast, bitcast
              | name[expr, ... [where expr [else literal]]]
              | reduce sum [k < 8, ...] lanes=1 (expr, ... [where expr])
              | reduce argmax [...] lanes=1 (...).1        one item of several

    schedule  = schedule @name { storage... data... [inputs name, ...] [outputs name, ...]
                define... step... }
    storage   = purpose name: f32[64,32] [order(1,0)] [# source, ...]
    purpose   = input | output | state | constant | temporary
    data      = data name = "digest"                       the elements of a constant
    define    = define name = kernel
    step      = launch name = kernel(argument, ...) [{fact, ...}] [# source, ...]
              | repeat i in 0..10 { step... }
              | branch argument { step... } [else { step... }]
    fact      = ops=(op, ...) | reason="..." | flops=1 | bytes=1
    argument  = storage [+ expr]

Operators of equal rank group to the left, comparisons do not chain. Names that are keywords or no
plain identifiers are quoted. Every fold prints its order: the number of its lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from graphc.dtypes import DType, bool_, int64
from graphc.lexing import DTYPES, format_float, format_source, quote, quote_unless_name
from graphc.loops.expressions import Call, Expr, Item, Literal, Load, Reduce, Variable
from graphc.loops.kernel import (
    Buffer,
    Contract,
    Kernel,
    Let,
    Local,
    Loop,
    Prefetch,
    Statement,
    Store,
    When,
)
from graphc.loops.operations import result_type
from graphc.loops.schedule import Argument, Branch, Launch, Repeat, Schedule, Step, Storage

RESERVED = frozenset(
    ("true", "false", "nan", "inf", "and", "or", "reduce", "where", "else", "in", "out", "inout")
) | frozenset(DTYPES)

# Operation -> its symbol and rank; operators of a higher rank bind tighter.
INFIX = {
    "or": ("or", 1),
    "and": ("and", 2),
    "lt": ("<", 3),
    "le": ("<=", 3),
    "gt": (">", 3),
    "ge": (">=", 3),
    "eq": ("==", 3),
    "ne": ("!=", 3),
    "add": ("+", 4),
    "sub": ("-", 4),
    "mul": ("*", 5),
    "div": ("/", 5),
    "floordiv": ("//", 5),
    "mod": ("%", 5),
}
COMPARISON_RANK = 3
PRIMARY_RANK = 6
_LINE_LENGTH = 100
_INDENT = "  "


def _name(name: str) -> str:
    return quote_unless_name(name, RESERVED)


# Expressions


def format_expression(expr: Expr, rank: int = 0) -> str:
    """The text of an expression, in parentheses where its operator ranks below `rank`."""
    match expr:
        case Literal():
            return format_literal(expr)
        case Variable(name=name):
            return _name(name)
        case Call():
            return _call(expr, rank)
        case Load(buffer, index, _, guard, fill):
            return f"{_name(buffer)}[{_list(index)}{_guard(guard, fill)}]"
        case Reduce():
            return _reduce(expr)
        case Item(reduce, position):
            return f"{_reduce(reduce)}.{position}"


def _list(exprs: Sequence[Expr]) -> str:
    return ", ".join(map(format_expression, exprs))


def format_literal(literal: Literal) -> str:
    value, dtype = literal.value, literal.dtype
    plain = _scalar(value)
    if (dtype == int64 and type(value) is int) or (dtype == bool_ and type(value) is bool):
        return plain
    return f"{dtype.short}({plain})"


def _scalar(value: int | float | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return format_float(value) if isinstance(value, float) else int.__repr__(value)


def _call(call: Call, rank: int) -> str:
    derived = result_type(call.op, call.args)
    if call.op in INFIX and len(call.args) == 2 and call.dtype == derived:
        return _infix(call, rank)
    return f"{_name(call.op)}{_type_unless(call.dtype, derived)}({_list(call.args)})"


def _infix(call: Call, rank: int) -> str:
    symbol, own = INFIX[call.op]
    left = format_expression(call.args[0], own + 1 if own == COMPARISON_RANK else own)
    text = f"{left} {symbol} {format_expression(call.args[1], own + 1)}"
    return f"({text})" if own < rank else text


def _type_unless(dtype: DType, derived: DType | None) -> str:
    return "" if dtype == derived else f"<{dtype.short}>"


def _guard(guard: Expr | None, fill: Literal | None) -> str:
    if guard is None and fill is None:
        return ""
    condition = "" if guard is None else f" where {format_expression(guard)}"
    return condition + ("" if fill is None else f" else {format_literal(fill)}")


def _reduce(fold: Reduce) -> str:
    axes = ", ".join(f"{_name(axis.name)} < {axis.extent}" for axis in fold.axes)
    derived = fold.body[0].dtype if fold.body else None
    return (
        f"reduce {_name(fold.combine)}{_type_unless(fold.dtype, derived)} [{axes}] "
        f"lanes={fold.lanes} ({_list(fold.body)}{_guard(fold.where, None)})"
    )


# Kernels


def format_kernel(kernel: Kernel) -> str:
    """The text of a kernel, without a line end after it."""
    return "\n".join(_kernel_lines(kernel))


def _kernel_lines(kernel: Kernel) -> Iterator[str]:
    formals = [f"{buffer.access} {format_buffer(buffer)}" for buffer in kernel.buffers]
    title = f"kernel @{_name(kernel.name)}("
    line = f"{title}{', '.join(formals)}) {{"
    if len(line) <= _LINE_LENGTH:
        yield line
    else:
        yield title
        yield from (f"    {formal}," for formal in formals[:-1])
        yield from (f"    {formal}" for formal in formals[-1:])
        yield ") {"
    yield from _body(kernel.body)
    yield "}"


def format_buffer(buffer: Buffer) -> str:
    space = "" if buffer.space == "formal" else f"{buffer.space} "
    return f"{_name(buffer.name)}: {space}{_memory(buffer)}"


def _memory(memory: Buffer | Storage) -> str:
    """Type and order: ``f32[64,32] order(1,0)``."""
    order = f" order({','.join(map(str, memory.order))})" if memory.order else ""
    return f"{memory.dtype.short}[{','.join(map(str, memory.shape))}]{order}"


def _body(statements: Sequence[Statement]) -> Iterator[str]:
    for statement in statements:
        yield _INDENT + format_statement(statement)
        if isinstance(statement, Loop | When):
            yield from (_INDENT + line for line in _body(statement.body))
            yield _INDENT + "}"


def format_statement(statement: Statement) -> str:
    """A statement on one line; of a loop or `when`, the line that opens it."""
    match statement:
        case Loop(kind, var, lower, upper, _, step):
            bounds = f"{format_expression(lower)}..{format_expression(upper)}"
            return f"{kind} {_name(var)} in {bounds}{'' if step == 1 else f' step {step}'} {{"
        case Let(name, value):
            return f"let {_name(name)} = {format_expression(value)}"
        case Store(buffer, index, value, guard):
            place = f"{_name(buffer)}[{_list(index)}]"
            return f"store {place} = {format_expression(value)}{_guard(guard, None)}"
        case Local(buffer=local):
            access = "" if local.access == "in" else f"{local.access} "
            return f"local {access}{format_buffer(local)}"
        case When(condition=condition):
            return f"when {format_expression(condition)} {{"
        case Contract(tile, row, column, a, b):
            product = f"{format_expression(a, PRIMARY_RANK)} * {format_expression(b, PRIMARY_RANK)}"
            return f"contract {_name(tile)}[{_name(row)}, {_name(column)}] += {product}"
        case Prefetch(buffer, index):
            return f"prefetch {_name(buffer)}[{_list(index)}]"


# Schedules


def format_schedule(schedule: Schedule) -> str:
    """The text of a schedule and its kernels, without a line end after it."""
    return "\n".join(_schedule_lines(schedule))


def _schedule_lines(schedule: Schedule) -> Iterator[str]:
    yield f"schedule @{_name(schedule.name)} {{"
    yield from (_INDENT + format_storage(storage) for storage in schedule.storages)
    for name, digest in schedule.constants.items():
        yield f"{_INDENT}data {_name(name)} = {quote(digest)}"
    for word, names in (("inputs", schedule.inputs), ("outputs", schedule.outputs)):
        if names:
            yield f"{_INDENT}{word} {', '.join(map(_name, names))}"
    for key, kernel in schedule.kernels.items():
        first, *rest = _kernel_lines(kernel)
        yield f"{_INDENT}define {_name(key)} = {first}"
        yield from (_INDENT + line for line in rest)
    yield from _steps(schedule.steps)
    yield "}"


def format_storage(storage: Storage) -> str:
    source = format_source(storage.source)
    return f"{storage.purpose} {_name(storage.name)}: {_memory(storage)}{source}"


def _steps(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        yield _INDENT + format_step(step)
        match step:
            case Repeat(steps=inner):
                yield from _closed(inner)
            case Branch(yes=yes, no=no):
                yield from (_INDENT + line for line in _steps(yes))
                if no:
                    yield _INDENT + "} else {"
                    yield from (_INDENT + line for line in _steps(no))
                yield _INDENT + "}"


def _closed(steps: Sequence[Step]) -> Iterator[str]:
    yield from (_INDENT + line for line in _steps(steps))
    yield _INDENT + "}"


def format_step(step: Step) -> str:
    """A launch on one line; of a repeat or branch, the line that opens it."""
    match step:
        case Launch():
            arguments = ", ".join(map(format_argument, step.arguments))
            call = f"launch {_name(step.name)} = {_name(step.kernel)}({arguments})"
            return call + _facts(step) + format_source(step.source)
        case Repeat(index, count):
            return f"repeat {_name(index)} in 0..{count} {{"
        case Branch(flag=flag):
            return f"branch {format_argument(flag)} {{"


def format_argument(argument: Argument) -> str:
    start = argument.offset == Literal(0, int64)
    offset = "" if start else f" + {format_expression(argument.offset)}"
    return _name(argument.storage) + offset


def _facts(launch: Launch) -> str:
    ops = ", ".join(map(_name, launch.ops))
    facts = [
        f"ops=({ops})" if launch.ops else "",
        f"reason={quote(launch.reason)}" if launch.reason else "",
        f"flops={launch.flops}" if launch.flops else "",
        f"bytes={launch.bytes}" if launch.bytes else "",
    ]
    shown = ", ".join(filter(None, facts))
    return f" {{{shown}}}" if shown else ""
