"""How many steps of each sequence of a padded batch count: checked as early as they are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphc.dtypes import int64
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.frontends.tracing.convert import as_tensor, cast, emit
from graphc.frontends.tracing.functional_creation import arange
from graphc.frontends.tracing.functional_shapes import broadcast_to
from graphc.frontends.tracing.tensor import Tensor


def checked_lengths(what: str, given: Any, rows: int, most: int) -> Tensor:
    """Lengths i64[rows] of 0 … `most`, from an array, a list, or a number that is all of them.

    `what` names them in errors. Raises DTypeError for numbers that are not whole, ShapeError for
    another count, ArgumentError for a length outside; one that is known only when the program runs
    raises IndexFault then.
    """
    lengths = as_tensor(given if hasattr(given, "shape") else np.asarray(given))
    if not lengths.dtype.is_integer:
        raise DTypeError(f"{what} is {lengths.type}; expected whole numbers")
    if lengths.shape not in ((rows,), ()):
        raise ShapeError(
            f"{what} has shape {list(lengths.shape)}; expected [{rows}], one for each sequence"
        )
    elements = lengths.elements if isinstance(given, Tensor) else np.asarray(given)
    if elements is None:
        # A look-up changes no length, and its index is checked.
        lengths = emit("gather", arange(most + 1, dtype="int64"), cast(lengths, int64), axis=0)
    else:
        _check_known(what, elements, most)
    return broadcast_to(cast(lengths, int64), (rows,))


def _check_known(what: str, elements: np.ndarray[Any, Any], most: int) -> None:
    for row, length in enumerate(np.atleast_1d(elements).tolist()):
        if not 0 <= length <= most:
            raise ArgumentError(f"{what}: sequence {row} has length {length}, expected 0 to {most}")
