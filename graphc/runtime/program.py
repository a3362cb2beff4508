"""What a user calls: a compiled graph, its memory, and every stage it went through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.backend import Executable
from graphc.errors import ArgumentError, IndexFault, ShapeError
from graphc.ir import Graph
from graphc.loops import Schedule
from graphc.planning.plan import MemoryPlan
from graphc.runtime.compiled import Compiled
from graphc.runtime.launches import ProgramLaunch, program_launches

if TYPE_CHECKING:
    from graphc.runtime.profile import Profile

Array = np.ndarray[Any, Any]
Fit = Callable[[Sequence[Any]], Sequence[Any]]


class Program:
    """A compiled graph.

    graph      the graph as traced
    launches   what one call runs, in order, each with its lines of the model
    memory     the plan: bytes known before anything runs
    """

    def __init__(
        self,
        graph: Graph,
        compiled: Compiled,
        memory: MemoryPlan,
        executable: Executable,
        make_stages: Callable[[], Mapping[str, Graph]],
    ) -> None:
        self.graph = graph
        self.memory = memory
        self._compiled = compiled
        self._executable = executable
        self._make_stages = make_stages
        self._checks = compiled.checks
        self._types = [(value.shape, value.dtype.numpy) for value in graph.inputs]

    @property
    def schedule(self) -> Schedule:
        """The launches and their kernels; of a program from the cache, read when asked for."""
        return self._compiled.schedule

    @property
    def launches(self) -> list[ProgramLaunch]:
        return program_launches(self.schedule, self._executable)

    def stage(self, name: str) -> Graph | Schedule:
        """The graph when traced, differentiated, optimized, fused; or, scheduled, the launches."""
        if name == "scheduled":
            return self.schedule
        if name == "traced":
            return self.graph
        stages = self._make_stages()
        if name not in stages:
            known = ", ".join([*stages, "scheduled", "kernels"])
            raise ArgumentError(f"no stage {name!r}; there are {known}")
        return stages[name]

    def dump(self, stage: str, format: str = "text") -> str:
        """A stage as text, json, dot, svg or html; "kernels" as text, llvm, asm, cuda or ptx.

        svg is a drawing, html a page to search and click in; neither needs anything outside
        itself. llvm and asm are for this machine, whatever the program is compiled for.
        """
        from graphc.runtime.dump import dump_kernels, dump_stage

        if stage == "kernels":
            return dump_kernels(self.schedule, format)
        return dump_stage(stage, self.stage(stage), format)

    def run(self, arrays: Sequence[Any], fit: Fit = list) -> list[Array]:
        """Flat inputs to flat outputs; the state changes in place.

        Arrays that lie as the program reads them are read where they lie; of any others, `fit`
        makes ones of the right types, or says what is wrong. Raises ShapeError for another number
        or shape of arrays, and IndexFault, with nothing updated, where an index lay outside its
        dimension.
        """
        inputs = arrays if self._takes(arrays) else self._checked(fit(arrays))
        outputs = self._executable.run(inputs)
        if self._checks:
            number = int(outputs.pop())
            if number:
                check = self._checks[number - 1]
                where = f" ({', '.join(check.source)})" if check.source else ""
                raise IndexFault(check.text + where)
        return outputs

    def profile(self, *arrays: Any, seconds: float = 1.0) -> Profile:
        """Every launch's time against its roof, from steps of about `seconds` in all.

        Without arrays, inputs are made: normal floats, and zeros. The state stays as it was.
        Raises ArgumentError on a backend that cannot time its launches.
        """
        from graphc.runtime.profile import made_inputs, profile_of

        inputs = self._checked(arrays or made_inputs(self.graph))
        return profile_of(self.schedule, self._executable.measure(inputs, seconds))

    def _takes(self, arrays: Sequence[Any]) -> bool:
        """Whether these are arrays as the program reads them: a call of few microseconds asks."""
        if len(arrays) != len(self._types):
            return False
        for array, (shape, dtype) in zip(arrays, self._types, strict=True):
            if type(array) is not np.ndarray or array.dtype != dtype or array.shape != shape:
                return False
            if not array.flags.c_contiguous:
                return False
        return True

    def _checked(self, arrays: Sequence[Any]) -> list[Array]:
        inputs = self.graph.inputs
        if len(arrays) != len(inputs):
            raise ShapeError(f"{self.graph.name}: {len(arrays)} arrays, expected {len(inputs)}")
        found = []
        for value, given in zip(inputs, arrays, strict=True):
            array = np.ascontiguousarray(given, value.dtype.numpy)
            if array.shape != value.shape:
                array = array.reshape(value.shape) if np.shape(given) == value.shape else array
            if array.shape != value.shape:
                raise ShapeError(
                    f"{self.graph.name}: {value.name} has shape {array.shape}, "
                    f"compiled for {value.shape}"
                )
            found.append(array)
        return found
