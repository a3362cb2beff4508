"""The public functions by name: what methods and operators of a Tensor call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.frontends.tracing.tensor import Tensor

_FUNCTIONS: dict[str, Callable[..., Any]] = {}


def register(name: str, function: Callable[..., Any]) -> None:
    """Enter a function, when its file is imported."""
    _FUNCTIONS[name] = function


def function_named(name: str) -> Callable[..., Any] | None:
    """The function of that name in graphc.functional, or None."""
    return _FUNCTIONS.get(name)


def call(name: str, *args: Any) -> Tensor:
    """Call the function of that name, one that gives a tensor."""
    result: Tensor = _FUNCTIONS[name](*args)
    return result
