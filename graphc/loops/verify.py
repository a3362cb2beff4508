"""The invariants of kernels and of schedules.

Of a kernel:

    fields        statements and expressions are of this language, names are text
    names         no variable or buffer is declared where one of its name already is
    memory        extents are integers, none negative; `order` is () or lists every dimension once;
                  formal buffers are in the formal space, locals are not
    variables     a variable is bound by a loop, a let, a fold or a contract around it, and is
                  read with the type it is bound with (i64, except lets)
    buffers       a buffer is formal or declared around its use, and read with its own type
    indices       there is one i64 index for every dimension
    types         conditions are bool, bounds of loops i64, stored values of their buffer's type
    operations    operations exist, and take and give the types of `graphc.loops.operations`
    literals      a literal's value is of its type's kind and range
    guards        a load has a guard and a fill of its type, or neither
    folds         folds exist, fold what their row in `graphc.loops.combine` says, over axes of
                  extent 0 or more, in lanes that are a power of two
    loops         kinds exist, steps are 1 or more
    access        stores and contracts go to out, inout and local buffers; an inout buffer is read
                  only at the index of a store to it
    contract      the tile is a local of two dimensions and a float type; `a` reads no column, `b`
                  no row
    parallel      what a parallel, vector, block or thread loop stores outside itself depends on
                  its variable, through indices, guards, lets or bounds (unless it runs once)
    bounds        no access is outside its buffer for certain

`unproved_accesses` gives those that intervals cannot show to be inside. Left unchecked: that the
iterations of a parallel loop write different elements (dependence is necessary, not sufficient),
and that elements are stored before they are read.

Of a schedule:

    storages      names differ; extents and order as for buffers; purposes exist
    constants     data is given for every constant, and for nothing else
    arguments     inputs are storages of purpose input, outputs are storages
    kernels       every kernel is valid
    launches      the kernel is defined; it gets one argument for every formal buffer, on a storage
                  of the same element type
    offsets       an argument's elements lie inside its storage, for every index of the repeats
    writes        no kernel writes to an input or a constant
    repeats       counts are 0 or more, indices differ from those of repeats around
    branches      the flag is a bool inside its storage

Left unchecked: what storages share in memory, and the order of writes and reads between launches
(the memory plan and its checker answer for these).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, get_args

from graphc.dtypes import ALL, int64
from graphc.errors import VerifyError
from graphc.loops.affine import free_variables
from graphc.loops.bounds import Access, accesses, unproved_accesses
from graphc.loops.expressions import Expr, Load, children
from graphc.loops.kernel import (
    Buffer,
    Contract,
    Kernel,
    Let,
    Local,
    Loop,
    LoopKind,
    Prefetch,
    Statement,
    Store,
    When,
)
from graphc.loops.schedule import Storage
from graphc.loops.text import format_expression, format_statement
from graphc.loops.verify_expressions import Scope, check, check_guard, check_index, check_type
from graphc.loops.verify_parallel import check_parallel

__all__ = ["Access", "check_memory", "unproved_accesses", "verify_kernel"]


def verify_kernel(kernel: Kernel) -> None:
    """Raise VerifyError naming the kernel, the statement and the broken invariant."""
    scope = Scope(f"kernel @{kernel.name}")
    for buffer in kernel.buffers:
        _declare(buffer, scope, formal=True)
    _Checker(scope, f"kernel @{kernel.name}").body(kernel.body)
    check_parallel(kernel)
    _check_inout(kernel)
    for access in accesses(kernel):
        if access.is_outside:
            raise VerifyError(f"kernel @{kernel.name}: {access} [bounds]")


def _declare(buffer: Buffer, scope: Scope, formal: bool) -> None:
    if not isinstance(buffer, Buffer) or not isinstance(buffer.name, str):
        raise scope.fail("fields", f"{buffer!r} is not a buffer")
    if buffer.name in scope.buffers:
        raise scope.fail("names", f"buffer {buffer.name!r} is declared where one already is")
    if problem := check_memory(buffer):
        raise scope.fail("memory", problem)
    if formal != (buffer.space == "formal"):
        raise scope.fail("memory", f"buffer {buffer.name!r} is in the space {buffer.space!r}")
    if buffer.access not in ("in", "out", "inout"):
        raise scope.fail("memory", f"buffer {buffer.name!r} has access {buffer.access!r}")
    scope.buffers[buffer.name] = buffer


def check_memory(memory: Buffer | Storage) -> str | None:
    """What is wrong with the type, shape or order of a buffer or storage; None if nothing."""
    name = memory.name
    if memory.dtype not in ALL:
        return f"{name!r} has the element type {memory.dtype!r}"
    for extent in memory.shape:
        if type(extent) is not int or extent < 0:
            return f"{name!r} has an extent {extent!r}; expected an integer, 0 or more"
    if memory.order and sorted(memory.order) != list(range(len(memory.shape))):
        return f"{name!r} has {len(memory.shape)} dimensions and the order {memory.order}"
    return None


class _Checker:
    """Walks the statements of one kernel."""

    def __init__(self, scope: Scope, kernel: str) -> None:
        self.scope = scope
        self.kernel = kernel

    def body(self, statements: Sequence[Statement]) -> None:
        with self.scope.block():
            for statement in statements:
                with self._at(statement):
                    self._check_one(statement)

    @contextmanager
    def _at(self, statement: Statement) -> Iterator[None]:
        """Errors inside name the statement."""
        outer = self.scope.place
        self.scope.place = f"{self.kernel}, {_describe(statement)}"
        yield
        self.scope.place = outer

    def _check_one(self, statement: Statement) -> None:
        match statement:
            case Loop():
                self._loop(statement)
            case Let(name, value):
                check(value, self.scope)
                self.scope.bind(name, value.dtype)
            case Store():
                self._store(statement)
            case Local(buffer=buffer):
                _declare(buffer, self.scope, formal=False)
            case When(condition, body):
                check_guard(condition, self.scope)
                self.body(body)
            case Contract():
                self._contract(statement)
            case Prefetch():
                self._prefetch(statement)
            case _:
                raise self.scope.fail("fields", f"{statement!r} is not a statement")

    def _loop(self, loop: Loop) -> None:
        if loop.kind not in get_args(LoopKind):
            raise self.scope.fail("loops", f"no kind of loop {loop.kind!r}")
        if type(loop.step) is not int or loop.step < 1:
            raise self.scope.fail("loops", f"step {loop.step!r}; expected 1 or more")
        check_type(loop.lower, int64, "the lower bound", self.scope)
        check_type(loop.upper, int64, "the upper bound", self.scope)
        with self.scope.block():
            self.scope.bind(loop.var, int64)
            self.body(loop.body)

    def _writable(self, name: str) -> Buffer:
        buffer = self.scope.buffer(name)
        if buffer.space == "formal" and buffer.access == "in":
            raise self.scope.fail("access", f"buffer {name!r} is written, and is declared `in`")
        return buffer

    def _store(self, store: Store) -> None:
        buffer = self._writable(store.buffer)
        check_index(buffer, store.index, self.scope)
        check_type(store.value, buffer.dtype, f"what {buffer.name!r} stores", self.scope)
        check_guard(store.guard, self.scope)

    def _prefetch(self, prefetch: Prefetch) -> None:
        buffer = self.scope.buffer(prefetch.buffer)
        if buffer.space == "register":
            raise self.scope.fail("prefetch", f"{buffer.name!r} is in registers, not in memory")
        check_index(buffer, prefetch.index, self.scope)

    def _contract(self, contract: Contract) -> None:
        tile = self._writable(contract.tile)
        if tile.space == "formal" or len(tile.shape) != 2 or not tile.dtype.is_float:
            problem = f"tile {tile.name!r} is not a local of two dimensions and a float type"
            raise self.scope.fail("contract", problem)
        with self.scope.block():
            self.scope.bind(contract.row, int64)
            self.scope.bind(contract.column, int64)
            for factor, other in ((contract.a, contract.column), (contract.b, contract.row)):
                check_type(factor, tile.dtype, "a factor of the contract", self.scope)
                if other in free_variables(factor):
                    problem = f"{format_expression(factor)} reads {other!r}"
                    raise self.scope.fail("contract", problem)


def _describe(statement: Any) -> str:
    """The statement's line, or its class where a field is not what it says."""
    try:
        return f"`{format_statement(statement)}`"
    except (TypeError, AttributeError, ValueError):
        return type(statement).__name__


