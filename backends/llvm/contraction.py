"""Contractions in register tiles."""

from __future__ import annotations

from graphc.loops import Kernel
from graphc.target import Target


def tile_contraction(kernel: Kernel, target: Target) -> Kernel | None:
    return None
