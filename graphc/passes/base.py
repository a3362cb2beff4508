"""What a pass is, and how a pipeline of them runs.

A pass is a frozen dataclass: a name, its options as fields, and `run(graph) -> graph`, which
returns the same object where it changes nothing. The runner calls observers after each pass;
verifying, dumping and timing are observers, so that no pass knows of them.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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
        from graphc.passes.pipeline_text import format_pass

        return format_pass(self)


Pipeline: TypeAlias = tuple[Pass, ...]


class Observer(Protocol):
    """Is told of every pass that ran."""

    def after(self, step: Pass, before: Graph, after: Graph, seconds: float) -> None: ...


def run_pipeline(
    graph: Graph, passes: Iterable[Pass], observers: Sequence[Observer] | None = None
) -> Graph:
    """Run the passes in order; `observers` are by default those the settings ask for."""
    watching = default_observers() if observers is None else observers
    for step in passes:
        start = time.perf_counter()
        result = step.run(graph)
        seconds = time.perf_counter() - start
        for observer in watching:
            observer.after(step, graph, result, seconds)
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

    def after(self, step: Pass, before: Graph, after: Graph, seconds: float) -> None:
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

    def after(self, step: Pass, before: Graph, after: Graph, seconds: float) -> None:
        self.count += 1
        if after is before:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{after.name}.{self.count:02d}-{step.name}.graph"
        path.write_text(str(after))


@dataclass
class Timing:
    """Collects (pass name, seconds, whether it changed the graph), in the order they ran."""

    records: list[tuple[str, float, bool]] = field(default_factory=list)

    def after(self, step: Pass, before: Graph, after: Graph, seconds: float) -> None:
        self.records.append((step.name, seconds, after is not before))

    @property
    def total_seconds(self) -> float:
        return sum(seconds for _, seconds, _ in self.records)
