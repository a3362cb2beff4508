"""Reads the text of kernels and schedules; `graphc.loops.text` has its grammar.

Types that the text leaves out follow from it: a variable has the type it is bound with (i64 where
nothing binds it), a load that of its buffer, an operation that of its last operand. Whether all
of it fits together is for `graphc.loops.verify` to say.

>>> kernel = parse_kernel('''
... kernel @double(in x: f32[4], out y: f32[4]) {
...   parallel i in 0..4 {
...     store y[i] = x[i] * f32(2.0)
...   }
... }''')
>>> kernel.body[0].var, kernel.buffers[1].access
('i', 'out')
>>> parse_kernel("kernel @k() { let a = x[0] }")
Traceback (most recent call last):
    ...
graphc.errors.ParseError: line 1, column 23: buffer 'x' is not declared
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, get_args

from graphc.dtypes import DType, int64
from graphc.lexing import Scanner
from graphc.loops.expressions import Expr, Literal
from graphc.loops.kernel import (
    Access,
    Buffer,
    Contract,
    Kernel,
    Let,
    Local,
    Loop,
    LoopKind,
    Prefetch,
    Space,
    Statement,
    Store,
    When,
)
from graphc.loops.parse_expressions import Names, parse_expression, parse_primary
from graphc.loops.schedule import Argument, Branch, Launch, Purpose, Repeat, Schedule, Step, Storage
from graphc.loops.text import RESERVED

T = TypeVar("T")

_ACCESSES: dict[str, Access] = {word: word for word in get_args(Access)}
_SPACES: dict[str, Space] = {word: word for word in get_args(Space)}
_KINDS: dict[str, LoopKind] = {word: word for word in get_args(LoopKind)}
_PURPOSES: dict[str, Purpose] = {word: word for word in get_args(Purpose)}


def parse_kernel(text: str) -> Kernel:
    """The kernel that a text describes. Raises ParseError."""
    return _whole(text, lambda words: _KernelReader(words).kernel())


def parse_schedule(text: str) -> Schedule:
    """The schedule that a text describes, with its kernels. Raises ParseError."""
    return _whole(text, lambda words: _ScheduleReader(words).schedule())


def _whole(text: str, read: Callable[[Scanner], T]) -> T:
    words = Scanner(text)
    found = read(words)
    words.end()
    return found


def _read_name(words: Scanner) -> str:
    return words.name(reserved=RESERVED)


def _read_memory(words: Scanner) -> tuple[tuple[int, ...], DType, tuple[int, ...]]:
    """Shape, type and order."""
    dtype = words.dtype()
    shape = words.shape()
    if not words.accept("order"):
        return shape, dtype, ()
    words.expect("(")
    return shape, dtype, words.listed(words.integer, ")")


class _KernelReader:
    def __init__(self, words: Scanner) -> None:
        self.words = words
        self.names = Names()

    def kernel(self) -> Kernel:
        self.words.expect("kernel")
        self.words.expect("@")
        name = _read_name(self.words)
        self.words.expect("(")
        formals = self.words.listed(self._formal, ")")
        return Kernel(name, formals, self._block())

    def _formal(self) -> Buffer:
        word = self.words.accept(*_ACCESSES)
        if word is None:
            raise self.words.error("in, out or inout")
        return self._buffer(_ACCESSES[word])

    def _buffer(self, access: Access) -> Buffer:
        name = _read_name(self.words)
        self.words.expect(":")
        space = _SPACES[self.words.accept(*_SPACES) or "formal"]
        shape, dtype, order = _read_memory(self.words)
        self.names.declare_buffer(name, dtype)
        return Buffer(name, shape, dtype, order, access, space)

    def _block(self) -> tuple[Statement, ...]:
        statements: list[Statement] = []
        self.words.expect("{")
        with self.words.nested(), self.names.scope():
            while not self.words.accept("}"):
                statements.append(self._statement())
        return tuple(statements)

    def _statement(self) -> Statement:
        word = self.words.accept("let", "store", "local", "when", "contract", "prefetch", *_KINDS)
        match word:
            case "let":
                return self._let()
            case "store":
                return self._store()
            case "local":
                return Local(self._buffer(_ACCESSES[self.words.accept(*_ACCESSES) or "in"]))
            case "when":
                return When(self._expression(), self._block())
            case "contract":
                return self._contract()
            case "prefetch":
                return Prefetch(*self._element())
            case None:
                raise self.words.error("a statement or '}'")
            case kind:
                return self._loop(_KINDS[kind])

    def _expression(self) -> Expr:
        return parse_expression(self.words, self.names)

    def _let(self) -> Let:
        name = _read_name(self.words)
        self.words.expect("=")
        value = self._expression()
        self.names.bind(name, value.dtype)
        return Let(name, value)

    def _store(self) -> Store:
        buffer, index = self._element()
        self.words.expect("=")
        value = self._expression()
        guard = self._expression() if self.words.accept("where") else None
        return Store(buffer, index, value, guard)

    def _element(self) -> tuple[str, tuple[Expr, ...]]:
        """A buffer and the index of an element."""
        buffer = _read_name(self.words)
        self.words.expect("[")
        return buffer, self.words.listed(self._expression, "]")

    def _loop(self, kind: LoopKind) -> Loop:
        variable = _read_name(self.words)
        self.words.expect("in")
        lower = self._expression()
        self.words.expect("..")
        upper = self._expression()
        step = self.words.integer() if self.words.accept("step") else 1
        with self.names.scope():
            self.names.bind(variable, int64)
            return Loop(kind, variable, lower, upper, self._block(), step)

    def _contract(self) -> Contract:
        tile = _read_name(self.words)
        self.words.expect("[")
        row = _read_name(self.words)
        self.words.expect(",")
        column = _read_name(self.words)
        self.words.expect("]")
        self.words.expect("+=")
        with self.names.scope():
            self.names.bind(row, int64)
            self.names.bind(column, int64)
            a = parse_primary(self.words, self.names)
            self.words.expect("*")
            return Contract(tile, row, column, a, parse_primary(self.words, self.names))


class _ScheduleReader:
    def __init__(self, words: Scanner) -> None:
        self.words = words
        self.names = Names()
        self.data: dict[str, str] = {}
        self.kernels: dict[str, Kernel] = {}

    def schedule(self) -> Schedule:
        self.words.expect("schedule")
        self.words.expect("@")
        name = _read_name(self.words)
        self.words.expect("{")
        storages = []
        while word := self.words.accept(*_PURPOSES):
            storages.append(self._storage(_PURPOSES[word]))
        while self.words.accept("data"):
            self._data()
        inputs = self._list_of_names("inputs")
        outputs = self._list_of_names("outputs")
        while self.words.accept("define"):
            self._define()
        steps = self._steps()
        return Schedule(name, tuple(storages), self.kernels, steps, inputs, outputs, self.data)

    def _storage(self, purpose: Purpose) -> Storage:
        name = _read_name(self.words)
        self.words.expect(":")
        shape, dtype, order = _read_memory(self.words)
        return Storage(name, shape, dtype, purpose, order, self.words.source())

    def _new(self, known: dict[str, T], what: str) -> str:
        """A name that `known` has not yet; the = after it is read too."""
        token = self.words.token
        name = _read_name(self.words)
        if name in known:
            raise self.words.refuse(f"{what} {name!r} is defined twice", token)
        self.words.expect("=")
        return name

    def _data(self) -> None:
        name = self._new(self.data, "data")
        self.data[name] = self.words.string()

    def _list_of_names(self, word: str) -> tuple[str, ...]:
        if not self.words.accept(word):
            return ()
        names = [_read_name(self.words)]
        while self.words.accept(","):
            names.append(_read_name(self.words))
        return tuple(names)

    def _define(self) -> None:
        name = self._new(self.kernels, "kernel")
        self.kernels[name] = _KernelReader(self.words).kernel()

    def _steps(self) -> tuple[Step, ...]:
        """Steps up to the closing brace, which is taken."""
        steps: list[Step] = []
        with self.words.nested():
            while not self.words.accept("}"):
                steps.append(self._step())
        return tuple(steps)

    def _step(self) -> Step:
        match self.words.accept("launch", "repeat", "branch"):
            case "launch":
                return self._launch()
            case "repeat":
                return self._repeat()
            case "branch":
                return self._branch()
            case _:
                raise self.words.error("launch, repeat, branch or '}'")

    def _launch(self) -> Launch:
        name = _read_name(self.words)
        self.words.expect("=")
        kernel = _read_name(self.words)
        self.words.expect("(")
        arguments = self.words.listed(self._argument, ")")
        facts = _Facts(self.words)
        if self.words.accept("{"):
            self.words.listed(facts.read, "}")
        source = self.words.source()
        return Launch(
            name, kernel, arguments, facts.ops, source, facts.reason, facts.flops, facts.bytes
        )

    def _argument(self) -> Argument:
        storage = _read_name(self.words)
        if not self.words.accept("+"):
            return Argument(storage, Literal(0, int64))
        return Argument(storage, parse_expression(self.words, self.names))

    def _repeat(self) -> Repeat:
        index = _read_name(self.words)
        self.words.expect("in")
        if self.words.integer("0") != 0:
            raise self.words.error("a repeat from 0")
        self.words.expect("..")
        count = self.words.signed()
        self.words.expect("{")
        with self.names.scope():
            self.names.bind(index, int64)
            return Repeat(index, count, self._steps())

    def _branch(self) -> Branch:
        flag = self._argument()
        self.words.expect("{")
        yes = self._steps()
        if not self.words.accept("else"):
            return Branch(flag, yes, ())
        self.words.expect("{")
        return Branch(flag, yes, self._steps())


class _Facts:
    """What a launch says of itself, each at most once."""

    def __init__(self, words: Scanner) -> None:
        self.words = words
        self.ops: tuple[str, ...] = ()
        self.reason = ""
        self.flops = 0
        self.bytes = 0
        self._seen: set[str] = set()

    def read(self) -> None:
        token = self.words.token
        word = self.words.accept("ops", "reason", "flops", "bytes")
        if word is None or word in self._seen:
            raise self.words.error("ops, reason, flops or bytes, each once", token)
        self._seen.add(word)
        self.words.expect("=")
        match word:
            case "ops":
                self.words.expect("(")
                self.ops = self.words.listed(lambda: _read_name(self.words), ")")
            case "reason":
                self.reason = self.words.string()
            case "flops":
                self.flops = self.words.signed()
            case _:
                self.bytes = self.words.signed()
