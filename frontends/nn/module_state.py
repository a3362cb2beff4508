"""The arrays of a module's tree: made, saved, loaded, converted, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from graphc import dtypes
from graphc.errors import ArgumentError, DTypeError
from graphc.frontends.nn.module_tree import all_holders, matching
from graphc.frontends.nn.parameter import Buffer, Parameter, StateTensor
from graphc.frontends.tracing.holder import make_state
from graphc.runtime.state import State, check_elements, check_names

if TYPE_CHECKING:
    from graphc.frontends.nn.module import Module


class LoadResult(NamedTuple):
    """What a loading that is not strict left out."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def state_of(module: Module, seed: int) -> State:
    """The State of the tree, with `key`; what is unmade is made from (seed, full name)."""
    return make_state({**dict(module.named_holders()), "key": module.random_key}, seed)


def saved_holders(module: Module) -> dict[str, StateTensor]:
    """{full name: holder} of what is saved: shared tensors under every name, as torch does."""
    return {
        name: holder
        for name, holder in all_holders(module).items()
        if not isinstance(holder, Buffer) or holder.persistent
    }


def state_dict(module: Module) -> dict[str, np.ndarray[Any, Any]]:
    make_state(dict(module.named_holders()))
    return {
        name: np.array(holder.data, order="C") for name, holder in saved_holders(module).items()
    }


def load_state_dict(module: Module, arrays: Mapping[str, Any], strict: bool) -> LoadResult:
    expected = saved_holders(module)
    check_names(arrays, expected, strict)
    given = {name: np.asarray(arrays[name]) for name in expected if name in arrays}
    check_elements(given, {name: holder.type for name, holder in expected.items()})
    for name, elements in given.items():
        expected[name].set(elements)
    missing = [name for name in expected if name not in arrays]
    return LoadResult(missing, [name for name in arrays if name not in expected])


def convert_floats(module: Module, dtype: Any) -> None:
    row = dtypes.get(dtype)
    if not row.is_float:
        raise DTypeError(f"a model cannot be {row}; expected a float type")
    for _, holder in module.named_holders():
        if holder.dtype.is_float:
            holder.convert(row)


def set_requires_grad(module: Module, patterns: tuple[str, ...], requires_grad: bool) -> None:
    """Of every parameter, or of those whose full names match. A pattern must match something."""
    holders = all_holders(module).items()
    parameters = {name: holder for name, holder in holders if isinstance(holder, Parameter)}
    for pattern in patterns or ("*",):
        found = matching(parameters, pattern)
        if not found and patterns:
            raise ArgumentError(
                f"no parameter matches {pattern!r}; there are {', '.join(parameters)}"
            )
        for name in found:
            parameters[name].requires_grad = requires_grad
