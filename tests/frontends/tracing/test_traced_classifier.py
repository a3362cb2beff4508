"""A classifier, traced: nodes, state, source lines, and the value of the loss."""

import numpy as np

import graphc
import graphc.functional as F
from graphc import nn
from graphc.frontends.tracing import trace_program
from graphc.frontends.tracing.holder import make_state
from graphc.ops.evaluate import evaluate


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.second = nn.Linear(4, 2)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


def loss(model, x, y):
    return F.cross_entropy(model(x), y)


def test_linear_relu_cross_entropy_against_numpy():
    model = Classifier()
    traced = trace_program(
        lambda x, y: loss(model, x, y), [graphc.Spec((5, 3)), graphc.Spec((5,), "int32")], model
    )
    assert [value.name for value in traced.graph.inputs] == ["x", "y"]
    names = ["first.weight", "first.bias", "second.weight", "second.bias"]
    assert [value.name for value in traced.graph.state] == names
    state = make_state(traced.holders, seed=3)
    arrays = {name: state.array(name) for name in state}
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 3)).astype(np.float32), np.int32([0, 1, 1, 0, 1])
    (found,), updates = evaluate(traced.graph, [x, y], arrays)
    hidden = np.maximum(x @ arrays["first.weight"].T + arrays["first.bias"], 0)
    logits = hidden @ arrays["second.weight"].T + arrays["second.bias"]
    log_probabilities = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    np.testing.assert_allclose(found, -log_probabilities[range(5), y].mean(), rtol=1e-5)
    assert updates == {}


def test_every_node_has_the_line_of_the_model():
    traced = trace_program(Classifier(), [graphc.Spec((5, 3))])
    lines = {node.source for node in traced.graph.nodes}
    assert all(line.startswith("test_traced_classifier.py:") for source in lines for line in source)
    relu = next(node for node in traced.graph.nodes if node.op == "relu")
    assert len(relu.source) == 1
    product = next(node for node in traced.graph.nodes if node.op == "matmul")
    assert len(product.source) == 2  # the call in forward, and the line that made the layer
