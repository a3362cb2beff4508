"""What the image models share: their data sets, what a run keeps of them, and predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from graphc import data as datasets
from graphc import nn
from graphc.errors import DataError
from graphc.frontends.train.data.files import existing
from graphc.frontends.train.data.image_folders import part_places
from graphc.frontends.train.data.sources import class_folders, open_source
from graphc.models.inputs import ExampleInput
from graphc.models.prediction import Prediction, classified

if TYPE_CHECKING:
    from graphc.models.saved import SavedRun

Model = TypeVar("Model", bound="ImageModel")
AHEAD = 2  # batches that are prepared while a step runs
SIZE = 32  # pixels of a side, of CIFAR-10 and of what other images are resized to


class ImageModel(nn.Module):
    """A classifier of images that knows its input and what its classes are called.

    Both are written into a run's folder, so that the folder is enough to classify other files.
    """

    name: ClassVar[str]  # that of the ready model

    def __init__(self) -> None:
        super().__init__()
        self.input: ExampleInput | None = None
        self.class_names: tuple[str, ...] = ()

    def run_description(self) -> dict[str, Any]:
        return {
            "model": self.name,
            "classes": list(self.class_names),
            "input": None if self.input is None else self.input.to_json(),
        }

    def knows(self: Model, input: ExampleInput, class_names: Sequence[str]) -> Model:
        """The same model, told what it takes and what its classes are called."""
        self.input = input
        self.class_names = tuple(class_names)
        return self


def restored(make: Callable[[ExampleInput, int], Model], description: Mapping[str, Any]) -> Model:
    """The model of a `run_description`, without its weights; `make` takes input and classes."""
    names = [str(name) for name in description["classes"]]
    input = ExampleInput.from_json(description["input"])
    return make(input, len(names)).knows(input, names)


def predict(saved: SavedRun, paths: Sequence[str]) -> Iterator[Prediction]:
    """The class of every image, or row, of files and folders."""
    return classified(saved.model, saved.model.input.read(paths), saved.model.class_names)


def image_sets(data: str | None, flat: bool = False) -> tuple[Any, Any]:
    """(training, test) images [3, 32, 32] and classes: the embedded digits, CIFAR-10 at `data`, or
    class folders of one's own there, whose images are resized. `flat` gives [3072].
    """
    if data is None:
        return datasets.digits(train=True), datasets.digits(train=False)
    if datasets.holds_cifar10(data):
        train, test = (datasets.cifar10(data, part, flat=flat) for part in (True, False))
        return train, test
    size = (SIZE, SIZE)
    train, test = (
        datasets.image_folders(data, part, size=size, flat=flat) for part in (True, False)
    )
    return train, test


def holds_images(data: str) -> bool:
    """Whether `image_sets` reads a place: a zip or tar file, one's folder, or class folders."""
    path = existing(data)
    if path.is_file():
        return True
    if any(path.glob("**/*idx?-ubyte*")):
        return False
    return any(path.glob("*.bin")) or any(path.glob("*.tar.gz")) or _has_folders(path)


def _has_folders(path: Path) -> bool:
    if part_places(path) is not None:
        return True
    try:
        return bool(class_folders(open_source(path)).names)
    except DataError:
        return False
