"""Checkpoints: ``graphc.checkpoint.save(path, arrays, metadata)`` and ``load(path)``.

``load_into(model, path)`` takes up weights by name, whoever has written them, and reports;
``save_adapters`` and ``load_adapters`` keep what fine-tuning added to a model.

This file only re-exports, each name when it is first used.
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
    from graphc.frontends.train.pretrained import LoadReport as LoadReport
    from graphc.frontends.train.pretrained import load_adapters as load_adapters
    from graphc.frontends.train.pretrained import load_into as load_into
    from graphc.frontends.train.pretrained import read_weights as read_weights
    from graphc.frontends.train.pretrained import save_adapters as save_adapters

_MODULE_OF = {
    "Checkpoints": "checkpoints",
    "LoadReport": "pretrained",
    "Loaded": "checkpoints",
    "Refused": "checkpoints",
    "load": "checkpoint",
    "load_adapters": "pretrained",
    "load_into": "pretrained",
    "read_weights": "pretrained",
    "save": "checkpoint",
    "save_adapters": "pretrained",
}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"graphc.checkpoint has no {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"graphc.frontends.train.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
