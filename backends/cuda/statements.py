"""Statements of the loop language as CUDA C, each thread running its iterations one by one."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.loops import (
    Buffer,
    Contract,
    Expr,
    Let,
    Literal,
    Load,
    Local,
    Loop,
    Statement,
    Store,
    Variable,
    When,
    index,
)
from graphc.loops.combine import step

from .expressions import Expressions
from .scalars import TYPE


class Statements(Expressions):
    """Writes statements into a function's body."""

    def body(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            self.statement(statement)

    def statement(self, statement: Statement) -> None:
        match statement:
            case Let(name, value):
                text = self.value(value)
                named = text.isidentifier() and not isinstance(value, Literal)
                self.variables[name] = (
                    text if named else self.constant(TYPE[value.dtype.name], text)
                )
                self.indices.pop(name, None)
            case Store(buffer, at, value, guard) if guard is not None:
                with self.block(f"if ({self.value(guard)})"):
                    self.store(buffer, at, value)
            case Store(buffer, at, value):
                self.store(buffer, at, value)
            case Local(declared):
                self.local(declared)
            case When(condition, body):
                with self.block(f"if ({self.value(condition)})"):
                    self.body(body)
            case Loop(_, variable, lower, upper, body, stride):
                with self.loop(variable, lower, upper, stride):
                    self.body(body)
            case Contract():
                self.contract(statement)

    def store(self, buffer: str, at: Sequence[Expr], value: Expr) -> None:
        target, text = self.place(buffer, at), self.value(value)
        self.line(f"{target} = {text};")

    def local(self, buffer: Buffer) -> None:
        """Every local buffer is an array of its thread, since threads share no iteration."""
        name = self.fresh()
        self.line(f"{TYPE[buffer.dtype.name]} {name}[{max(buffer.size, 1)}];")
        self.buffers[buffer.name] = buffer, name

    def contract(self, statement: Contract) -> None:
        """Its two loops."""
        tile, _ = self.buffers[statement.tile]
        rows, columns = tile.shape
        at = (Variable(statement.row), Variable(statement.column))
        held = (Load(tile.name, at, tile.dtype),)
        (value,) = step("dot", held, (statement.a, statement.b))
        with (
            self.loop(statement.row, index(0), index(rows)),
            self.loop(statement.column, index(0), index(columns)),
        ):
            self.store(tile.name, at, value)
