"""The line of the user's model that an operation comes from: the nearest frame outside graphc.

The ready models in graphc/models count as a user's: they are models, not the compiler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, TypeVar

import graphc
from graphc.errors import GraphcError

Error = TypeVar("Error", bound=GraphcError)
Result = TypeVar("Result")

_PACKAGE = os.path.dirname(os.path.abspath(graphc.__file__))
# frontends/ and backends/ are symbolic links in a checkout: files may be seen by either path.
_INTERNAL = tuple(
    folder + os.sep
    for folder in (
        _PACKAGE,
        os.path.realpath(os.path.join(_PACKAGE, "frontends")),
        os.path.realpath(os.path.join(_PACKAGE, "backends")),
    )
)
_MODELS = os.path.join(_PACKAGE, "models") + os.sep


@dataclass(frozen=True)
class Line:
    """A line of a Python file."""

    file: str
    number: int

    def relative_to(self, folder: str) -> str:
        """``file.py:14``, the path relative to `folder` where both are real paths."""
        return f"{_relative(self.file, folder)}:{self.number}"


@lru_cache(maxsize=4096)
def _relative(file: str, folder: str) -> str:
    if not os.path.isabs(file) or not folder:
        return file
    return os.path.relpath(file, folder).replace(os.sep, "/")


@lru_cache(maxsize=4096)
def is_users(file: str) -> bool:
    """Whether a file is the user's: outside graphc, or one of the ready models."""
    return not file.startswith(_INTERNAL) or file.startswith(_MODELS)


def call_model(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call what is traced: `model_line` looks no further up the stack than here."""
    return function(*arguments)


def user_line() -> Line | None:
    """The nearest line outside graphc on the stack of calls."""
    return _nearest(None)


def model_line() -> Line | None:
    """The nearest line outside graphc that runs while a model is traced; not that of the trace."""
    return _nearest(call_model.__code__)


def _nearest(end: CodeType | None) -> Line | None:
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code is not end:
        if is_users(frame.f_code.co_filename):
            return Line(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return None


def defining_code(function: Any) -> CodeType | None:
    """The code of a function, of what a partial or wrapper holds, or of a class's `__call__`."""
    while hasattr(function, "func") or hasattr(function, "__wrapped__"):
        function = getattr(function, "func", None) or function.__wrapped__
    if not hasattr(function, "__code__"):
        function = vars(type(function)).get("__call__")
    code = getattr(function, "__code__", None)
    return code if isinstance(code, CodeType) else None


def folder_of(function: Callable[..., Any]) -> str:
    """The folder of the file that defines a function, or that of the user's line."""
    code = defining_code(function)
    line = user_line()
    file = code.co_filename if code and is_users(code.co_filename) else line.file if line else ""
    return os.path.dirname(file) if os.path.isabs(file) else ""


def located(error: Error, folder: str | None = None) -> Error:
    """The error with the user's line at its end, once: ``… (cnn.py:14)``.

    The line's path is relative to `folder`; without one, it is the file's name.
    """
    line = user_line()
    if error.line is not None or line is None:
        return error
    text = line.relative_to(os.path.dirname(line.file) if folder is None else folder)
    complete = type(error)(f"{error} ({text})")
    complete.line = text
    return complete
