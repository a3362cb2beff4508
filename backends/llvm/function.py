"""Writing one LLVM function as text, with loop-invariant code motion and reuse built in.

No LLVM pass runs over the text (it would cost more than it gains), so the writer does what is
needed: every pure instruction is placed in the outermost loop where its operands are known, and
an instruction that was written there before is not written again. Memory is never moved.

    scope 0   function entry
    scope 1   body of a loop or branch within it ...

The lines of an inner scope are kept apart until it is closed, so that code can still be placed
in the scopes around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

SCALAR = {
    "float32": "float",
    "float64": "double",
    "int32": "i32",
    "uint32": "i32",
    "int64": "i64",
    "uint64": "i64",
    "uint8": "i8",
    "bool": "i1",
}
# How an element lies in memory: a bool is a byte.
STORED = SCALAR | {"bool": "i8"}


def vector(scalar: str, width: int) -> str:
    return scalar if width == 1 else f"<{width} x {scalar}>"


@dataclass(frozen=True, slots=True)
class Val:
    """An SSA value: its name or literal, LLVM type, lanes, and the scope that defines it."""

    name: str
    type: str
    width: int = 1
    depth: int = 0

    def __str__(self) -> str:
        return f"{self.type} {self.name}"


@dataclass
class _Scope:
    lines: list[str] = field(default_factory=list)
    known: dict[str, Val] = field(default_factory=dict)
    label: str = "entry"  # the block that lines are appended to now
    number: int = 0


@dataclass
class Carried:
    """A loop's values that change from one iteration to the next: set `next` in the body."""

    current: list[Val]
    next: list[Val]
    result: list[Val]


