"""Metrics for a Trainer: ``from graphc.metrics import accuracy``.

    graphc.Trainer(step, metrics=[accuracy])

A metric of your own is a traceable function (model, *batch) -> one value per example. This file
only re-exports.
"""

from graphc.frontends.train.metrics import absolute_error, accuracy, squared_error

__all__ = ["absolute_error", "accuracy", "squared_error"]
