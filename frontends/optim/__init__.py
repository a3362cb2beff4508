"""Optimizers as nodes of the training graph; names, keywords and arithmetic as torch.optim's."""

from graphc.frontends.optim import schedules
from graphc.frontends.optim.adafactor import Adafactor
from graphc.frontends.optim.adam import Adam, AdamW
from graphc.frontends.optim.adam_variants import Adamax, NAdam, RAdam
from graphc.frontends.optim.base import Optimizer
from graphc.frontends.optim.large_batch import LAMB, Lion
from graphc.frontends.optim.layerwise import layerwise
from graphc.frontends.optim.running import Adadelta, Adagrad, RMSprop
from graphc.frontends.optim.sgd import SGD

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
