"""Callbacks for a Trainer: ``from graphc.callbacks import EarlyStopping``.

    graphc.Trainer(step, callbacks=[EarlyStopping(patience=5), SaveBest("best.safetensors")])

This file only re-exports.
"""

from graphc.frontends.train.callbacks import Callback, EarlyStopping, SaveBest
from graphc.frontends.train.logs import TensorBoard

__all__ = ["Callback", "EarlyStopping", "SaveBest", "TensorBoard"]
