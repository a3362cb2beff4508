"""Naive kernel -> tiled kernel: which loops are vectors or shared out, what is in registers.

No choice here changes a bit of any result.
"""

from __future__ import annotations

from graphc.loops import Kernel
from graphc.target import Target

from .attention import tile_local_blocks
from .collapsed import collapse
from .columns import sink_columns
from .contraction import tile_contraction
from .elementwise import vectorise
from .held_rows import hold_rows
from .joined_folds import join_folds
from .transposed import tile_transposed
from .windows import tile_windows
from .woven import weave


def tile(kernel: Kernel, target: Target) -> Kernel:
    """The kernel as this target runs it best."""
    return (
        tile_local_blocks(kernel, target)
        or tile_contraction(kernel, target)
        or tile_windows(kernel)
        or tile_transposed(weave(kernel, target), target)
        or sink_columns(kernel)
        or join_folds(vectorise(hold_rows(collapse(kernel, target), target)), target)
    )
