"""Tables of numbers in CSV files, plain or gzip, and the embedded digits, which are one."""

from __future__ import annotations

import csv as python_csv
import importlib.resources
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, DataError
from graphc.frontends.train.data.dataset import Array, ArrayDataset
from graphc.frontends.train.data.files import existing, read_text

DIGITS_TRAIN = 1437

Row = tuple[int, list[str]]  # the line it ends on, its cells


def csv(
    path: str | Path,
    label: int | str | None = -1,
    header: bool | None = None,
    delimiter: str = ",",
    dtype: str = "float32",
    classes: Sequence[str] | None = None,
) -> ArrayDataset:
    """A table of numbers: (row [columns], label) each, or (row,) with ``label=None``.

    `label` is a column's position or, with a header line, its name. Labels are int32 where all
    are whole numbers, else of `dtype`; with `classes` they are those names, and label i stands for
    `classes[i]`. `header=None` takes the first line for a header where no cell of it is a number.

    Raises DataError naming line and column of a cell that is no finite number, and the line of a
    row that is longer or shorter than the first.
    """
    found = existing(path)
    rows = list(_rows(found, delimiter))
    names = _header(rows, header)
    rows = rows[1:] if names else rows
    if not rows:
        raise DataError(f"{found}: has no row of numbers")
    width = len(names or rows[0][1])
    _check_widths(found, rows, width)
    position = _label_position(found, label, names, width)
    columns = [column for column in range(width) if column != position]
    values = _numbers(found, rows, columns, names).astype(dtype)
    if position is None:
        return ArrayDataset((values,))
    if classes is not None:
        return ArrayDataset((values, _class_labels(found, rows, position, classes)), classes)
    return ArrayDataset((values, _labels(_numbers(found, rows, [position], names), dtype)))


def _rows(path: Path, delimiter: str) -> Iterator[Row]:
    """The lines that are not blank."""
    if len(delimiter) != 1:
        raise ArgumentError(f"csv: delimiter is {delimiter!r}, expected one character")
    reader = python_csv.reader(io.StringIO(read_text(path), newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if cells:
                yield reader.line_num, cells
    except python_csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: {error}") from None


def _header(rows: list[Row], header: bool | None) -> list[str]:
    """The names in the first line, [] where it holds numbers."""
    if not rows or header is False:
        return []
    cells = [cell.strip() for cell in rows[0][1]]
    return cells if header or all(_number(cell) is None for cell in cells) else []


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_widths(path: Path, rows: list[Row], width: int) -> None:
    for line, cells in rows:
        if len(cells) != width:
            raise DataError(f"{path}: line {line} has {len(cells)} cells, expected {width}")


def _label_position(
    path: Path, label: int | str | None, names: list[str], width: int
) -> int | None:
    if label is None:
        return None
    if isinstance(label, str):
        if label not in names:
            known = ", ".join(names) if names else "no header line"
            raise DataError(f"{path}: has no column {label!r}; it has {known}")
        return names.index(label)
    if not -width <= label < width:
        raise DataError(f"{path}: has {width} columns, so column {label} (label) is none of them")
    return label % width


def _numbers(path: Path, rows: list[Row], columns: list[int], names: list[str]) -> Array:
    """float64 [rows, columns]; raises DataError for the first cell that is no finite number."""
    try:
        values = np.array([[float(cells[c]) for c in columns] for _, cells in rows], np.float64)
        if np.isfinite(values).all():
            return values
    except ValueError:
        pass
    line, column, cell = next(
        (line, column, cells[column])
        for line, cells in rows
        for column in columns
        if _number(cells[column]) is None
    )
    name = f" ({names[column]})" if names else ""
    raise DataError(f"{path}: line {line}, column {column + 1}{name}: {cell!r} is no finite number")


def _labels(column: Array, dtype: str) -> Array:
    """[rows] from [rows, 1]: int32 where all are whole and fit, else `dtype`."""
    values = column[:, 0]
    whole = np.rint(values)
    if np.array_equal(whole, values) and np.abs(values).max() < 2**31:
        return values.astype(np.int32)
    return values.astype(dtype)


def _class_labels(path: Path, rows: list[Row], position: int, classes: Sequence[str]) -> Array:
    known = {name: label for label, name in enumerate(classes)}
    for line, cells in rows:
        if cells[position].strip() not in known:
            raise DataError(
                f"{path}: line {line}, column {position + 1}: {cells[position]!r} is none of the "
                f"classes {', '.join(classes)}"
            )
    return np.array([known[cells[position].strip()] for _, cells in rows], np.int32)


def digits(train: bool = True, flat: bool = False, dtype: Any = "float32") -> ArrayDataset:
    """The embedded set of handwritten digits: (image [3, 32, 32], int32 label) each, values 0...1.

    1,797 images of 8x8 (E. Alpaydin, C. Kaynak, 1998), the first 1,437 for training and the last
    360 for testing. Every pixel is repeated 4x4 and copied to 3 channels, so that networks made for
    CIFAR-10 take them; `flat` gives the 64 values themselves.

    >>> [part.shape for part in digits(train=False, flat=True).arrays]
    [(360, 64), (360,)]
    """
    table = csv(_digits_path(), header=False)
    values, labels = (
        part[:DIGITS_TRAIN] if train else part[DIGITS_TRAIN:] for part in table.arrays
    )
    scaled = (values / np.float32(16)).astype(dtype)
    return ArrayDataset(
        (scaled if flat else _as_images(scaled), labels), tuple(str(digit) for digit in range(10))
    )


def _as_images(values: Array) -> Array:
    """[N, 64] as [N, 3, 32, 32]."""
    pixels = values.reshape(-1, 1, 8, 1, 8, 1)
    repeated = np.broadcast_to(pixels, (len(values), 3, 8, 4, 8, 4))
    return repeated.reshape(-1, 3, 32, 32)


def _digits_path() -> Path:
    return Path(str(importlib.resources.files("graphc"))) / "models" / "digits" / "digits.csv.gz"
