"""The passes in their order."""

from __future__ import annotations

from graphc.passes.autodiff import Autodiff
from graphc.passes.base import Pipeline
from graphc.passes.cse import Cse
from graphc.passes.dce import Dce
from graphc.passes.decompose import Decompose
from graphc.passes.fold import Fold
from graphc.passes.fuse import Fuse
from graphc.passes.simplify import Simplify

DIFFERENTIATE: Pipeline = (
    Simplify(),
    Decompose(lacking="vjp"),
    Autodiff(),
)

OPTIMIZE: Pipeline = (
    Simplify(differentiated=True),
    Fold(),
    Decompose(lacking="lowering"),
    Simplify(differentiated=True),
    Cse(),
    Dce(),
)

FUSE: Pipeline = (Fuse(),)

DEFAULT: Pipeline = DIFFERENTIATE + OPTIMIZE + FUSE
UNFUSED: Pipeline = DIFFERENTIATE + OPTIMIZE
