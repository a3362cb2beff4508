"""Weights that others have trained: read from a file or a run, taken up by name, with a report.

Files of safetensors are read, whoever has written them, and the checkpoints of a Trainer. PyTorch's
own `.pt` files are pickles, which run code when they are read; `safetensors.torch.save_file` writes
their state dict so that it can be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, CheckpointError, StateError
from graphc.frontends.nn.adapters.state import (
    adapter_config,
    adapter_state_dict,
    adapters_kept_on_error,
    attach_adapters,
    load_adapter_state_dict,
    require_adapters,
)
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.module_state import saved_holders
from graphc.frontends.nn.module_tree import matching
from graphc.frontends.nn.parameter import StateTensor
from graphc.frontends.train.checkpoint import is_checkpoint, load, load_foreign, save
from graphc.frontends.train.checkpoints import Checkpoints
from graphc.planning.text import format_table

Array = np.ndarray[Any, np.dtype[Any]]
Rename = Mapping[str, str] | Callable[[str], str | None]

_MODEL = "model."
_COUNTERS = ("step", "key")


@dataclass(frozen=True)
class Row:
    """What became of one name: loaded, missing, unexpected, shape or skipped.

    name    in the model; of an unexpected one, in the file
    file    type and shape in the file, "" where it has none
    model   type and shape in the model, "" where it has none
    """

    status: str
    name: str
    file: str = ""
    model: str = ""


@dataclass(frozen=True)
class LoadReport:
    """What a loading by name found; prints as a table of all that was not loaded."""

    path: Path
    rows: tuple[Row, ...]

    def named(self, status: str) -> tuple[str, ...]:
        return tuple(row.name for row in self.rows if row.status == status)

    @property
    def loaded(self) -> tuple[str, ...]:
        """Names in the model that have the file's elements now."""
        return self.named("loaded")

    @property
    def missing(self) -> tuple[str, ...]:
        """Names in the model that the file lacks; they keep their elements."""
        return self.named("missing")

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Names in the file, after renaming, that the model lacks."""
        return self.named("unexpected")

    @property
    def misshapen(self) -> tuple[str, ...]:
        """Names in both whose shapes or kinds of number differ; the model's elements stay."""
        return self.named("shape")

    @property
    def skipped(self) -> tuple[str, ...]:
        """Names in the file, after renaming, that were not to be loaded."""
        return self.named("skipped")

    def __str__(self) -> str:
        head = f"{self.path}: {len(self.loaded)} tensors loaded"
        counts = [("missing", self.missing), ("unexpected", self.unexpected)]
        counts += [("of another shape", self.misshapen), ("skipped", self.skipped)]
        head += "".join(f", {len(names)} {what}" for what, names in counts if names)
        rest = [(r.status, r.name, r.file, r.model) for r in self.rows if r.status != "loaded"]
        if not rest:
            return head
        return f"{head}\n{format_table([('', 'name', 'file', 'model'), *rest], numbers=0)}"


def load_into(
    model: Module,
    path: str | Path,
    rename: Rename | None = None,
    skip: Sequence[str] | str = (),
    strict: bool = False,
) -> LoadReport:
    """Set the elements of all tensors that a file and the model both have, by full name.

    path     a safetensors file, or the folder of a run (its newest whole checkpoint)
    rename   {prefix in the file: prefix in the model}, the longest one counts, or a function
             name -> name, where None leaves the tensor out
    skip     fnmatch patterns, or one, of names in the model that keep their elements
    strict   raises StateError, with the report, where anything is missing, unexpected or misshapen

    Raises CheckpointError for a file that cannot be read, ArgumentError for a `rename` that is
    neither or that gives two tensors one name, and for a pattern to skip that matches none,
    StateError where nothing was loaded; the model then keeps all its elements.
    """
    source = Path(path).expanduser()
    new_names = _renaming(rename)
    patterns = (skip,) if isinstance(skip, str) else skip
    skipped = _skipped(model, patterns)
    report, chosen = _compare(model, _renamed(read_weights(source), new_names), skipped, source)
    faults = report.missing or report.unexpected or report.misshapen
    if not chosen or (strict and faults):
        raise StateError(f"nothing was loaded: {report}" if not chosen else str(report))
    for holder, elements in chosen:
        holder.set(elements)
    return report


def read_weights(path: str | Path) -> dict[str, Array]:
    """{name: elements} of a file or a run; a Trainer's checkpoint gives its model's.

    bfloat16 becomes float32. Raises CheckpointError for what is missing, damaged or a pickle.
    """
    source = Path(path).expanduser()
    if source.is_dir():
        return _weights_of_run(source)
    if is_checkpoint(source):
        return of_model(load(source)[0])
    return load_foreign(source)


