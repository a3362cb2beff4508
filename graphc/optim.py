"""Optimizers and learning-rate schedules, as `from graphc import optim`.

>>> Adam(lr=1e-3).betas
(0.9, 0.999)
"""

from graphc.frontends.optim import (
    LAMB,
    SGD,
    Adadelta,
    Adafactor,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    layerwise,
    schedules,
)

__all__ = [
    "LAMB",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "layerwise",
    "schedules",
]
