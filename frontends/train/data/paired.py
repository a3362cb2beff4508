"""Examples of several tasks side by side, so that one step trains on all of them."""

from __future__ import annotations

from graphc.errors import ArgumentError
from graphc.frontends.train.data.dataset import Arrays, Dataset, Indexes, as_example, gather


class PairedDataset:
    """Example i holds the arrays of example i of each data set; shorter ones begin again."""

    def __init__(self, datasets: tuple[Dataset, ...]) -> None:
        self.datasets = datasets

    def __len__(self) -> int:
        return max(map(len, self.datasets))

    def __getitem__(self, index: int) -> Arrays:
        place = range(len(self))[index]
        examples = (as_example(dataset[place % len(dataset)]) for dataset in self.datasets)
        return tuple(array for example in examples for array in example)

    def batch(self, indexes: Indexes) -> Arrays:
        parts = (gather(dataset, indexes % len(dataset)) for dataset in self.datasets)
        return tuple(array for part in parts for array in part)


def paired(*datasets: Dataset) -> PairedDataset:
    """Data sets of several tasks as one: a batch has as many examples of each.

    Raises ArgumentError for none, or an empty one.

    >>> import numpy as np
    >>> from graphc.frontends.train.data.dataset import arrays
    >>> both = paired(arrays(np.arange(4)), arrays(np.array([10, 20, 30])))
    >>> [array.tolist() for array in both.batch(np.arange(len(both)))]
    [[0, 1, 2, 3], [10, 20, 30, 10]]
    """
    if not datasets or not all(map(len, datasets)):
        raise ArgumentError(
            f"data.paired: lengths {[len(dataset) for dataset in datasets]}; expected at least one "
            "data set, and examples in each"
        )
    return PairedDataset(datasets)
