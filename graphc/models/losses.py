"""The loss that the image models share."""

from __future__ import annotations

from typing import Any

import graphc.functional as F


def classify(model: Any, x: Any, y: Any) -> Any:
    """Mean cross entropy of model(x)[N, C] against the classes y[N]."""
    return F.cross_entropy(model(x), y)
