"""Optimizers and learning-rate schedules, as `from graphc import optim`.

>>> Adam(lr=1e-3).betas
(0.9, 0.999)
"""

from graphc.frontends.optim import SGD, Adam, AdamW, Optimizer, schedules

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "schedules"]
