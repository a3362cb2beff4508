"""Frozen parameters have no gradients, no optimizer state, and nothing is kept for them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.frontends.train.step import TrainStep
from graphc.inspect.memory_report import by_line
from graphc.ir import Graph, Node

Array = np.ndarray[Any, Any]


class First(nn.Module):
    """The output of a layer that gives several."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any) -> Any:
        return self.layer(x)[0]


class Attend(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Any) -> Any:
        return self.attention(x, x, x, need_weights=False)[0]


# Parameters of all of them have sizes that no activation has.
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 7), (5, 6)),
    "attention": (Attend, (5, 11, 6)),
    "lstm": (lambda: First(nn.LSTM(6, 7, batch_first=True)), (5, 11, 6)),
    "gru": (lambda: First(nn.GRU(6, 7, batch_first=True)), (5, 11, 6)),
    "conv": (lambda: nn.Conv2d(6, 7, 3, padding=1), (5, 6, 4, 4)),
    "conv block": (
        lambda: nn.Sequential(nn.Conv2d(6, 7, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        (5, 6, 4, 4),
    ),
}


class Net(nn.Module):
    """A trained shift before a layer that may be frozen, and a trained scale behind."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.before, self.behind = (nn.Parameter((1,), nn.init.ones) for _ in range(2))

    def forward(self, x: Any) -> Any:
        return self.layer(x + self.before) * self.behind


def make(model: nn.Module, shape: tuple[int, ...], **options: Any) -> TrainStep:
    loss = lambda model, x: F.sum(F.sin(model(x)))  # noqa: E731  # as users write it
    return graphc.TrainStep(model, loss, optim.Adam(), graphc.Spec(shape), threads=1, **options)


def nodes_of(graph: Graph) -> Iterator[Node]:
    for node in graph.nodes:
        yield node
        for region in node.regions:
            yield from nodes_of(region)


def sizes_from_the_batch(graph: Graph) -> set[int]:
    """Sizes of all values that the batch has a part in; inside loops, of all but transposes, which
    are those of weights.
    """
    known, found = set(graph.inputs), set[int]()
    for node in graph.nodes:
        if known & set(node.operands):
            known |= set(node.results)
            found |= {value.type.size for value in node.results}
            inner = (n for region in node.regions for n in nodes_of(region) if n.op != "transpose")
            found |= {value.type.size for n in inner for value in n.results}
    return found


def weights(model: nn.Module) -> set[int]:
    return {p.size for name, p in model.named_parameters() if p.ndim > 1}


@pytest.mark.parametrize("name", LAYERS)
def test_a_frozen_layer_has_neither_gradients_nor_moments(name: str) -> None:
    layer, shape = LAYERS[name]
    trained, frozen = (make(Net(layer()), shape), Net(layer()).freeze("layer.*"))
    step = make(frozen, shape)
    large = weights(frozen)
    assert large <= sizes_from_the_batch(trained.program.stage("optimized"))
    assert not large & sizes_from_the_batch(step.program.stage("optimized"))
    moments = {n for n in step.state if n.startswith("optimizer.")}
    assert {n.split(".")[1] for n in moments} == {"before", "behind"}
    updated = dict(step.graph.updates)
    assert not any(name.startswith("layer.") for name in updated)
    assert sum(launch.flops for launch in step.program.launches) < sum(
        launch.flops for launch in trained.program.launches
    )


class Deep(nn.Module):
    def __init__(self, depth: int, activation: Callable[[Any], Any] = F.tanh) -> None:
        super().__init__()
        self.activation = activation
        self.trunk = nn.Sequential(*(nn.Linear(16, 16) for _ in range(depth)))
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        for layer in self.trunk.children():
            x = self.activation(layer(x))
        return self.head(x)


def arena(model: nn.Module) -> int:
    return make(model, (256, 16)).program.memory.arena_bytes


ACTIVATION_BYTES = 256 * 16 * 4


def test_nothing_of_a_frozen_trunk_is_kept_for_the_backward() -> None:
    frozen = [arena(Deep(depth).freeze("trunk.*")) for depth in (4, 12)]
    assert frozen[1] - frozen[0] < ACTIVATION_BYTES / 4
    assert arena(Deep(12)) - arena(Deep(4)) >= 8 * ACTIVATION_BYTES


def test_what_only_a_frozen_weight_needs_is_not_kept() -> None:
    """A layer's input is kept for its weight's gradient alone where no activation needs it."""
    straight = lambda x: x  # noqa: E731  # as users write it
    assert arena(Deep(12, straight)) - arena(Deep(4, straight)) >= 8 * ACTIVATION_BYTES
    models = [Deep(depth, straight).freeze("trunk.*").unfreeze("trunk.0.*") for depth in (4, 12)]
    above = [arena(model) for model in models]
    assert above[1] - above[0] < ACTIVATION_BYTES / 4


def test_lines_of_a_frozen_trunk_are_not_live_at_the_end() -> None:
    memory = make(Deep(6).freeze("trunk.*"), (256, 16)).program.memory
    assert 0 < len(by_line(memory)) <= 3
    assert memory.timeline()[-1].live_bytes < ACTIVATION_BYTES


def test_lora_needs_no_gradient_of_the_weight_it_stands_on() -> None:
    model = Net(nn.Linear(6, 7))
    nn.lora(model, "layer", rank=2)
    step = make(model, (5, 6))
    found = sizes_from_the_batch(step.program.stage("optimized"))
    assert {2 * 6, 7 * 2} <= found and 6 * 7 not in found


def test_evaluation_leaves_every_module_in_its_mode() -> None:
    model = nn.Sequential(nn.Sequential(nn.BatchNorm1d(4), nn.Dropout(0.5)), nn.Linear(4, 2))
    model[0].eval()
    step = make(model, (6, 4), backend="interpreter")
    step.evaluation(lambda model, x: model(x), graphc.Spec((6, 4)))
    assert [module.training for module in model.modules()] == [True, False, False, False, True]
    before = model.state_dict()["0.0.running_mean"]
    step(np.ones((6, 4), np.float32))
    np.testing.assert_array_equal(model.state_dict()["0.0.running_mean"], before)
