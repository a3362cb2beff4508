"""The graph of a training step: loss, gradients, and the optimizer's updates of the state.

graph(batch...) state(parameters, buffers, optimizer slots, step, key)
    loss, buffers' new values, gradients = grad(loss function)
    slots' and parameters' new values    = optimizer
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.dtypes import float64
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.optim.base import Optimizer, Scalars
from graphc.frontends.tracing.holder import Holder
from graphc.frontends.tracing.program import trace_program
from graphc.frontends.tracing.spec import Spec
from graphc.ir import Attribute, Graph, TensorType, Value
from graphc.ops import Builder

Array = np.ndarray[Any, Any]
LossFunction = Callable[..., Any]


@dataclass(frozen=True)
class Slot:
    """A tensor of the optimizer: its name in the graph and its first elements."""

    name: str
    initial: Array


class TrainingGraph:
    """The graph of one step, and what its state is made of.

    graph    inputs are the arrays of a batch, the output is the loss
    holders  {name: holder} of the model's tensors in graph.state
    slots    the optimizer's tensors in graph.state

    Raises ShapeError, DTypeError or TraceError, with the model's line.
    """

    def __init__(
        self,
        model: Any,
        loss: LossFunction,
        optimizer: Optimizer,
        specs: Sequence[Spec],
        name: str,
    ) -> None:
        traced = trace_program(partial(loss, model), specs, model, name)
        self._model, self._optimizer = model, optimizer
        self.holders = traced.holders
        self.slots: list[Slot] = []
        self._check_owner()
        self.graph = self._training_graph(traced.graph)

    def _check_owner(self) -> None:
        """Raises ArgumentError for a trainable parameter of the loss that is not the model's."""
        kind = type(self._model).__name__
        for name in self._strangers():
            raise ArgumentError(
                f"the loss reads parameter {name}, which is no part of the {kind}; make its module "
                f"an attribute of the {kind} (layers in a list: nn.ModuleList), or freeze() it if "
                "it is not to be trained"
            )

    def check_model(self) -> None:
        """Raises ArgumentError where a parameter that is trained has left the model since."""
        for name in self._strangers():
            raise ArgumentError(
                f"{self.graph.name}: parameter {name} has left the {type(self._model).__name__} "
                "since the step was made; make a new one"
            )

    def _strangers(self) -> Iterator[str]:
        own = {id(holder) for _, holder in self._model.named_holders()}
        found = self.holders.items()
        return (name for name, h in found if _is_trained(h) and id(h) not in own)

    def _training_graph(self, loss: Graph) -> Graph:
        builder = Builder(loss.nodes[-1].source if loss.nodes else ())
        inputs = [Value(value.type, value.name) for value in loss.inputs]
        state = {value.name: Value(value.type, value.name) for value in loss.state}
        trained = [n for n, v in enumerate(loss.state) if _is_trained(self.holders[v.name])]
        _check_trainable(loss, trained)
        value, aux, grads = self._differentiate(builder, loss, inputs, state, trained)
        updates = {name: new for (name, _), new in zip(loss.updates, aux, strict=True)}
        step = self._slot(state, "step", np.zeros((), np.int64))
        updates["step"] = builder.add(step, builder.like(1, step))
        if "key" in state and "key" not in updates:
            (updates["key"],) = builder.emit("fold_in", [state["key"], step])
        names = [loss.state[n].name for n in trained]
        self._optimizer.check_groups(name for name, _ in self._model.named_parameters())
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
        for name, grad in zip(names, self._optimizer.clip(builder, grads), strict=True):
            rule = self._optimizer.for_parameter(name, self.holders[name])
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
        self.slots.append(Slot(name, initial))
        state[name] = Value(TensorType(initial.shape, dtypes.get(initial.dtype)), name)
        return state[name]


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
