"""Optimizers as nodes of the training graph; names, keywords and arithmetic as torch.optim's."""

from graphc.frontends.optim import schedules
from graphc.frontends.optim.adam import Adam, AdamW
from graphc.frontends.optim.base import Optimizer
from graphc.frontends.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "schedules"]
