"""The passes in their order; a constraint on the order stands on its line.

DIFFERENTIATE   until no `grad` node is left
OPTIMIZE        everything else before fuse
FUSE            groups alone
SPARE           memory, where that takes next to no time
DEFAULT         all four; UNFUSED leaves out recognise, fuse and what follows it
"""

from __future__ import annotations

from graphc.passes.autodiff import Autodiff
from graphc.passes.base import Pipeline
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

DIFFERENTIATE: Pipeline = (
    Simplify(),  # before recognise: it looks for simplified forms
    Recognise(),  # before autodiff: afterwards it would have to match differentiated composites
    Decompose(lacking="vjp"),  # after recognise, which makes composites
    Autodiff(),
)

OPTIMIZE: Pipeline = (
    Dce(),  # before faults: nothing is checked that nobody asked for
    Faults(),  # after autodiff, before composites are opened: the user's operators are checked
    Simplify(differentiated=True),
    Fold(),
    Decompose(lacking="lowering"),  # after the rules on composites, before those on their parts
    SplitScan(),  # before split_reductions: it makes products that are long
    SplitReductions(),  # after composites are opened, which have reductions inside
    Simplify(differentiated=True),
    Cse(),  # the forward and the backward halves of a composite share their statistics
    Dce(),
)

FUSE: Pipeline = (
    Fuse(),  # nothing after it may look at single nodes
)

SPARE: Pipeline = (
    # After fuse, which says what gets memory at all. Four thousandths of a step's time cannot be
    # measured; another order of the launches can: updates between products empty the caches.
    Remat(percent=0, order=False, extra=4),
)

DEFAULT: Pipeline = DIFFERENTIATE + OPTIMIZE + FUSE + SPARE

# Instead of finding composites with kernels of their own, those that a model names are opened.
UNFUSED: Pipeline = tuple(
    Decompose(lacking="fusion") if isinstance(step, Recognise) else step
    for step in DIFFERENTIATE + OPTIMIZE
)
