"""Checkpoints: ``graphc.checkpoint.save(path, arrays, metadata)`` and ``load(path)``.

This file only re-exports the checkpoint format and the manager of a run's checkpoints, each name
when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphc.frontends.train.checkpoint import load as load
    from graphc.frontends.train.checkpoint import save as save
    from graphc.frontends.train.checkpoints import Checkpoints as Checkpoints
    from graphc.frontends.train.checkpoints import Loaded as Loaded
    from graphc.frontends.train.checkpoints import Refused as Refused

_MODULE_OF = {
    "Checkpoints": "checkpoints",
    "Loaded": "checkpoints",
    "Refused": "checkpoints",
    "load": "checkpoint",
    "save": "checkpoint",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"graphc.checkpoint has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"graphc.frontends.train.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
