"""x * 2^n by one instruction: formulas for AVX-512, whose bits are those of the two steps.

    h = n >> 1                                              with n = bits(s) - bits(magic)
    y = x * 2^h * 2^(n - h)      =>      y = scalef(x, s - magic)

The first product is exact, the second rounds once, as the instruction does.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from graphc.dtypes import DType
from graphc.loops import Call, Expr, Variable, const
from graphc.loops.formulas import Formula, needed
from graphc.loops.formulas.writer import FORMATS
from graphc.target import Target

from .function import Function, Val, vector

SCALE = "scalef"
SCALED_BYTES = 64
_ROUND_AS_SET = 4


@cache
def with_scaling(definition: Formula) -> Formula:
    """The formula with its products by powers of two as calls of `SCALE`."""
    if not definition.result.dtype.is_float:
        return definition
    found = _Lets(definition)
    lets = [replace(let, value=found.scaled(let.value) or let.value) for let in definition.lets]
    return replace(definition, lets=needed(lets, definition.result))


class _Lets:
    def __init__(self, definition: Formula) -> None:
        self.values = {let.name: let.value for let in definition.lets}
        self.names = {let.value: Variable(let.name, let.value.dtype) for let in definition.lets}
        self.format = FORMATS[definition.result.dtype]

    def scaled(self, value: Expr) -> Expr | None:
        """x * 2^h * 2^(n - h) as one call; None where the value has another form."""
        if not isinstance(value, Call) or value.op != "mul":
            return None
        product, rest = self._call(value.args[0], "mul"), self._exponent(value.args[1])
        if product is None or rest is None:
            return None
        half, other = self._exponent(product.args[1]), self._call(rest, "sub")
        shift = None if half is None else self._call(half, "shr")
        if shift is None or other is None or other.args != (shift.args[0], half):
            return None
        whole = self._call(shift.args[0], "sub")
        shifted = None if whole is None else self._call(whole.args[0], "bitcast")
        if shifted is None or shift.args[1] != const(1, self.format.signed):
            return None
        magic = const(self.format.magic, self.format.dtype)
        n = self.names.get(Call("sub", (shifted.args[0], magic), self.format.dtype))
        return None if n is None else Call(SCALE, (product.args[0], n), self.format.dtype)

    def _call(self, atom: Expr | None, op: str) -> Call | None:
        value = self.values.get(atom.name) if isinstance(atom, Variable) else None
        return value if isinstance(value, Call) and value.op == op else None

    def _exponent(self, atom: Expr) -> Expr | None:
        """n of 2^n, which is bitcast((n + bias) << mantissa bits)."""
        cast = self._call(atom, "bitcast")
        shift = None if cast is None else self._call(cast.args[0], "shl")
        if shift is None or shift.args[1] != const(self.format.mantissa_bits, self.format.signed):
            return None
        biased = self._call(shift.args[0], "add")
        bias = const(self.format.bias, self.format.signed)
        return biased.args[0] if biased is not None and biased.args[1] == bias else None


def is_scalable(target: Target, value: Val, dtype: DType) -> bool:
    """Whether the target has the instruction, for whole vectors such as the value."""
    has_it = target.is_x86 and target.vector_bytes == SCALED_BYTES
    return has_it and value.width > 1 and value.width * dtype.itemsize % SCALED_BYTES == 0


def scale(function: Function, x: Val, n: Val, dtype: DType) -> Val:
    """x * 2^n, a register at a time."""
    width = SCALED_BYTES // dtype.itemsize
    count = x.width // width
    parts = [
        _scale_register(function, _part(function, x, k, width), _part(function, n, k, width), dtype)
        for k in range(count)
    ]
    while len(parts) > 1:
        parts = [_joined(function, *parts[k : k + 2]) for k in range(0, len(parts), 2)]
    return parts[0]


def _scale_register(function: Function, x: Val, n: Val, dtype: DType) -> Val:
    kind = "ps" if dtype.bits == 32 else "pd"
    name, mask = f"@llvm.x86.avx512.mask.scalef.{kind}.512", f"i{x.width}"
    function.declare(f"{x.type} {name}({x.type}, {x.type}, {x.type}, {mask}, i32)")
    operands = f"{x}, {n}, {x.type} zeroinitializer, {mask} -1, i32 {_ROUND_AS_SET}"
    return function.pure(f"call {x.type} {name}({operands})", x.type, x.width, x, n)


def _part(function: Function, value: Val, number: int, width: int) -> Val:
    if value.width == width:
        return value
    lanes = range(number * width, (number + 1) * width)
    return _shuffled(function, value, value, list(lanes))


def _joined(function: Function, low: Val, high: Val) -> Val:
    return _shuffled(function, low, high, list(range(2 * low.width)))


def _shuffled(function: Function, a: Val, b: Val, lanes: list[int]) -> Val:
    scalar = a.type[1:-1].split(" x ")[1]
    order = ", ".join(f"i32 {lane}" for lane in lanes)
    text = f"shufflevector {a}, {b}, <{len(lanes)} x i32> <{order}>"
    return function.pure(text, vector(scalar, len(lanes)), len(lanes), a, b)
