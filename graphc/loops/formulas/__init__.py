"""The mathematical functions, written once in the loop language for every backend.

A formula is a list of lets over the primitive operations of `graphc.loops.expressions`, so a
function has the same bits wherever the primitives have: on every target with fma, and in the
naive evaluator. Targets that spell fma as a product and a sum have bits of their own. Greatest
errors measured in float32, in ulp, over a third of all arguments with fma and a 17th without
(bench/ulp_sweep.py measures again; pow over random pairs):

              exp  exp2 expm1 log  log1p tanh sigmoid erf  sin  cos  rsqrt pow
    fma       0.98 0.99 1.44  0.94 1.53  1.34 2.41    1.56 0.83 0.83 1.50  0.51
    without   0.96 0.96 1.46  0.92 1.66  1.31 2.41    1.70 1.52 1.52 1.50  0.51

normal_cdf and normal_density are within what their own texts say (graphc.loops.formulas.normal).
float64 stays within 2 ulp, sigmoid within 2.5. Results go down to the least denormal, sin and cos
take every finite argument, and NaN gives NaN, whose other bits are the target's.

>>> from graphc import dtypes
>>> rsqrt = formula("rsqrt", dtypes.float32)
>>> [(let.name, let.value.op) for let in rsqrt.lets], rsqrt.result.name
([('t0', 'sqrt'), ('t1', 'div')], 't1')
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from graphc import dtypes
from graphc.dtypes import DType
from graphc.errors import DTypeError
from graphc.loops.expressions import Call, Expr, Literal, Variable, children, with_children
from graphc.loops.formulas import exponential, logarithm, normal, power, random_bits, trigonometry
from graphc.loops.formulas.writer import Atom, Value, Writer, apply
from graphc.loops.kernel import Let


def rsqrt(x: Value) -> Value:
    """1 / sqrt(x). At most 1.5 ulp."""
    return 1.0 / apply("sqrt", x)


FLOATS = (dtypes.float32, dtypes.float64)
WORDS = (dtypes.uint32,)

# Operation -> how it is written, and the types it takes.
TABLE: dict[str, tuple[Callable[..., Value], tuple[DType, ...]]] = {
    "exp": (exponential.exp, FLOATS),
    "exp_negative": (exponential.exp_negative, FLOATS),
    "exp2": (exponential.exp2, FLOATS),
    "expm1": (exponential.expm1, FLOATS),
    "log": (logarithm.log, FLOATS),
    "log1p": (logarithm.log1p, FLOATS),
    "tanh": (exponential.tanh, FLOATS),
    "sigmoid": (exponential.sigmoid, FLOATS),
    "erf": (exponential.erf, FLOATS),
    "normal_cdf": (normal.normal_cdf, FLOATS),
    "normal_density": (normal.normal_density, FLOATS),
    "sin": (trigonometry.sin, FLOATS),
    "cos": (trigonometry.cos, FLOATS),
    "pow": (power.pow, FLOATS),
    "rsqrt": (rsqrt, FLOATS),
    "random_bits": (random_bits.random_bits, WORDS),
    "random_bits_high": (random_bits.random_bits_high, WORDS),
}


def is_formula(op: str) -> bool:
    """Whether an operation is a formula, to be expanded into primitive ones."""
    return op in TABLE


@dataclass(frozen=True)
class Formula:
    """A function of scalars of one type: lets in order, each over parameters and earlier lets."""

    name: str
    parameters: tuple[Variable, ...]
    lets: tuple[Let, ...]
    result: Atom


@cache
def formula(name: str, dtype: DType) -> Formula:
    """The formula of an operation for arguments of a type.

    Raises DTypeError for a type that the operation has no formula for.
    """
    write, allowed = TABLE[name]
    if dtype not in allowed:
        expected = " or ".join(map(str, allowed))
        raise DTypeError(f"{name} takes {expected}, not {dtype}")
    writer = Writer()
    parameters = tuple(Variable(p, dtype) for p in inspect.signature(write).parameters)
    result = write(*(Value(writer, parameter) for parameter in parameters)).atom
    return Formula(name, parameters, needed(writer.lets, result), result)


def needed(lets: list[Let], result: Atom) -> tuple[Let, ...]:
    """The lets that the result depends on."""
    wanted = {result}
    kept: list[Let] = []
    for let in reversed(lets):
        if Variable(let.name, let.value.dtype) in wanted:
            kept.append(let)
            wanted.update(child for child in children(let.value) if isinstance(child, Variable))
    return tuple(reversed(kept))


def expand_call(
    call: Call, fresh: Callable[[str], str], rewrite: Callable[[Formula], Formula] | None = None
) -> tuple[list[Let], Atom]:
    """A call of a formula, rewritten first, as lets and the atom that holds its value.

    `fresh(prefix)` is asked once, for a name that nothing else in the kernel uses or extends; the
    lets' names extend it. Arguments that are not variables or literals are bound first; calls of
    formulas inside them stay as they are.
    """
    definition = formula(call.op, call.args[0].dtype)
    definition = definition if rewrite is None else rewrite(definition)
    prefix = fresh(call.op)
    lets: list[Let] = []
    atoms: dict[Expr, Expr] = {}

    def bind(variable: Variable, value: Expr) -> None:
        atoms[variable] = Variable(f"{prefix}.{variable.name}", value.dtype)
        lets.append(Let(f"{prefix}.{variable.name}", value))

    for parameter, argument in zip(definition.parameters, call.args, strict=True):
        if isinstance(argument, Variable | Literal):
            atoms[parameter] = argument
        else:
            bind(parameter, argument)
    for let in definition.lets:
        parts = tuple(atoms.get(child, child) for child in children(let.value))
        bind(Variable(let.name, let.value.dtype), with_children(let.value, parts))
    result = atoms.get(definition.result, definition.result)
    assert isinstance(result, Variable | Literal)
    return lets, result
