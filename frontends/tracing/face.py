"""The one way in: every public function runs under a recorder and reports the user's line.

Inside traced code the function writes nodes into the current trace. Outside, on arrays, it opens
an evaluation, which computes each operation at once, and hands back arrays.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from graphc.errors import GraphcError
from graphc.frontends.tracing.evaluation import Evaluation
from graphc.frontends.tracing.recorder import Session, recorder_in_use, recording
from graphc.frontends.tracing.registry import register
from graphc.frontends.tracing.source import located, user_line
from graphc.frontends.tracing.tensor import Tensor
from graphc.frontends.tracing.trees import map_leaves

P = ParamSpec("P")
R = TypeVar("R")


def entry(function: Callable[P, R]) -> Callable[P, R]:
    """Run under the current recorder, or evaluate; errors get the user's line."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        recorder = recorder_in_use()
        try:
            if recorder is None:
                return _evaluate(function, *args, **kwargs)
            return function(*args, **kwargs)
        except GraphcError as error:
            raise located(error, recorder.session.folder if recorder else None) from error.__cause__

    return run


def face(*names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a public function; it is registered under its own name and `names`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        public = entry(function)
        for name in (function.__name__, *names):
            register(name, public)
        return public

    return decorate


def _evaluate(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Compute at once; tensors in the result become arrays."""
    line = user_line()
    evaluation = Evaluation(Session(os.path.dirname(line.file) if line else ""))
    with recording(evaluation):
        result = function(*args, **kwargs)
    evaluation.finish()
    arrays: R = map_leaves(_to_array, result)
    return arrays


def _to_array(leaf: Any) -> Any:
    return leaf.elements if isinstance(leaf, Tensor) else leaf
