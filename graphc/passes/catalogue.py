"""Every pass by its name: what a pipeline's text may name."""

from __future__ import annotations

from collections.abc import Mapping

from graphc.passes.autodiff import Autodiff
from graphc.passes.base import Pass
from graphc.passes.cse import Cse
from graphc.passes.dce import Dce
from graphc.passes.decompose import Decompose
from graphc.passes.faults import Faults
from graphc.passes.fold import Fold
from graphc.passes.fuse import Fuse
from graphc.passes.recognise import Recognise
from graphc.passes.remat import Remat
from graphc.passes.simplify import Simplify
from graphc.passes.split_reductions import SplitReductions
from graphc.passes.split_scan import SplitScan

_KINDS: tuple[type[Pass], ...] = (
    Autodiff,
    Cse,
    Dce,
    Decompose,
    Faults,
    Fold,
    Fuse,
    Recognise,
    Remat,
    Simplify,
    SplitReductions,
    SplitScan,
)

PASSES: Mapping[str, type[Pass]] = {kind.name: kind for kind in _KINDS}
