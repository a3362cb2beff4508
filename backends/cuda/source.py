"""A kernel as CUDA C, by the plainest mapping: one thread runs one iteration at a time.

    for each top statement, a function:
        outermost independent loops, as far as each holds only the next -> one index, strided
        over the grid; what is inside runs in order on its thread

Top statements follow one another, so each is a launch of its own. The text needs no header; with
NVRTC_OPTIONS it computes the bits of `graphc.loops.evaluate`. Every name in it is made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from graphc.loops import Expr, Kernel, Let, Literal, Load, Local, Loop, Statement
from graphc.loops.expressions import children
from graphc.loops.formulas import Formula

from .expressions import Expressions
from .scalars import TYPE, helpers_of
from .statements import Statements

# No contraction of a product and a sum, division and square root rounded to nearest, denormals.
NVRTC_OPTIONS = (
    "--std=c++17",
    "--fmad=false",
    "--prec-div=true",
    "--prec-sqrt=true",
    "--ftz=false",
)

INDEPENDENT = frozenset({"parallel", "vector", "block", "thread"})


@dataclass(frozen=True)
class Entry:
    """A `__global__` function, its arguments the kernel's formal buffers in order.

    threads  how many have something to do
    """

    name: str
    threads: int


@dataclass(frozen=True)
class Source:
    """CUDA C, and its functions in the order in which they are to be launched."""

    text: str
    entries: tuple[Entry, ...]


def cuda_source(kernel: Kernel, restrict: bool = True) -> str:
    """A kernel's CUDA C. `restrict` says that no two formal buffers share memory."""
    return emit(kernel, restrict).text


def emit(kernel: Kernel, restrict: bool = True) -> Source:
    """A kernel's CUDA C and how to launch it.

    Raises CompileError for an operation that CUDA C has no form of.
    """
    symbol = f"kernel_{kernel.structural_hash[:16]}"
    phases = _phases(kernel)
    formulas: dict[str, Formula] = {}
    functions, entries = [], []
    for number, statements in enumerate(phases):
        name = symbol if len(phases) == 1 else f"{symbol}_{number}"
        writer = Statements()
        writer.formulas = formulas
        header = _header(writer, name, kernel, restrict)
        threads = _spread(writer, statements)
        functions.append("\n".join([header, *writer.lines, "}"]))
        entries.append(Entry(name, threads))
    parts = [_formula_text(name, formula) for name, formula in formulas.items()] + functions
    helpers = helpers_of("\n".join(parts))
    return Source("\n\n".join([*helpers, *parts]) + "\n", tuple(entries))


# Phases: what may run on all threads before the next starts


def _phases(kernel: Kernel) -> list[tuple[Statement, ...]]:
    """The top statements, each after the lets before it.

    All in one where they share a local buffer, or a let reads what the kernel writes.
    """
    written = {buffer.name for buffer in kernel.buffers if buffer.access != "in"}
    lets: list[Statement] = []
    phases: list[tuple[Statement, ...]] = []
    for statement in kernel.body:
        if isinstance(statement, Local):
            return [kernel.body]
        if isinstance(statement, Let):
            if _loads(statement.value) & written:
                return [kernel.body]
            lets.append(statement)
        else:
            phases.append((*lets, statement))
    return phases or [()]


def _loads(expr: Expr) -> set[str]:
    found = {expr.buffer} if isinstance(expr, Load) else set()
    return found.union(*map(_loads, children(expr)))


# Functions


def _header(writer: Expressions, name: str, kernel: Kernel, restrict: bool) -> str:
    """The function's first line; formal buffers become v0, v1, ..."""
    parameters = []
    for buffer in kernel.buffers:
        pointer = writer.fresh()
        writer.buffers[buffer.name] = buffer, pointer
        constant = "const " if buffer.access == "in" else ""
        qualifier = "__restrict__ " if restrict else ""
        parameters.append(f"{constant}{TYPE[buffer.dtype.name]}* {qualifier}{pointer}")
    return f'extern "C" __global__ void {name}({", ".join(parameters)}) {{'


def _spread(writer: Statements, statements: Sequence[Statement]) -> int:
    """Write a phase's body over the grid's threads; how many of them have something to do."""
    lets, rest = statements[:-1], statements[-1:]
    loops, body = _nest(rest)
    if not loops or not all(isinstance(let, Let) for let in lets):
        with writer.block("if (blockIdx.x == 0 && threadIdx.x == 0)"):
            writer.body(statements)
        return 1
    writer.body(lets)
    extents = [_extent(loop) for loop in loops]
    name = writer.fresh()
    start = "blockIdx.x * (long long)blockDim.x + threadIdx.x"
    stride = "gridDim.x * (long long)blockDim.x"
    header = f"for (long long {name} = {start}; {name} < {prod(extents)}; {name} += {stride})"
    with writer.block(header):
        _indices(writer, name, loops, extents)
        writer.body(body)
    return prod(extents)


def _nest(body: Sequence[Statement]) -> tuple[list[Loop], Sequence[Statement]]:
    """The outermost independent loops of known extent that hold only one another."""
    loops: list[Loop] = []
    while len(body) == 1 and isinstance(body[0], Loop) and _is_spread(body[0]):
        loops.append(body[0])
        body = body[0].body
    return loops, body


def _is_spread(loop: Loop) -> bool:
    known = isinstance(loop.lower, Literal) and isinstance(loop.upper, Literal)
    return loop.kind in INDEPENDENT and known


def _extent(loop: Loop) -> int:
    assert isinstance(loop.lower, Literal) and isinstance(loop.upper, Literal)
    return max(-(-int(loop.upper.value - loop.lower.value) // loop.step), 0)


def _indices(writer: Statements, name: str, loops: Sequence[Loop], extents: Sequence[int]) -> None:
    """Each loop's index from the flat one, the last loop fastest."""
    inner = prod(extents)
    for position, (loop, extent) in enumerate(zip(loops, extents, strict=True)):
        assert isinstance(loop.lower, Literal)
        inner //= max(extent, 1)
        text = _count(name, inner, extent, outermost=position == 0)
        lower = int(loop.lower.value)
        if (lower, loop.step) != (0, 1):
            text = f"{lower} + ({text}) * {loop.step}"
        writer.variables[loop.var] = text if text == name else writer.constant("long long", text)
        writer.indices[loop.var] = lower >= 0


def _count(name: str, inner: int, extent: int, outermost: bool) -> str:
    """A loop's iteration number, `inner` flat indices each."""
    if extent <= 1:
        return "0"
    quotient = name if inner <= 1 else f"{name} / {inner}"
    return quotient if outermost else f"{quotient} % {extent}"


# Formulas


def _formula_text(name: str, formula: Formula) -> str:
    """A formula as a device function, one constant for each let."""
    writer = Expressions()
    writer.variables = {variable.name: variable.name for variable in formula.parameters}
    for let in formula.lets:
        text = writer.value(let.value)
        writer.line(f"const {TYPE[let.value.dtype.name]} {let.name} = {text};")
        writer.variables[let.name] = let.name
    result = TYPE[formula.result.dtype.name]
    parameters = ", ".join(f"{TYPE[v.dtype.name]} {v.name}" for v in formula.parameters)
    header = f"static __device__ {result} {name}({parameters}) {{"
    return "\n".join([header, *writer.lines, f"    return {writer.value(formula.result)};", "}"])
