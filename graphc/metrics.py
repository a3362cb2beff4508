"""Metrics for a Trainer: ``from graphc.metrics import accuracy``.

    graphc.Trainer(step, metrics=[accuracy])

A metric of your own is a traceable function (model, *batch) -> one value per example, or a Decoded
that goes on in Python. This file only re-exports.
"""

from graphc.frontends.train.bleu import bleu
from graphc.frontends.train.metrics import (
    Decoded,
    absolute_error,
    accuracy,
    ctc_error_rate,
    squared_error,
)

__all__ = ["Decoded", "absolute_error", "accuracy", "bleu", "ctc_error_rate", "squared_error"]
