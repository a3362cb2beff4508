"""Programs kept between runs, so that one compiled before runs no pass and generates no code.

The key holds all that the result depends on: the traced graph with its constants, which nodes
share a source line (`lines`), the passes and their options, the layouts of the state that were
fixed before, the backend with its target, and the versions and sources of graphc itself. Thread
counts are no part of it: programs do not depend on them.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import graphc
from graphc import ops, settings
from graphc.ir import Graph
from graphc.loops import Schedule
from graphc.passes.base import Pipeline
from graphc.passes.pipeline_text import format_pipeline, parse_pipeline
from graphc.runtime.cache import Store, trim
from graphc.runtime.compiled import Compiled, from_bytes, to_bytes
from graphc.runtime.lines import Lines
from graphc.runtime.versions import sources_digest

Array = np.ndarray[Any, Any]

PROGRAMS = Store("programs")
CHOICES = Store("choices")  # of pipelines, under a memory budget
KINDS = ("programs", "objects", "choices")  # of the files in the cache
_ROOT = os.path.dirname(graphc.__file__)
# What turns a traced graph into a schedule and a plan.
_FILES = ("backend.py", "compiler.py", "dtypes.py", "lexing.py")
_FOLDERS = ("ir", "loops", "ops", "passes", "lowering", "planning", "runtime")


class KeptProgram:
    """The place of a program in the cache. `identity` is the backend's; None keeps nothing.

    Programs with passes or operators from elsewhere, whose sources the key does not hold, are not
    kept.
    """

    def __init__(
        self,
        graph: Graph,
        passes: Pipeline,
        orders: Mapping[str, tuple[int, ...]],
        identity: str | None,
    ) -> None:
        self.graph = graph
        self.lines = Lines([node.source for node in graph.every_node()])
        self.key: str | None = None
        known = _are_ours(passes) and _has_our_operators(graph)
        if identity is not None and known and settings.cache_folder() is not None:
            parts = (
                graph.structural_hash,
                self.lines.pattern,
                format_pipeline(passes),
                sorted(orders.items()),
                identity,
                versions(),
            )
            self.key = hashlib.sha256(repr(parts).encode()).hexdigest()

    def read(self, again: Callable[[], Schedule]) -> Compiled | None:
        """The program, if it is there whole; `again` makes its schedule anew.

        Where the settings ask for what happens between passes, none is taken from the cache.
        """
        if self.key is None or settings.verify() or settings.dump_folder() is not None:
            return None
        data = PROGRAMS.read(self.key)
        if data is None:
            return None
        return from_bytes(data, self.lines, self.graph.constants, again)

    def write(self, compiled: Compiled) -> None:
        """Keep the program, and remove what was unused for longest where the cache is full."""
        if self.key is None:
            return
        PROGRAMS.write(self.key, to_bytes(compiled, self.lines, self.graph.constants))
        trim(KINDS, settings.cache_bytes())

    def choice(self, budget: str) -> Pipeline | None:
        """The pipeline that was found to keep a budget; None where none is known."""
        data = None if self.key is None else CHOICES.read(self._of(budget))
        return None if data is None else parse_pipeline(data.decode())

    def choose(self, budget: str, passes: Pipeline) -> None:
        """Keep the pipeline that was found, so that the search is not repeated."""
        if self.key is not None:
            CHOICES.write(self._of(budget), format_pipeline(passes).encode())

    def _of(self, budget: str) -> str:
        return hashlib.sha256(f"{self.key} {budget}".encode()).hexdigest()


def _are_ours(passes: Pipeline) -> bool:
    return all(type(step).__module__.startswith("graphc.") for step in passes)


def _has_our_operators(graph: Graph) -> bool:
    return all(node.op in ops.OWN for node in graph.every_node())


def versions() -> str:
    """graphc's version and sources, and those of what its passes compute with."""
    sources = sources_digest(*(os.path.join(_ROOT, name) for name in (*_FILES, *_FOLDERS)))
    python = platform.python_version()
    return f"graphc {graphc.__version__} {sources} python {python} numpy {np.__version__}"
