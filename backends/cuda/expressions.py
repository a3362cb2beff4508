"""Expressions of the loop language as CUDA C.

An expression becomes one C expression and, before it, the lines that it needs: a loop for each
reduction, an `if` for a guarded load, and a constant for what is used twice or gets long.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from graphc.dtypes import int64
from graphc.errors import CompileError
from graphc.loops import Axis, Buffer, Expr, Literal, Variable, add, index, mul
from graphc.loops.combine import accumulators, merge, step, unit
from graphc.loops.expressions import Call, Item, Load, Reduce, children
from graphc.loops.formulas import Formula, formula, is_formula

from .scalars import RELATIONS, TYPE, literal, operation, unparenthesised

LONGEST_TEXT = 72


class Expressions:
    """Writes expressions into a function's body.

    lines      the body so far
    variables  C text of the variables in scope
    indices    those among them that count loops, and whether they are never negative
    buffers    buffer and C name, by its name in the kernel
    formulas   every formula called, by C name
    uses       how often each node of the expressions at hand is an argument, by identity
    known      texts of nodes written before in these expressions, by identity
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = 1
        self.variables: dict[str, str] = {}
        self.indices: dict[str, bool] = {}
        self.buffers: dict[str, tuple[Buffer, str]] = {}
        self.formulas: dict[str, Formula] = {}
        self.count = 0
        self.uses: Mapping[int, int] = {}
        self.known: dict[int, tuple[Expr, list[str]]] = {}

    # Lines

    def line(self, text: str) -> None:
        self.lines.append("    " * self.indent + text)

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        """Lines in braces, in a scope of their own."""
        saved = dict(self.variables), dict(self.indices), dict(self.buffers), dict(self.known)
        self.line(f"{header} {{")
        self.indent += 1
        yield
        self.indent -= 1
        self.line("}")
        self.variables, self.indices, self.buffers, self.known = saved

    def fresh(self) -> str:
        """A name that no user chose."""
        self.count += 1
        return f"v{self.count - 1}"

    def constant(self, type: str, text: str) -> str:
        name = self.fresh()
        self.line(f"const {type} {name} = {unparenthesised(text)};")
        return name

    @contextmanager
    def loop(self, variable: str, lower: Expr, upper: Expr, step: int = 1) -> Iterator[None]:
        """A counting loop."""
        first, last, natural = self.integer(lower), self.integer(upper), self.is_natural(lower)
        name = self.fresh()
        advance = f"++{name}" if step == 1 else f"{name} += {step}"
        with self.block(f"for (long long {name} = {first}; {name} < {last}; {advance})"):
            self.variables[variable] = name
            self.indices[variable] = natural
            yield

    # Values

    def value(self, expr: Expr) -> str:
        return unparenthesised(self.values([expr])[0])

    def values(self, exprs: Sequence[Expr]) -> list[str]:
        """Texts of expressions whose common parts are computed once."""
        saved = self.uses, self.known
        self.uses, self.known = _count_uses(exprs), {}
        texts = [self.text(expr) for expr in exprs]
        self.uses, self.known = saved
        return texts

    def text(self, expr: Expr) -> str:
        return self.texts(expr)[0]

    def texts(self, expr: Expr) -> list[str]:
        """A fold over tuples has several."""
        if id(expr) in self.known:
            return self.known[id(expr)][1]
        texts = self.new_texts(expr)
        if isinstance(expr, Call | Load) and self.deserves_a_name(expr, texts[0]):
            texts = [self.constant(TYPE[expr.dtype.name], texts[0])]
        if not isinstance(expr, Literal | Variable):
            self.known[id(expr)] = expr, texts
        return texts

    def deserves_a_name(self, expr: Expr, text: str) -> bool:
        if len(text) > LONGEST_TEXT:
            return True
        used_again = self.uses.get(id(expr), 0) > 1 and not text.isalnum()
        return used_again and not self.is_index(expr)

    def new_texts(self, expr: Expr) -> list[str]:
        match expr:
            case Literal(value, dtype):
                return [literal(value, dtype)]
            case Variable(name):
                return [self.variable(name)]
            case Call():
                return [self.call(expr)]
            case Load():
                return [self.load(expr)]
            case Reduce():
                return self.reduce(expr)
            case Item(reduce, position):
                return [self.texts(reduce)[position]]

    def variable(self, name: str) -> str:
        if name not in self.variables:
            raise CompileError(f"no variable {name} in scope")
        return self.variables[name]

    def call(self, expr: Call) -> str:
        if self.is_index(expr):
            return f"({self.index(expr)})"
        given = expr.args[-1].dtype
        if given == int64 and all(map(self.is_index, expr.args)) and expr.op in RELATIONS:
            sides = [self.factor(arg, first=True) for arg in expr.args]
            return operation(expr.op, sides, given, expr.dtype)
        args = [self.text(arg) for arg in expr.args]
        if is_formula(expr.op):
            name = f"{expr.op}_{given.short}"
            self.formulas.setdefault(name, formula(expr.op, given))
            return f"{name}({', '.join(map(unparenthesised, args))})"
        return operation(expr.op, args, given, expr.dtype)

    # Indices: sums of loop indices do not overflow, so they need no wrapping

    def is_index(self, expr: Expr) -> bool:
        """Whether an expression is arithmetic on loop indices, never negative where divided."""
        match expr:
            case Literal(dtype=dtype):
                return dtype == int64
            case Variable(name):
                return name in self.indices
            case Call("add" | "mul", (a, b)):
                return self.is_index(a) and self.is_index(b)
            case Call("floordiv" | "mod", (a, Literal(value=divisor, dtype=dtype))):
                natural = self.is_index(a) and self.is_natural(a)
                return dtype == int64 and divisor > 0 and natural
            case _:
                return False

    def is_natural(self, expr: Expr) -> bool:
        match expr:
            case Literal(value=value):
                return value >= 0
            case Variable(name):
                return self.indices.get(name, False)
            case Call("add" | "mul" | "floordiv" | "mod", args):
                return all(self.is_natural(arg) for arg in args)
            case _:
                return False

    def index(self, expr: Expr) -> str:
        """Text of an index expression, sums and products as one writes them."""
        match expr:
            case Literal(value=value):
                return str(int(value))
            case Call("add", (a, Literal(value=value))) if value < 0:
                return f"{self.index(a)} - {-int(value)}"
            case Call("add", (a, Call("mul", (b, Literal(value=-1))))):
                return f"{self.index(a)} - {self.factor(b, first=False)}"
            case Call("add", (a, b)):
                return f"{self.index(a)} + {self.index(b)}"
            case Call(op, (a, b)):
                sign = {"mul": "*", "floordiv": "/", "mod": "%"}[op]
                return f"{self.factor(a, first=True)} {sign} {self.factor(b, first=False)}"
            case _:
                return self.text(expr)

    def factor(self, expr: Expr, first: bool) -> str:
        """An index expression as a factor of a product: in parentheses where it needs them."""
        text = self.index(expr)
        is_sum = isinstance(expr, Call) and (expr.op == "add" or not first)
        return f"({text})" if is_sum or text.startswith("-") else text

    def integer(self, expr: Expr) -> str:
        """A loop bound or an offset."""
        return self.index(expr) if self.is_index(expr) else self.value(expr)

    # Memory

    def place(self, name: str, at: Sequence[Expr]) -> str:
        """The element of a buffer at logical indices."""
        if name not in self.buffers:
            raise CompileError(f"no buffer {name} in scope")
        buffer, text = self.buffers[name]
        if all(map(self.is_index, at)):
            offset: Expr = index(0)
            for part, stride in zip(at, buffer.strides, strict=True):
                offset = add(offset, mul(part, stride))
            return f"{text}[{self.index(offset)}]"
        return f"{text}[{self.offset(at, buffer.strides)}]"

    def offset(self, at: Sequence[Expr], strides: Sequence[int]) -> str:
        """Of indices known only at run time: in their range, so that sums need no wrapping."""
        terms = []
        for part, stride in zip(at, strides, strict=True):
            if stride == 1:
                terms.append(self.integer(part))
            else:
                terms.append(f"{self.text(part)} * {stride}")
        return " + ".join(terms)

    def load(self, expr: Load) -> str:
        if expr.guard is None:
            return self.place(expr.buffer, expr.index)
        assert expr.fill is not None, "a guarded load says what it gives elsewhere"
        guard, fill = unparenthesised(self.text(expr.guard)), literal(expr.fill.value, expr.dtype)
        name, lines = self.fresh(), self.lines
        self.lines = []
        with self.block(f"if ({guard})"):
            self.line(f"{name} = {self.place(expr.buffer, expr.index)};")
        inner, self.lines = self.lines, lines
        self.line(f"{TYPE[expr.dtype.name]} {name} = {fill};")
        self.lines += inner
        return name

    # Reductions

    def reduce(self, expr: Reduce) -> list[str]:
        """Loops over the axes around the fold's step; the accumulators."""
        return self.reduce_in_order(expr) if expr.lanes == 1 else self.reduce_in_lanes(expr)

    def reduce_in_order(self, expr: Reduce) -> list[str]:
        names = []
        for start in unit(expr):
            names.append(self.fresh())
            self.line(
                f"{TYPE[start.dtype.name]} {names[-1]} = {literal(start.value, start.dtype)};"
            )
        with self.axes(expr.axes):
            self.take(expr, names)
        return names

    def reduce_in_lanes(self, expr: Reduce) -> list[str]:
        """Arrays of accumulators: position t of the last axis goes to t % lanes; then halve."""
        arrays = [self.fresh() for _ in unit(expr)]
        for array, start in zip(arrays, unit(expr), strict=True):
            self.line(f"{TYPE[start.dtype.name]} {array}[{expr.lanes}];")
        lane = self.fresh()
        with self.block(f"for (int {lane} = 0; {lane} < {expr.lanes}; ++{lane})"):
            for array, start in zip(arrays, unit(expr), strict=True):
                self.line(f"{array}[{lane}] = {literal(start.value, start.dtype)};")
        element = self.fresh()
        self.line(f"long long {element} = 0;")
        with self.axes(expr.axes):
            place = f"{element} % {expr.axes[-1].extent} % {expr.lanes}"
            self.take(expr, [f"{array}[{place}]" for array in arrays])
            self.line(f"++{element};")
        self.halve(expr, arrays)
        return [f"{array}[0]" for array in arrays]

    @contextmanager
    def axes(self, axes: Sequence[Axis]) -> Iterator[None]:
        if not axes:
            yield
            return
        first, *rest = axes
        with self.loop(first.name, index(0), index(first.extent)), self.axes(rest):
            yield

    def take(self, expr: Reduce, held: Sequence[str]) -> None:
        """Accumulators take in the element at the axes' indices, where it counts."""
        if expr.where is None:
            self.assign_step(expr, held)
            return
        with self.block(f"if ({self.value(expr.where)})"):
            self.assign_step(expr, held)

    def assign_step(self, expr: Reduce, held: Sequence[str]) -> None:
        names = accumulators(expr, f"{held[0]}.")
        self.assign(held, step(expr.combine, names, expr.body), names)

    def assign(
        self, held: Sequence[str], results: Sequence[Expr], names: Sequence[Variable]
    ) -> None:
        """Give accumulators their new values, all computed from the old ones."""
        self.variables |= {name.name: text for name, text in zip(names, held, strict=True)}
        texts = self.values(results)
        if len(texts) > 1:
            typed = zip(names, texts, strict=True)
            texts = [self.constant(TYPE[name.dtype.name], text) for name, text in typed]
        for target, text in zip(held, texts, strict=True):
            self.line(f"{target} = {unparenthesised(text)};")

    def halve(self, expr: Reduce, arrays: Sequence[str]) -> None:
        half, lane = self.fresh(), self.fresh()
        names, other = accumulators(expr, f"{half}."), accumulators(expr, f"{lane}.")
        with (
            self.block(f"for (int {half} = {expr.lanes // 2}; {half} > 0; {half} /= 2)"),
            self.block(f"for (int {lane} = 0; {lane} < {half}; ++{lane})"),
        ):
            upper = [f"{array}[{lane} + {half}]" for array in arrays]
            self.variables |= {v.name: text for v, text in zip(other, upper, strict=True)}
            held = [f"{array}[{lane}]" for array in arrays]
            self.assign(held, merge(expr.combine, names, other), names)


def _count_uses(exprs: Sequence[Expr]) -> Mapping[int, int]:
    """How often each node is an argument, by identity."""
    uses: dict[int, int] = {}
    waiting = list(exprs)
    while waiting:
        expr = waiting.pop()
        uses[id(expr)] = uses.get(id(expr), 0) + 1
        if uses[id(expr)] == 1:
            waiting += children(expr)
    return uses
