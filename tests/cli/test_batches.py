"""The batch that bench and bisect take."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from graphc import Spec
from graphc.cli.batches import batch_of


def test_a_batch_of_the_last_bucket() -> None:
    small, large = (np.zeros((2, 3)),), (np.zeros((2, 5)),)
    buckets = ((Spec((2, 3)),), (Spec((2, 5)),))
    step = SimpleNamespace(buckets=buckets, batch_specs=buckets[-1])
    assert batch_of(step, [small, large, small]) == large
    assert batch_of(step, [small]) == () == batch_of(step, None)


def test_the_first_batch_of_a_step_without_buckets() -> None:
    """A wrong shape is the step's to tell of."""
    specs = (Spec((2, 3)),)
    step = SimpleNamespace(buckets=(specs,), batch_specs=specs)
    given = (np.zeros((2, 4)),)
    assert batch_of(step, iter([given])) == given
