"""What a kernel's body does to its formal buffers, read statement by statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from graphc.dtypes import int64
from graphc.errors import PlanError
from graphc.loops.expressions import Call, Expr, Literal, Load, Reduce, Variable, children
from graphc.loops.kernel import Buffer, Contract, Kernel, Let, Local, Loop, Statement, Store, When

# A sum: binder -> coefficient; the binder ONE stands for the constant.
ONE = 0
Sum = dict[int, int]
Scope = Mapping[str, "int | Sum | None"]  # a loop's binder, a let's sum, or neither


@dataclass(frozen=True, slots=True)
class Event:
    """A load or a store, in the order of the text.

    path         the loops around it, outermost first
    conditional  it may be left out: a guard, a `when`
    """

    buffer: str
    index: tuple[Expr, ...]
    scope: Scope
    path: tuple[int, ...]
    order: int
    conditional: bool


def check_access(kernel: Kernel) -> None:
    """Raise PlanError where a formal buffer's `access` is not what the body does."""
    Body(kernel).check()


@dataclass
class Body:
    """The events of a kernel's body, and what follows from them."""

    kernel: Kernel
    loads: list[Event] = field(default_factory=list)
    stores: list[Event] = field(default_factory=list)
    extents: dict[int, int | None] = field(default_factory=dict)
    is_elementwise: bool = True

    def __post_init__(self) -> None:
        self._order = 0
        self._locals: set[str] = set()
        self._conflicts: dict[tuple[str, str], str | None] = {}
        self._statements(self.kernel.body, {}, (), False)

    # What each formal buffer is

    @cached_property
    def reads(self) -> frozenset[str]:
        """Formal buffers whose contents at the start may matter."""
        kinds = {buffer.name: buffer.access for buffer in self.kernel.buffers}
        found = {load.buffer for load in self.loads if kinds.get(load.buffer) in ("in", "inout")}
        found |= {
            load.buffer
            for load in self.loads
            if kinds.get(load.buffer) == "out" and not self._stored_before(load)
        }
        # What a store may leave out passes through.
        return frozenset(found | {name for name, kind in kinds.items() if kind == "inout"})

    @cached_property
    def writes(self) -> frozenset[str]:
        return frozenset(event.buffer for event in self.stores)

    @cached_property
    def covered(self) -> frozenset[str]:
        """Formal buffers of which some store writes every element."""
        return frozenset(store.buffer for store in self._covering)

    @cached_property
    def _covering(self) -> list[Event]:
        return [store for store in self.stores if self._covers(store)]

    def check(self) -> None:
        by_name = {buffer.name: buffer for buffer in self.kernel.buffers}
        if len(by_name) != len(self.kernel.buffers) or self._locals & by_name.keys():
            raise self._fail("declares two buffers of one name")
        for event in (*self.loads, *self.stores):
            if event.buffer not in by_name and event.buffer not in self._locals:
                raise self._fail(f"uses {event.buffer}, which is no buffer of its own")
            if event.buffer in by_name and len(event.index) != len(by_name[event.buffer].shape):
                raise self._fail(f"uses {event.buffer} with {len(event.index)} indices")
        for buffer in self.kernel.buffers:
            if problem := self._lie(buffer):
                raise self._fail(f"says {buffer.access} of {buffer.name}, but {problem}")

    def _lie(self, buffer: Buffer) -> str | None:
        """What the body does to a formal buffer that its access denies."""
        match buffer.access:
            case "in":
                return "stores to it" if buffer.name in self.writes else None
            case "out" if buffer.name in self.reads:
                return "reads what it held before"
            case "inout" if not self._read_where_stored(buffer.name):
                return "reads it at an index that no store has"
            case "out" | "inout" if buffer.name not in self.writes and buffer.size:
                return "never stores to it"
            case "out" | "inout":
                return None
        return "there is no such access"

    def _read_where_stored(self, name: str) -> bool:
        indices = {store.index for store in self.stores if store.buffer == name}
        return all(load.index in indices for load in self.loads if load.buffer == name)

    def _fail(self, problem: str) -> PlanError:
        return PlanError(f"kernel {self.kernel.name} {problem}")

    # Sharing bytes

    def conflict(self, source: str, target: str) -> str | None:
        """Why an input may not lie where an output is written, element on element.

        None if it may: nothing reads an element of the source once the target's is stored.
        """
        key = (source, target)
        if key not in self._conflicts:
            self._conflicts[key] = self._find_conflict(source, target)
        return self._conflicts[key]

    def _find_conflict(self, source: str, target: str) -> str | None:
        if not self.is_elementwise:
            return "the kernel is not elementwise"
        if source in self.writes:
            return f"{source} is written too"
        found = [store for store in self.stores if store.buffer == target]
        if len(found) != 1:
            return f"{target} is stored to {len(found)} times"
        (store,) = found
        if not self._stores_once(store):
            return f"an element of {target} may be stored to more than once"
        for load in self.loads:
            if load.buffer == source and (problem := self._out_of_step(load, store)):
                return problem
        return None

    def _out_of_step(self, load: Event, store: Event) -> str | None:
        """Why a load may read an element after the store has replaced it."""
        place = self._address(load)
        if place is None or place != self._address(store):
            return f"a load of {load.buffer} is not at the index of the store to {store.buffer}"
        if load.order > store.order:
            return f"{load.buffer} is read after the store to {store.buffer}"
        around = store.path[: len(load.path)] == load.path
        if not around or not (place.keys() - {ONE}) <= set(load.path):
            return f"{load.buffer} is read in another loop than {store.buffer} is stored in"
        return None

    # Addresses

    def _address(self, event: Event) -> Sum | None:
        """The byte of an access from the buffer's start, as a sum over the loops around it."""
        buffer = self.kernel.by_name.get(event.buffer)
        if buffer is None:
            return None
        total: Sum = {}
        for part, stride in zip(event.index, buffer.strides, strict=True):
            form = _sum(part, event.scope)
            if form is None:
                return None
            _add(total, form, stride * buffer.dtype.itemsize)
        return self._fold_single(total)

    def _fold_single(self, form: Sum) -> Sum:
        """Loops of one iteration left out; their variables are 0 or in the constant already."""
        return {
            binder: factor
            for binder, factor in form.items()
            if factor and (binder == ONE or self.extents.get(binder) != 1)
        }

    def _covers(self, store: Event) -> bool:
        """Whether a store's addresses are 0, 1, 2 ... to the buffer's end: a mixed radix."""
        buffer = self.kernel.by_name.get(store.buffer)
        if buffer is None or store.conditional or not all(map(self.extents.get, store.path)):
            return False
        terms = self._terms(store)
        if terms is None:
            return False
        start, radix = terms
        reached = buffer.dtype.itemsize
        for factor, extent in radix:
            if factor != reached:
                return False
            reached *= extent
        return start == 0 and reached == buffer.nbytes

    def _stores_once(self, store: Event) -> bool:
        """Whether no two iterations of the loops around a store have one address."""
        if not all(map(self.extents.get, store.path)):
            return False
        address = self._address(store)
        terms = self._terms(store)
        several = {binder for binder in store.path if self.extents[binder] != 1}
        if address is None or terms is None or not several <= address.keys():
            return False
        reach = 0
        for factor, extent in terms[1]:
            if factor <= reach:
                return False
            reach += factor * (extent - 1)
        return True

    def _terms(self, store: Event) -> tuple[int, list[tuple[int, int]]] | None:
        """The lowest address, and (step, extent) of every loop it depends on, by step."""
        address = self._address(store)
        if address is None:
            return None
        start, terms = address.get(ONE, 0), []
        for binder in address.keys() - {ONE}:
            extent = self.extents.get(binder)
            if extent is None:
                return None
            factor = address[binder]
            start += min(factor * (extent - 1), 0)
            terms.append((abs(factor), extent))
        return start, sorted(terms)

    def _stored_before(self, load: Event) -> bool:
        """Whether the kernel has itself written whatever this load of an output reads."""
        return any(
            store.buffer == load.buffer and store.order < load.order and self._reaches(store, load)
            for store in self._covering
        )

    def _reaches(self, store: Event, load: Event) -> bool:
        """Whether the store's loops that are over by the load ran through all it may read.

        Each dimension of the store's index is either the load's own, in terms of the loops
        around both, or runs over its extent in loops that are over, or has one place only.
        """
        shared = {a for a, b in zip(store.path, load.path, strict=False) if a == b}
        shape = self.kernel.by_name[store.buffer].shape
        for mine, other, extent in zip(store.index, load.index, shape, strict=True):
            if extent == 1:
                continue  # there is one place to be at
            form = _sum(mine, store.scope)
            if form is None:
                return False
            runs_over = bool(form.keys() - {ONE}) and shared.isdisjoint(form)
            if not runs_over and form != _sum(other, load.scope):
                return False
        return True

    # Reading the body

    def _statements(
        self, body: tuple[Statement, ...], scope: Scope, path: tuple[int, ...], conditional: bool
    ) -> None:
        for statement in body:
            match statement:
                case Let(name, value):
                    self._loads(value, scope, path)
                    scope = {**scope, name: _sum(value, scope)}
                case Store(buffer, index, value, guard):
                    for expr in (*index, value, *([] if guard is None else [guard])):
                        self._loads(expr, scope, path)
                    maybe = conditional or guard is not None
                    self._store(buffer, index, scope, path, maybe)
                case Loop():
                    self._loop(statement, scope, path, conditional)
                case When(condition, inner):
                    self._loads(condition, scope, path)
                    self._statements(inner, scope, path, True)
                case Local(buffer=local):
                    self._locals.add(local.name)
                    self.is_elementwise = False
                case Contract():
                    self._contract(statement, scope, path)

    def _loop(self, loop: Loop, scope: Scope, path: tuple[int, ...], conditional: bool) -> None:
        self._loads(loop.lower, scope, path)
        self._loads(loop.upper, scope, path)
        binder = self._bind(None)
        variable: int | Sum = binder
        match loop:
            case Loop(lower=Literal(value=low), upper=Literal(value=high)):
                self.extents[binder] = max(0, -(-(int(high) - int(low)) // loop.step))
                variable = {binder: loop.step, ONE: int(low)}
        inner = {**scope, loop.var: variable}
        self._statements(loop.body, inner, (*path, binder), conditional)

    def _contract(self, contract: Contract, scope: Scope, path: tuple[int, ...]) -> None:
        self.is_elementwise = False
        inside = {**scope, contract.row: self._bind(None), contract.column: self._bind(None)}
        self._loads(contract.a, inside, path)
        self._loads(contract.b, inside, path)
        tile = (Variable(contract.row), Variable(contract.column))
        self.loads.append(Event(contract.tile, tile, inside, path, self._next(), False))
        self._store(contract.tile, tile, inside, path, False)

    def _store(
        self,
        buffer: str,
        index: tuple[Expr, ...],
        scope: Scope,
        path: tuple[int, ...],
        conditional: bool,
    ) -> None:
        event = Event(buffer, index, scope, path, self._next(), conditional)
        self.stores.append(event)

    def _loads(self, expr: Expr, scope: Scope, path: tuple[int, ...]) -> None:
        match expr:
            case Literal() | Variable():
                return
            case Reduce(axes=axes):
                self.is_elementwise = False
                bound = {axis.name: self._bind(axis.extent) for axis in axes}
                scope, path = {**scope, **bound}, (*path, *bound.values())
            case Load(buffer, index):
                self.loads.append(Event(buffer, index, scope, path, self._next(), True))
        for part in children(expr):
            self._loads(part, scope, path)

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _bind(self, extent: int | None) -> int:
        """A new binder: no two loops have one, whatever their names."""
        binder = len(self.extents) + 1
        self.extents[binder] = extent
        return binder


def _sum(expr: Expr, scope: Scope) -> Sum | None:
    """An i64 expression as a sum over loops; None where it is none."""
    match expr:
        case Literal(value=value) if expr.dtype == int64:
            return {ONE: int(value)} if value else {}
        case Variable(name=name):
            known = scope.get(name)
            return {known: 1} if isinstance(known, int) else known
        case Call(op="add" | "sub" as op, args=(a, b)) if expr.dtype == int64:
            left, right = _sum(a, scope), _sum(b, scope)
            if left is None or right is None:
                return None
            return _added(left, right, 1 if op == "add" else -1)
        case Call(op="mul", args=(a, Literal(value=factor)) | (Literal(value=factor), a)) if (
            expr.dtype == int64
        ):
            form = _sum(a, scope)
            return None if form is None else _added({}, form, int(factor))
        case _:
            return None


def _added(left: Sum, right: Sum, factor: int) -> Sum:
    total = dict(left)
    _add(total, right, factor)
    return total


def _add(total: Sum, form: Sum, factor: int) -> None:
    """Add factor * form to a total, which keeps no coefficient of 0."""
    for binder, coefficient in form.items():
        total[binder] = total.get(binder, 0) + factor * coefficient
        if not total[binder]:
            del total[binder]
