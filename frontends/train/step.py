"""`TrainStep`: forward, loss, backward and update as one program, run by one native call.

graph(batch...) state(parameters, buffers, optimizer slots, step, key)
    loss, buffers' new values, gradients = grad(loss function)
    slots' and parameters' new values    = optimizer
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.compiler import compile_graph
from graphc.dtypes import float64
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.compile import CompiledFunction, compile, pipeline
from graphc.frontends.optim.base import Optimizer, Scalars
from graphc.frontends.tracing.holder import Holder, make_state
from graphc.frontends.tracing.program import trace_program
from graphc.frontends.tracing.spec import Spec
from graphc.frontends.train.arguments import Loss, fit_array
from graphc.ir import Attribute, Graph, TensorType, Value
from graphc.ops import Builder
from graphc.passes.base import Pipeline
from graphc.runtime.profile import Profile
from graphc.runtime.program import Program
from graphc.runtime.state import State, check_names

Array = np.ndarray[Any, Any]
LossFunction = Callable[..., Any]


@dataclass(frozen=True)
class _Slot:
    """A tensor of the optimizer: its name in the graph and its first elements."""

    name: str
    initial: Array


_OPTIONS = frozenset({"backend", "threads", "fuse", "seed", "passes", "memory_budget"})


class TrainStep:
    """One training step of a model.

    loss         a function (model, *batch) -> scalar
    batch_specs  a Spec for each array of a batch
    backend, threads, fuse and seed may be set until the step compiles, at its first use.

    Raises ShapeError, DTypeError or TraceError, with the model's line, when it is made.
    """

    def __init__(
        self,
        model: Any,
        loss: LossFunction,
        optimizer: Optimizer,
        *batch_specs: Spec,
        backend: str = "cpu",
        threads: int | None = None,
        fuse: bool = True,
        seed: int = 0,
        passes: Pipeline | str | None = None,
        memory_budget: int | None = None,
    ) -> None:
        _check_parts(model, loss, optimizer)
        self._program: Program | None = None
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.batch_specs = batch_specs
        self.backend, self.threads, self.fuse, self.seed = backend, threads, fuse, seed
        self.passes, self.memory_budget = passes, memory_budget
        name = f"{type(model).__name__}.train"
        traced = trace_program(partial(loss, model), batch_specs, model, name)
        self._holders = traced.holders
        self._check_owner()
        self._slots: list[_Slot] = []
        self.graph = self._training_graph(traced.graph)
        self._state: State | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Raises ArgumentError for an option that comes too late."""
        is_late = name in _OPTIONS and getattr(self, "_program", None) is not None
        if is_late and getattr(self, name) != value:
            raise ArgumentError(f"{self.graph.name} is compiled; set {name} before its first use")
        super().__setattr__(name, value)

    # Use

    def __call__(self, *batch: Any) -> Loss:
        """Update the model by one batch; the loss before the update.

        Raises ShapeError or DTypeError for arrays other than the batch specs, IndexFault, with
        nothing updated, for a label or index outside its dimension.
        """
        return Loss(self.program.run(self._fitted(batch))[0])

    @property
    def program(self) -> Program:
        """The compiled step; compiles at first use."""
        return self.compile()

    def compile(self) -> Program:
        if self._program is None:
            self._program = compile_graph(
                self.graph,
                self.state,
                backend=self.backend,
                threads=self.threads,
                passes=pipeline(self.fuse, self.passes),
                memory_budget=self.memory_budget,
            )
        return self._program

    def profile(self, *batch: Any, seconds: float = 1.0) -> Profile:
        """Every launch's time, GFLOP/s, GB/s and share of its roof; see `Program.profile`.

        Without a batch one is made. The model stays as it was.
        """
        arrays = self._fitted(batch) if batch else ()
        return self.program.profile(*arrays, seconds=seconds)

    @property
    def state(self) -> State:
        """All tensors that the step reads and updates; made at first use, from the seed."""
        if self._state is None:
            state = make_state(self._holders, self.seed)
            for slot in self._slots:
                state.add(slot.name, slot.initial)
            self._state = state
        return self._state

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
        training = self.model.training
        self.model.eval()
        try:
            program: CompiledFunction = compile(
                partial(function, self.model),
                *specs,
                model=self.model,
                backend=self.backend,
                threads=self.threads,
                fuse=self.fuse,
                seed=self.seed,
                passes=self.passes,
                memory_budget=self.memory_budget,
            )
            return program
        finally:
            self.model.train(training)

    def _check_owner(self) -> None:
        """Raises ArgumentError for a trainable parameter of the loss that is not the model's."""
        own = {id(holder) for _, holder in self.model.named_holders()}
        for name, holder in self._holders.items():
            if _is_trained(holder) and id(holder) not in own:
                kind = type(self.model).__name__
                raise ArgumentError(
                    f"the loss reads parameter {name}, which is no part of the {kind}; make its "
                    f"module an attribute of the {kind} (layers in a list: nn.ModuleList), or "
                    "freeze() it if it is not to be trained"
                )

    def _public(self, name: str) -> str:
        own = name in ("step", "key") or name.startswith("optimizer.")
        return name if own else f"model.{name}"

    def _fitted(self, batch: Sequence[Any]) -> list[Array]:
        name, expected = self.graph.name, len(self.batch_specs)
        if len(batch) != expected:
            raise ShapeError(f"{name}: a batch of {len(batch)} arrays, expected {expected}")
        named = zip(batch, self.batch_specs, self.graph.inputs, strict=True)
        return [
            fit_array(array, spec, f"{name}: batch array {number} ({value.name})")
            for number, (array, spec, value) in enumerate(named)
        ]

    # The graph

    def _training_graph(self, loss: Graph) -> Graph:
        builder = Builder(loss.nodes[-1].source if loss.nodes else ())
        inputs = [Value(value.type, value.name) for value in loss.inputs]
        state = {value.name: Value(value.type, value.name) for value in loss.state}
        trained = [n for n, v in enumerate(loss.state) if _is_trained(self._holders[v.name])]
        _check_trainable(loss, trained)
        value, aux, grads = self._differentiate(builder, loss, inputs, state, trained)
        updates = {name: new for (name, _), new in zip(loss.updates, aux, strict=True)}
        step = self._slot(state, "step", np.zeros((), np.int64))
        updates["step"] = builder.add(step, builder.like(1, step))
        if "key" in state and "key" not in updates:
            (updates["key"],) = builder.emit("fold_in", [state["key"], step])
        names = [loss.state[n].name for n in trained]
        self.optimizer.check_groups(name for name, _ in self.model.named_parameters())
        scalars = Scalars(builder, builder.cast(updates["step"], float64))
        updates |= self._updates(builder, scalars, state, names, grads)
        return Graph(
            loss.name,
            tuple(inputs),
            tuple(builder.nodes),
            (value,),
            tuple(state.values()),
            tuple(updates.items()),
        )

    def _differentiate(
        self,
        builder: Builder,
        loss: Graph,
        inputs: Sequence[Value],
        state: Mapping[str, Value],
        trained: Sequence[int],
    ) -> tuple[Value, list[Value], list[Value]]:
        """(loss, new values of the model's own updates, gradients of the trained parameters)."""
        aux = tuple(value for _, value in loss.updates)
        region = Graph(loss.name, (*loss.state, *loss.inputs), loss.nodes, (*loss.outputs, *aux))
        attrs: dict[str, Attribute] = {"argnums": tuple(trained), "value": True, "aux": True}
        operands = [*state.values(), *inputs]
        results = builder.emit("grad", operands, attrs, (region,))
        return results[0], list(results[1 : 1 + len(aux)]), list(results[1 + len(aux) :])

    def _updates(
        self,
        builder: Builder,
        scalars: Scalars,
        state: dict[str, Value],
        names: Sequence[str],
        grads: Sequence[Value],
    ) -> dict[str, Value]:
        updates: dict[str, Value] = {}
        for name, grad in zip(names, self.optimizer.clip(builder, grads), strict=True):
            rule = self.optimizer.for_parameter(name, self._holders[name])
            parameter = state[name]
            prefix = f"optimizer.{name}"
            initial = rule.slots(TensorType(parameter.shape, parameter.dtype))
            kept = {
                slot: self._slot(state, f"{prefix}.{slot}", array)
                for slot, array in initial.items()
            }
            updates[name], slots = rule.update(builder, scalars, parameter, grad, kept)
            updates |= {f"{prefix}.{slot}": new for slot, new in slots.items()}
        return updates

    def _slot(self, state: dict[str, Value], name: str, initial: Array) -> Value:
        self._slots.append(_Slot(name, initial))
        state[name] = Value(TensorType(initial.shape, dtypes.get(initial.dtype)), name)
        return state[name]


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


def _is_trained(holder: Holder) -> bool:
    return bool(getattr(holder, "requires_grad", False))


def _check_trainable(loss: Graph, trained: Sequence[int]) -> None:
    """Raises ShapeError for a loss that is no floating scalar, ArgumentError for no parameters."""
    types = [value.type for value in loss.outputs]
    if len(types) != 1 or types[0].shape or not types[0].dtype.is_float:
        found = ", ".join(map(str, types)) or "nothing"
        raise ShapeError(f"{loss.name}: the loss is {found}, expected one floating scalar")
    if not trained:
        raise ArgumentError(f"{loss.name}: the loss reads no trainable parameter")
