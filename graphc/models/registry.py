"""The ready models, by the names that the command line takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from typing import Any

from graphc.errors import ArgumentError


@dataclass(frozen=True)
class ReadyModel:
    """A model that trains from the command line.

    home      the module that defines `make(data, batch_size) -> (step, training, test loaders)`,
              and takes `epochs` too where the learning rate depends on them, and `like`, a
              `run_description`, where data and sizes may follow another run's
    epochs    how many it trains for if nothing else is said
    """

    home: str
    epochs: int
    about: str

    def make(
        self,
        data: str | None = None,
        batch_size: int | None = None,
        epochs: int | None = None,
        like: Mapping[str, Any] | None = None,
    ) -> tuple[Any, Any, Any]:
        """(TrainStep, training loader, test loader); None leaves an option as the model has it."""
        build: Callable[..., tuple[Any, Any, Any]] = import_module(self.home).make
        given = {"data": data, "batch_size": batch_size, "epochs": epochs, "like": like}
        known = signature(build).parameters
        return build(**{k: v for k, v in given.items() if v is not None and k in known})

    def predict(self, saved: Any, paths: Sequence[str]) -> Iterable[Any]:
        """A `prediction.Prediction` for every input in the files, by a run's `saved.SavedRun`.

        Raises ArgumentError where the model's module has no `predict`.
        """
        home = import_module(self.home)
        if not hasattr(home, "predict"):
            raise ArgumentError(f"{self.home} makes no predictions for files")
        predictions: Iterable[Any] = home.predict(saved, paths)
        return predictions


MODELS: Mapping[str, ReadyModel] = {
    "mlp": ReadyModel(
        "graphc.models.mlp", 20, "inputs-512-512-10, relu, Adam; digits, IDX or images"
    ),
    "cifar-cnn": ReadyModel(
        "graphc.models.cifar_cnn", 20, "three convolutions, two dense, Adam; digits or images"
    ),
    "resnet20": ReadyModel(
        "graphc.models.resnet20", 20, "ResNet-20 with batch norm, SGD, one cycle; digits or images"
    ),
    "lstm-ctc": ReadyModel(
        "graphc.models.lstm_ctc", 20, "bidirectional LSTM that hears digits; made voices or FSDD"
    ),
    "gpt": ReadyModel(
        "graphc.models.gpt", 2, "nanoGPT for characters, AdamW, cosine; Shakespeare or a text"
    ),
    "seq2seq": ReadyModel(
        "graphc.models.seq2seq", 6, "Transformer that translates; made phrases or Multi30k"
    ),
}


def find(name: str) -> ReadyModel:
    """The ready model of a name. Raises ArgumentError where there is none."""
    if name not in MODELS:
        raise ArgumentError(f"no model {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]
