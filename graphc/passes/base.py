"""What a pass is, and how a pipeline of them runs.

A pass is a frozen dataclass: a name, its options as fields, and `run(graph) -> graph`, which
returns the same object where it changes nothing. The runner calls observers after each pass;
verifying and dumping are observers, so that no pass knows of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar, Protocol, TypeAlias

from graphc import settings
from graphc.errors import VerifyError
from graphc.ir import Graph


@dataclass(frozen=True)
class Pass(ABC):
    """One transformation of a graph. Subclasses set `name`; their fields are the options."""

    name: ClassVar[str]

    @abstractmethod
    def run(self, graph: Graph) -> Graph:
        """The graph transformed; the very same object where nothing changed."""

    def __str__(self) -> str:
        """The name, with the options that differ from their defaults, as a pipeline's text."""
        options = [
            f"{option.name}={_format_value(getattr(self, option.name))}"
            for option in fields(self)
            if getattr(self, option.name) != option.default
        ]
        return f"{self.name}{{{','.join(options)}}}" if options else self.name


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


Pipeline: TypeAlias = tuple[Pass, ...]


class Observer(Protocol):
    """Is told of every pass that ran."""

    def after(self, step: Pass, before: Graph, after: Graph) -> None: ...


def run_pipeline(
    graph: Graph, passes: Iterable[Pass], observers: Sequence[Observer] | None = None
) -> Graph:
    """Run the passes in order; `observers` are by default those the settings ask for."""
    watching = default_observers() if observers is None else observers
    for step in passes:
        result = step.run(graph)
        for observer in watching:
            observer.after(step, graph, result)
        graph = result
    return graph


def default_observers() -> tuple[Observer, ...]:
    """Verification and dumps, where the settings ask for them."""
    folder = settings.dump_folder()
    verifying: tuple[Observer, ...] = (Verifying(),) if settings.verify() else ()
    dumping: tuple[Observer, ...] = (Dumping(folder),) if folder else ()
    return verifying + dumping


@dataclass(frozen=True)
class Verifying:
    """Checks every invariant of the graph after each pass that changed it."""

    def after(self, step: Pass, before: Graph, after: Graph) -> None:
        from graphc.ops.verify import verify

        if after is before:
            return
        try:
            verify(after)
        except VerifyError as error:
            raise VerifyError(f"after pass {step.name!r}: {error}") from error


@dataclass
class Dumping:
    """Writes `NAME.NN-PASS.graph`, the text of the graph after each pass that changed it."""

    folder: Path
    count: int = 0

    def after(self, step: Pass, before: Graph, after: Graph) -> None:
        self.count += 1
        if after is before:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{after.name}.{self.count:02d}-{step.name}.graph"
        path.write_text(str(after))
