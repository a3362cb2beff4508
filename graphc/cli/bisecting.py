"""`graphc bisect`: the compiler's steps one by one on a training step, until one is wrong."""

from __future__ import annotations

import argparse

import numpy as np

from graphc.cli.batches import batch_of
from graphc.cli.loading import load
from graphc.errors import CompileError
from graphc.frontends.compile import pipeline
from graphc.tools.bisect import find_difference


def bisect(options: argparse.Namespace) -> None:
    """Tell what has been checked; raises CompileError that names the step at fault.

    The batch is the training loader's first, or made where there is none.
    """
    step, training, *_ = load(options)
    given = batch_of(step, training)
    pairs = zip(given, step.batch_specs, strict=bool(given))
    batch = [np.asarray(array, spec.dtype.numpy) for array, spec in pairs]
    found = find_difference(
        step.graph,
        {name: slot.array for name, slot in step.state.items()},
        batch or None,
        backend=step.backend,
        threads=step.threads,
        passes=pipeline(step.fuse, step.passes),
        report=print,
    )
    if found is not None:
        raise CompileError(str(found))
    print("no difference")
