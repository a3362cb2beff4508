"""What torch's layers gave, as bench/*_reference.py stored it, and the numbers they were given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Case = dict[str, Any]


def load(name: str) -> list[tuple[Case, dict[str, Array]]]:
    """Each case of a file, with its arrays, which lie one after another in `elements`."""
    with np.load(Path(__file__).parent / f"{name}_reference.npz") as file:
        cases, elements = json.loads(str(file["cases"]))["cases"], file["elements"]
    found, position = [], 0
    for case in cases:
        arrays = {}
        for array, shape in case["arrays"].items():
            size = int(np.prod(shape))
            arrays[array] = elements[position : position + size].reshape(shape)
            position += size
        found.append((case, arrays))
    return found


def filled(shape: Any, number: int) -> Array:
    """The numbers of an input or weight; as in bench/*_reference.py."""
    elements = 0.4 * np.sin(1.7 * np.arange(int(np.prod(shape))) + number)
    return np.asarray(elements.reshape(shape))