class Function:
    """One function under construction."""

    def __init__(self, name: str, parameters: Sequence[str], attributes: str = "nounwind") -> None:
        self.name = name
        self.parameters = tuple(parameters)
        self.attributes = attributes
        self.declarations: set[str] = set()
        self._scopes = [_Scope()]
        self._count = 0

    @property
    def depth(self) -> int:
        return len(self._scopes) - 1

    @property
    def scope(self) -> int:
        """A number that no other scope of this function has."""
        return self._scopes[-1].number

    def _push(self, label: str) -> None:
        self._count += 1
        self._scopes.append(_Scope(label=label, number=self._count))

    # Instructions

    def pure(self, text: str, type: str, width: int, *operands: Val) -> Val:
        """An instruction without effect, placed as far out as its operands allow."""
        depth = 0
        for operand in operands:  # a loop: this runs for most instructions that are written
            if operand.depth > depth:
                depth = operand.depth
        return self._place(text, type, width, depth)

    def here(self, text: str, type: str, width: int = 1) -> Val:
        """An instruction whose place matters: a load, a phi's neighbour."""
        scope = self._scopes[-1]
        value = Val(self._fresh(), type, width, self.depth)
        scope.lines.append(f"  {value.name} = {text}")
        return value

    def once_here(self, text: str, type: str, width: int = 1) -> Val:
        """Like `here`, but written once per scope: loads of memory that does not change."""
        for depth in range(self.depth, -1, -1):
            if text in self._scopes[depth].known:
                return self._scopes[depth].known[text]
        value = self.here(text, type, width)
        self._scopes[-1].known[text] = value
        return value

    def _place(self, text: str, type: str, width: int, depth: int) -> Val:
        scope = self._scopes[depth]
        if text not in scope.known:
            value = Val(self._fresh(), type, width, depth)
            scope.lines.append(f"  {value.name} = {text}")
            scope.known[text] = value
        return scope.known[text]

    def do(self, text: str) -> None:
        """An instruction with an effect and no value."""
        self._scopes[-1].lines.append(f"  {text}")

    def declare(self, declaration: str) -> None:
        self.declarations.add(f"declare {declaration}")

    def intrinsic(self, name: str, type: str, width: int, operands: Sequence[Val]) -> Val:
        """A pure call of an LLVM intrinsic overloaded on its first operand's type."""
        first = operands[0]
        suffix = overload(first.type)
        types = ", ".join(operand.type for operand in operands)
        self.declare(f"{type} @llvm.{name}.{suffix}({types})")
        arguments = ", ".join(map(str, operands))
        return self.pure(f"call {type} @llvm.{name}.{suffix}({arguments})", type, width, *operands)

    def reduce_or(self, mask: Val) -> Val:
        """Whether any lane is on."""
        if mask.width == 1:
            return mask
        name = f"@llvm.vector.reduce.or.{overload(mask.type)}"
        self.declare(f"i1 {name}({mask.type})")
        return self.pure(f"call i1 {name}({mask})", "i1", 1, mask)

    # Integers of type i64: addresses and loop bounds

    def int_(self, value: int) -> Val:
        return Val(str(value), "i64")

    def binary(self, op: str, a: Val, b: Val) -> Val:
        return self.pure(f"{op} {a.type} {a.name}, {b.name}", a.type, a.width, a, b)

    def iadd(self, a: Val, b: Val) -> Val:
        if a.name == "0":
            return b
        return a if b.name == "0" else self.binary("add", a, b)

    def imul(self, a: Val, factor: int) -> Val:
        return a if factor == 1 else self.binary("mul", a, self.int_(factor))

    def address(self, base: Val, element: str, offset: Val) -> Val:
        if offset.name == "0":
            return base
        return self.pure(f"getelementptr {element}, {base}, {offset}", "ptr", 1, base, offset)

    # Control flow

    @contextmanager
    def loop(
        self, lower: Val, upper: Val, step: int, carried: Sequence[Val], always: bool = False
    ) -> Iterator[tuple[Val, Carried]]:
        """`for index in range(lower, upper, step)`, carrying values; `always`: runs at least once.

        In the body set `state.next`; after the loop `state.result` holds what it left.
        """
        outer = self._scopes[-1]
        head, done = self._label("loop"), self._label("done")
        depth = self.depth + 1
        index = Val(self._fresh(), "i64", 1, depth)
        current = [Val(self._fresh(), v.type, v.width, depth) for v in carried]
        state = Carried(current, list(current), [])
        self._push(head)
        yield index, state
        inner = self._scopes.pop()
        following = self._repeat(inner, index, upper, step, (head, done))
        self._enter(outer, lower, upper, (head, done), always)
        entry, latch = outer.label, inner.label
        outer.lines.append(f"{head}:")
        for start, phi, after in zip(
            (lower, *carried), (index, *current), (following, *state.next), strict=True
        ):
            outer.lines.append(_phi(phi, (start, entry), (after, latch)))
        outer.lines += [*inner.lines, f"{done}:"]
        outer.label = done
        skipped = [] if always else [(start, entry) for start in carried]
        self._merge(state, [(after, latch) for after in state.next], skipped)

    def _repeat(
        self, inner: _Scope, index: Val, upper: Val, step: int, labels: tuple[str, str]
    ) -> Val:
        """The end of a loop's body: the next index, and back to the head while it is below."""
        following, test = Val(self._fresh(), "i64"), self._fresh()
        inner.lines += [
            f"  {following.name} = add nsw i64 {index.name}, {step}",
            f"  {test} = icmp slt i64 {following.name}, {upper.name}",
            f"  br i1 {test}, label %{labels[0]}, label %{labels[1]}",
        ]
        return following

    def _enter(
        self, outer: _Scope, lower: Val, upper: Val, labels: tuple[str, str], always: bool
    ) -> None:
        head, done = labels
        if always:
            outer.lines.append(f"  br label %{head}")
            return
        test = self._fresh()
        outer.lines.append(f"  {test} = icmp slt i64 {lower.name}, {upper.name}")
        outer.lines.append(f"  br i1 {test}, label %{head}, label %{done}")

    def _merge(
        self,
        state: Carried,
        after: Sequence[tuple[Val, str]],
        skipped: Sequence[tuple[Val, str]],
    ) -> None:
        """Phis of what a loop or branch left, and of what there was if it did not run."""
        for position, source in enumerate(after):
            value = Val(self._fresh(), source[0].type, source[0].width, self.depth)
            sources = [source, *skipped[position : position + 1]]
            self._scopes[-1].lines.append(_phi(value, *sources))
            state.result.append(value)

    @contextmanager
    def branch(self, condition: Val, otherwise: Sequence[Val] = ()) -> Iterator[Carried]:
        """Run the body where `condition` holds; `state.result` merges `next` and `otherwise`."""
        outer = self._scopes[-1]
        yes, done = self._label("then"), self._label("endif")
        entry = outer.label
        state = Carried(list(otherwise), list(otherwise), [])
        self._push(yes)
        yield state
        inner = self._scopes.pop()
        inner.lines.append(f"  br label %{done}")
        outer.lines.append(f"  br i1 {condition.name}, label %{yes}, label %{done}")
        outer.lines.append(f"{yes}:")
        outer.lines.extend(inner.lines)
        outer.lines.append(f"{done}:")
        outer.label = done
        merged = [(after, inner.label) for after in state.next]
        self._merge(state, merged, [(no, entry) for no in otherwise])

    @property
    def label(self) -> str:
        """The block that the next instruction goes to."""
        return self._scopes[-1].label

    # Text

    def text(self, internal: bool = False) -> str:
        (body,) = self._scopes
        linkage = "internal " if internal else ""
        lines = [
            f"define {linkage}void @{self.name}({', '.join(self.parameters)}) {self.attributes} {{",
            "entry:",
            *body.lines,
            "  ret void",
            "}",
        ]
        return "\n".join(lines) + "\n"

    def _fresh(self) -> str:
        self._count += 1
        return f"%t{self._count}"

    def _label(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


def _phi(value: Val, *sources: tuple[Val, str]) -> str:
    edges = ", ".join(f"[ {source.name}, %{label} ]" for source, label in sources)
    return f"  {value.name} = phi {value.type} {edges}"


def overload(type: str) -> str:
    """LLVM's name of a type in an overloaded intrinsic: v16f32, f32, i64."""
    short = {"float": "f32", "double": "f64"}
    if type.startswith("<"):
        count, element = type[1:-1].split(" x ")
        return f"v{count}{short.get(element, element)}"
    return short.get(type, type)
