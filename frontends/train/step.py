"""`TrainStep`: forward, loss, backward and update as one program, run by one native call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from graphc.compiler import compile_graph
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.compile import CompiledFunction, pipeline
from graphc.frontends.nn.adapters.base import Carried
from graphc.frontends.optim.base import Optimizer
from graphc.frontends.tracing.holder import make_state
from graphc.frontends.tracing.program import trace_program
from graphc.frontends.tracing.spec import Spec
from graphc.frontends.train.arguments import Loss, as_array, fit_array
from graphc.frontends.train.training_graph import TrainingGraph
from graphc.ir import Graph
from graphc.passes.base import Pipeline
from graphc.runtime.profile import Profile
from graphc.runtime.program import Program
from graphc.runtime.state import State, check_names
from graphc.runtime.turns import MAKING
from graphc.runtime.workspace import Workspace

Array = np.ndarray[Any, Any]
LossFunction = Callable[..., Any]

_OPTIONS = frozenset({"backend", "threads", "fuse", "seed", "passes", "memory_budget"})


class TrainStep:
    """One training step of a model.

    loss         a function (model, *batch) -> scalar
    batch_specs  a Spec for each array of a batch
    buckets      several such tuples of Specs instead of one, smaller ones first, for batches of
                 several shapes: each has a program of its own, all on one State and in one arena,
                 all compiled before the first step. A `BucketLoader` has them as `specs`.
    backend, threads, fuse and seed may be set until the step compiles, at its first use.

    `batch_specs`, `graph` and `program` are those of the last bucket.

    Raises ShapeError, DTypeError or TraceError, with the model's line, when it is made.
    """

    def __init__(
        self,
        model: Any,
        loss: LossFunction,
        optimizer: Optimizer,
        *batch_specs: Spec,
        buckets: Sequence[Sequence[Spec]] | None = None,
        backend: str = "cpu",
        threads: int | None = None,
        fuse: bool = True,
        seed: int = 0,
        passes: Pipeline | str | None = None,
        memory_budget: int | None = None,
    ) -> None:
        _check_parts(model, loss, optimizer)
        self._programs: tuple[Program, ...] = ()
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.buckets = _checked_buckets(batch_specs, buckets)
        self.backend, self.threads, self.fuse, self.seed = backend, threads, fuse, seed
        self.passes, self.memory_budget = passes, memory_budget
        name = f"{type(model).__name__}.train"
        count = len(self.buckets)
        names = [name] if count == 1 else [f"{name}.{n}" for n in range(count)]
        self._graphs = [
            TrainingGraph(model, loss, optimizer, specs, name)
            for specs, name in zip(self.buckets, names, strict=True)
        ]
        self._carried = Carried(model)
        self._state: State | None = None
        self._workspace = Workspace()

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises ArgumentError for an option that comes too late."""
        is_late = name in _OPTIONS and getattr(self, "_programs", ()) != ()
        if is_late and getattr(self, name) != value:
            raise ArgumentError(f"{self.graph.name} is compiled; set {name} before its first use")
        super().__setattr__(name, value)

    # Use

    def __call__(self, *batch: Any) -> Loss:
        """Update the model by one batch; the loss before the update.

        Raises ShapeError or DTypeError for arrays other than the batch specs, IndexFault, with
        nothing updated, for a label or index outside its dimension, ArgumentError where layers have
        got or lost adapters since the step was made.
        """
        self._carried.check(self)
        if len(self._programs) == 1:
            return Loss(self._programs[0].run(batch, lambda batch: self._fitted(batch)[0])[0])
        arrays, number = self._fitted(batch)
        return Loss(self.programs[number].run(arrays)[0])

    @property
    def batch_specs(self) -> tuple[Spec, ...]:
        return self.buckets[-1]

    @property
    def graph(self) -> Graph:
        return self._graphs[-1].graph

    @property
    def program(self) -> Program:
        """The compiled step; compiles at first use."""
        return self.programs[-1]

    @property
    def programs(self) -> tuple[Program, ...]:
        """The compiled step of each bucket; compiles all at first use."""
        self.compile()
        return self._programs

    def compile(self) -> Program:
        """Compile the programs of all buckets, unless that was done; the last one."""
        with MAKING:
            if not self._programs:
                # The largest first: its arena serves the others, too.
                made = [self._compiled(graph.graph, self.state) for graph in reversed(self._graphs)]
                self._programs = tuple(reversed(made))
        return self._programs[-1]

    def _compiled(self, graph: Graph, state: State) -> Program:
        return compile_graph(
            graph,
            state,
            backend=self.backend,
            threads=self.threads,
            passes=pipeline(self.fuse, self.passes),
            memory_budget=self.memory_budget,
            workspace=self._workspace,
        )

    def profile(self, *batch: Any, seconds: float = 1.0) -> Profile:
        """Every launch's time, GFLOP/s, GB/s and share of its roof; see `Program.profile`.

        Without a batch one is made. The model stays as it was.
        """
        arrays, number = self._fitted(batch) if batch else ([], -1)
        return self.programs[number].profile(*arrays, seconds=seconds)

    @property
    def state(self) -> State:
        """All tensors that the step reads and updates; made at first use, from the seed.

        Raises ArgumentError where a parameter that is trained has left the model before that.
        """
        with MAKING:
            if self._state is None:
                self._state = self._made_state()
        return self._state

    def _made_state(self) -> State:
        for made in self._graphs:
            made.check_model()
        holders = {name: h for made in self._graphs for name, h in made.holders.items()}
        slots = {slot.name: slot for made in self._graphs for slot in made.slots}
        state = make_state(holders, self.seed)
        for name, slot in slots.items():
            state.add(name, slot.initial)
        return state

    def state_dict(self) -> dict[str, Array]:
        """{model.<name>, optimizer.<parameter>.<slot>, step, key: elements}."""
        arrays = self.state.state_dict()
        return {self._public(name): array for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take up a `state_dict` of a step; one of a model goes to `step.model`.

        Raises StateError that lists the names that are missing, unexpected or of another shape.
        """
        names = {self._public(name): name for name in self.state}
        check_names(state, names, strict)
        given = {names[name]: array for name, array in state.items() if name in names}
        self.state.load(given, strict=strict)

    def evaluation(self, function: LossFunction, *specs: Spec) -> CompiledFunction:
        """`function(model, *arrays)` compiled in evaluation mode, on the model's own state."""
        modes = [(module, module.training) for module in self.model.modules()]
        self.model.eval()
        try:
            traced = trace_program(partial(function, self.model), specs, self.model)
        finally:
            for module, training in modes:  # a frozen trunk may be in evaluation mode for good
                module.training = training
        program = self._compiled(traced.graph, make_state(traced.holders, self.seed))
        return CompiledFunction(program, traced)

    def _public(self, name: str) -> str:
        own = name in ("step", "key") or name.startswith("optimizer.")
        return name if own else f"model.{name}"

    # Batches

    def _fitted(self, batch: Sequence[Any]) -> tuple[list[Array], int]:
        """The arrays as the program of their bucket takes them, and the bucket's number."""
        name, expected = self.graph.name, len(self.batch_specs)
        if len(batch) != expected:
            raise ShapeError(f"{name}: a batch of {len(batch)} arrays, expected {expected}")
        arrays = [as_array(array) for array in batch]
        number = self._bucket(arrays)
        graph = self._graphs[number].graph
        named = zip(arrays, self.buckets[number], graph.inputs, strict=True)
        fitted = [
            fit_array(array, spec, f"{graph.name}: batch array {position} ({value.name})")
            for position, (array, spec, value) in enumerate(named)
        ]
        return fitted, number

    def _bucket(self, arrays: Sequence[Array]) -> int:
        """The bucket of arrays of these shapes; the last one where there is but one.

        Raises ShapeError where several are declared and none is it.
        """
        if len(self.buckets) == 1:
            return -1
        shapes = tuple(array.shape for array in arrays)
        for number, specs in enumerate(self.buckets):
            if shapes == tuple(spec.shape for spec in specs):
                return number
        raise ShapeError(f"{self.graph.name}: {self._difference(shapes)}")

    def _difference(self, shapes: Sequence[tuple[int, ...]]) -> str:
        """What keeps these shapes from being those of a bucket."""
        for position, (shape, value) in enumerate(zip(shapes, self.graph.inputs, strict=True)):
            what = f"batch array {position} ({value.name})"
            known = [specs[position].shape for specs in self.buckets]
            if len(shape) != len(known[0]):
                return f"{what} has {len(shape)} dimensions {shape}, expected {len(known[0])}"
            for axis, extent in enumerate(shape):
                extents = sorted({other[axis] for other in known})
                if extent not in extents:
                    shown = ", ".join(map(str, extents))
                    return f"{what}: dimension {axis} is {extent}, the buckets have {shown}"
        shown = "; ".join(" ".join(str(spec.type) for spec in specs) for specs in self.buckets)
        return f"a batch of shapes {', '.join(map(str, shapes))}; the buckets are {shown}"


def _checked_buckets(
    specs: tuple[Spec, ...], buckets: Sequence[Sequence[Spec]] | None
) -> tuple[tuple[Spec, ...], ...]:
    """Raises ArgumentError for no buckets, or buckets that differ in more than their extents."""
    if buckets is None:
        return (specs,)
    found = tuple(tuple(bucket) for bucket in buckets)
    if specs or not found:
        raise ArgumentError(
            f"TrainStep: {len(specs)} batch specs and {len(found)} buckets; expected either specs "
            "or at least one bucket"
        )
    for bucket in found:
        if _kinds(bucket) != _kinds(found[-1]):
            raise ArgumentError(
                f"TrainStep: buckets {bucket} and {found[-1]} differ in more than their extents"
            )
    if len(set(found)) != len(found):
        raise ArgumentError("TrainStep: two buckets are the same")
    return found


def _kinds(specs: Sequence[Spec]) -> list[tuple[int, Any]]:
    return [(len(spec.shape), spec.dtype) for spec in specs]


def _check_parts(model: Any, loss: Any, optimizer: Any) -> None:
    """Raises ArgumentError for what is no model, no function and no optimizer."""
    if not hasattr(model, "named_holders"):
        raise ArgumentError(f"TrainStep: model is {model!r}, expected an nn.Module")
    if not callable(loss):
        raise ArgumentError(
            f"TrainStep: loss is {loss!r}, expected a function (model, *batch) -> scalar"
        )
    if not isinstance(optimizer, Optimizer):
        raise ArgumentError(f"TrainStep: optimizer is {optimizer!r}, expected optim.Adam(), ...")