def _check_inout(kernel: Kernel) -> None:
    """An inout buffer may lie on the bytes it is computed from: only its own element is safe."""
    stores: dict[str, set[tuple[Expr, ...]]] = {}
    for statement in _statements(kernel.body):
        if isinstance(statement, Store):
            stores.setdefault(statement.buffer, set()).add(statement.index)
    shared = {buffer.name for buffer in kernel.buffers if buffer.access == "inout"}
    for statement in _statements(kernel.body):
        for load in _loads(statement):
            if load.buffer in shared and load.index not in stores.get(load.buffer, ()):
                raise VerifyError(
                    f"kernel @{kernel.name}, {_describe(statement)}: inout buffer {load.buffer!r} "
                    f"is read at an index that no store to it has [access]"
                )


def _statements(body: Sequence[Statement]) -> Iterator[Statement]:
    for statement in body:
        yield statement
        if isinstance(statement, Loop | When):
            yield from _statements(statement.body)


def expressions(statement: Statement) -> tuple[Expr, ...]:
    """The expressions of a statement itself, without those of statements inside it."""
    match statement:
        case Loop(lower=lower, upper=upper):
            return (lower, upper)
        case Let(value=value):
            return (value,)
        case Store(index=index, value=value, guard=guard):
            return (*index, value) if guard is None else (*index, value, guard)
        case When(condition=condition):
            return (condition,)
        case Contract(a=a, b=b):
            return (a, b)
        case Prefetch(index=index):
            return index
        case Local():
            return ()


def _loads(statement: Statement) -> Iterator[Load]:
    waiting = list(expressions(statement))
    while waiting:
        expr = waiting.pop()
        if isinstance(expr, Load):
            yield expr
        waiting.extend(children(expr))