def save_adapters(
    path: str | Path, model: Module, metadata: Mapping[str, Any] | None = None
) -> None:
    """Write a model's adapters, and what else of it is trained: a small checkpoint.

    Raises ArgumentError for a model without adapters, CheckpointError where it cannot be written.
    """
    require_adapters(model)
    metadata = {**(metadata or {}), "adapters": adapter_config(model)}
    save(path, adapter_state_dict(model), metadata)


def load_adapters(path: str | Path, model: Module) -> dict[str, Any]:
    """Put the adapters of a file of `save_adapters` on the base model; the file's metadata.

    Raises CheckpointError for a file that is none, ArgumentError or StateError for another model,
    which then stays as it was.
    """
    arrays, metadata = load(path)
    if not isinstance(metadata.get("adapters"), list):
        raise CheckpointError(f"{path}: holds no adapters; save_adapters writes such files")
    with adapters_kept_on_error(model):
        attach_adapters(model, metadata["adapters"])
        load_adapter_state_dict(model, arrays)
    return metadata


def _weights_of_run(folder: Path) -> dict[str, Array]:
    inner = folder / "checkpoints"
    newest = Checkpoints(inner if inner.is_dir() else folder).load_newest()
    if newest is None:
        raise CheckpointError(f"{folder}: has no checkpoint")
    return of_model(newest.arrays)


def of_model(arrays: dict[str, Array]) -> dict[str, Array]:
    """The weights by their names in the model, of a training state; other arrays as they are."""
    of_step = (_MODEL, "optimizer.")
    if "step" not in arrays or not all(n in _COUNTERS or n.startswith(of_step) for n in arrays):
        return arrays
    own = {name: array for name, array in arrays.items() if name.startswith(_MODEL)}
    return {name.removeprefix(_MODEL): array for name, array in own.items()}


def _renaming(rename: Rename | None) -> Callable[[str], str | None]:
    """The new name of a tensor. Raises ArgumentError for what gives none."""
    if rename is None:
        return lambda name: name
    if callable(rename):
        return rename
    if isinstance(rename, Mapping) and all(
        isinstance(p, str) for pair in rename.items() for p in pair
    ):
        return partial(_with_new_prefix, rename)
    raise ArgumentError(
        f"load_into: rename is {rename!r}; expected {{prefix in the file: prefix in the model}} or "
        "a function name -> name"
    )


def _with_new_prefix(prefixes: Mapping[str, str], name: str) -> str:
    old = max((prefix for prefix in prefixes if name.startswith(prefix)), key=len, default=None)
    return name if old is None else prefixes[old] + name.removeprefix(old)


def _renamed(
    arrays: Mapping[str, Array], new_name: Callable[[str], str | None]
) -> dict[str, Array]:
    """The arrays under their new names. Raises ArgumentError for two under one name."""
    old: dict[str, str] = {}
    for name in sorted(arrays):
        new = new_name(name)
        if new is not None and not isinstance(new, str):
            raise ArgumentError(f"load_into: rename gives {name} the name {new!r}, expected text")
        if new is not None and (other := old.setdefault(new, name)) != name:
            raise ArgumentError(f"load_into: rename gives {other} and {name} the name {new}")
    return {new: arrays[name] for new, name in old.items()}


def _skipped(model: Module, patterns: Sequence[str]) -> set[str]:
    """The names that patterns match. Raises ArgumentError for a pattern that matches none."""
    found: set[str] = set()
    for pattern in patterns:
        names = matching(saved_holders(model), pattern)
        if not names:
            raise ArgumentError(
                f"load_into: no tensor of the model matches skip {pattern!r}; there are "
                f"{', '.join(saved_holders(model))}"
            )
        found.update(names)
    return found


def _compare(
    model: Module, arrays: Mapping[str, Array], skipped: set[str], path: Path
) -> tuple[LoadReport, list[tuple[StateTensor, Array]]]:
    """The report, and the elements that fit."""
    holders = saved_holders(model)
    given = {id(holders[name]) for name in arrays if name in holders}
    rows: list[Row] = []
    chosen: list[tuple[StateTensor, Array]] = []
    for name, holder in holders.items():
        elements, kind = arrays.get(name), str(holder.type)
        found = "" if elements is None else f"{elements.dtype}{list(elements.shape)}"
        if name in skipped:
            rows.append(Row("skipped", name, found, kind))
        elif elements is None:
            if id(holder) not in given:  # one that is shared may stand under another name
                rows.append(Row("missing", name, "", kind))
        elif not _fits(elements, holder):
            rows.append(Row("shape", name, found, kind))
        else:
            rows.append(Row("loaded", name, found, kind))
            chosen.append((holder, elements))
    rest = ((name, array) for name, array in sorted(arrays.items()) if name not in holders)
    rows += [Row("unexpected", name, f"{x.dtype}{list(x.shape)}") for name, x in rest]
    return LoadReport(path, tuple(rows)), chosen


def _fits(elements: Array, holder: StateTensor) -> bool:
    same_kind = np.can_cast(elements.dtype, holder.dtype.numpy, "same_kind")
    return bool(elements.shape == holder.shape and same_kind)
