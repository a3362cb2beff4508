"""What takes down operations: a trace, which writes nodes, or an evaluation, which computes.

While a model's Python runs, exactly one recorder is current. User code stands between us and the
operators, so that it cannot be an argument; it is held in one context variable, set by
`recording` for the duration of a `with` block and by nothing else.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from graphc.errors import TraceError
from graphc.frontends.tracing.holder import Holder, RandomKey, Stateful
from graphc.frontends.tracing.source import Line, model_line, user_line
from graphc.frontends.tracing.tensor import Tensor
from graphc.ir import Attribute, Graph

_CURRENT: ContextVar[Recorder | None] = ContextVar("graphc_recorder", default=None)


class Session:
    """What nested recordings share: the model's names, random streams and layers in progress."""

    def __init__(self, folder: str) -> None:
        self.folder = folder  # source lines are relative to it
        self.names: dict[Holder, str] = {}
        self.holders: dict[str, Holder] = {}
        self.random_key = RandomKey()
        self.streams = 0
        self._models: list[Stateful] = []
        self._layer_lines: list[Line | None] = []

    def source(self) -> tuple[str, ...]:
        """The line of the model, and the line that made the layer which is running.

        Where neither exists (a function of graphc traced as it is), the line that traces it.
        """
        lines: list[Line | None] = [
            model_line(),
            self._layer_lines[-1] if self._layer_lines else None,
        ]
        known = [line for line in lines if line is not None]
        nearest = user_line() if not known else None
        known += [nearest] if nearest else []
        texts = [line.relative_to(self.folder) for line in known]
        return tuple(dict.fromkeys(texts))

    def next_stream(self) -> int:
        """The number of the next random operation."""
        self.streams += 1
        return self.streams - 1

    def adopt(self, model: Stateful) -> None:
        """Enter the names of a model's state; the first model also gives the random key.

        A further model whose names are taken gets its own name before them.
        """
        if any(model is known for known in self._models):
            return
        if not self._models:
            self.random_key = model.random_key
        self._models.append(model)
        new = [(name, holder) for name, holder in model.named_holders() if holder not in self.names]
        prefix = self._free_prefix(type(model).__name__, [name for name, _ in new])
        for name, holder in new:
            self._enter(prefix + name, holder)

    def _free_prefix(self, kind: str, names: Sequence[str]) -> str:
        """ "", or what to put before names that are taken."""
        numbered = (f"{kind}_{number}." for number in itertools.count(2))
        prefixes = itertools.chain(("", f"{kind}."), numbered)
        return next(p for p in prefixes if not any(p + name in self.holders for name in names))

    def _enter(self, name: str, holder: Holder) -> None:
        if name == "key":
            raise TraceError(
                "state tensor 'key' of the model has the name of the key of random numbers; "
                "rename that attribute"
            )
        self.names[holder] = name
        self.holders[name] = holder

    def name_of(self, holder: Holder) -> str:
        """The full name of a state tensor. Raises TraceError for one of no known model."""
        if holder is self.random_key:
            return "key"
        if holder not in self.names:
            raise TraceError(
                f"a parameter of shape {list(holder.shape)} belongs to no model in this program; "
                "make it an attribute of an nn.Module and call that"
            )
        return self.names[holder]

    @contextmanager
    def inside(self, model: Stateful, made_at: Line | None) -> Iterator[None]:
        """A call of a module; the state of the model that it is part of gets its names here."""
        known = self._models and all(holder in self.names for _, holder in model.named_holders())
        if not known:
            self.adopt(model.root())
        self._layer_lines.append(made_at)
        try:
            yield
        finally:
            self._layer_lines.pop()


class Recorder(ABC):
    """Takes down operations. Nested ones (bodies of grad, scan, cond) have a parent."""

    def __init__(self, session: Session, parent: Recorder | None = None) -> None:
        self.session = session
        self.parent = parent
        self.written: dict[Holder, Tensor] = {}

    @abstractmethod
    def emit(
        self,
        op: str,
        operands: Sequence[Tensor],
        attrs: Mapping[str, Attribute] | None = None,
        regions: Sequence[Graph] = (),
        source: tuple[str, ...] | None = None,
    ) -> tuple[Tensor, ...]:
        """Apply an operator; `source` is the user's line where it is not given."""

    @abstractmethod
    def open(self, tensor: Tensor) -> Tensor:
        """The tensor as one of this recorder's own."""

    @abstractmethod
    def first_read(self, holder: Holder) -> Tensor:
        """A state tensor's elements when this recording starts."""

    @abstractmethod
    def constant(self, elements: np.ndarray[Any, Any]) -> Tensor:
        """A tensor of known elements."""

    @abstractmethod
    def key(self) -> Tensor:
        """The key of random numbers, u32[2]."""

    def read(self, holder: Holder) -> Tensor:
        """A state tensor's elements now."""
        tensor = self.written[holder] if holder in self.written else self.first_read(holder)
        return tensor.held_by(holder)

    def write(self, holder: Holder, tensor: Tensor) -> None:
        """Give a state tensor new elements, of its own shape and type."""
        self.written[holder] = self.open(tensor)


def recorder_in_use() -> Recorder | None:
    """The current recorder; None outside traced code."""
    return _CURRENT.get()


def current() -> Recorder:
    """The current recorder, where there must be one."""
    recorder = _CURRENT.get()
    if recorder is None:
        raise TraceError("a traced value is used outside the function that was traced")
    return recorder


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Make a recorder the current one for the duration of the block."""
    token = _CURRENT.set(recorder)
    try:
        yield
    finally:
        _CURRENT.reset(token)
