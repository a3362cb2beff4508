"""graphc: a computation-graph compiler and runtime that runs whole training steps natively."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Public name -> the module that defines it; loaded on first use, so that the import stays quick.
_HOMES: dict[str, str] = {
    "Spec": "graphc.frontends.tracing",
    "trace": "graphc.frontends.tracing",
    "grad": "graphc.frontends.tracing",
    "value_and_grad": "graphc.frontends.tracing",
    "vjp": "graphc.frontends.tracing",
    "compile": "graphc.frontends.compile",
    "parse": "graphc.tools.parse",
    "TrainStep": "graphc.frontends.train.step",
    "Trainer": "graphc.frontends.train.trainer",
    "Stopped": "graphc.frontends.train.signals",
}
_MODULES = frozenset(
    {
        "nn",
        "optim",
        "functional",
        "data",
        "decoding",
        "checkpoint",
        "callbacks",
        "metrics",
        "errors",
        "dtypes",
    }
)

__all__ = [*_HOMES, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"graphc.{name}")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'graphc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
