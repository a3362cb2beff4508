"""What a user is told after the commonest mistakes: what was given, what was expected, and where.

Each row is a mistake, its error, and words that the message must have; `HERE` stands for a line of
this file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.errors import (
    ArgumentError,
    DTypeError,
    GraphcError,
    ShapeError,
    StateError,
    TraceError,
)

HERE = r"\(test_common_mistakes\.py:\d+\)$"
ROWS = graphc.Spec((4, 3))
LABELS = graphc.Spec((4,), "int32")
IMAGES = graphc.Spec((4, 3, 32, 32))


class Net(nn.Module):
    """A small network; the mistake is the number of channels or of features."""

    def __init__(self, channels: int = 3, features: int = 8 * 30 * 30) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8, 3)
        self.head = nn.Linear(features, 10)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.conv(x))
        return self.head(x.reshape((x.shape[0], -1)))


class Listed(nn.Module):
    """Layers in a Python list, which the model does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(3, 4)]

    def forward(self, x: Any) -> Any:
        return self.layers[0](x)


def classify(model: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(model(x), y)


def make(
    model: Any = None, loss: Any = classify, *specs: graphc.Spec, **options: Any
) -> graphc.TrainStep:
    specs = specs or (ROWS, LABELS)
    options = {"optimizer": optim.SGD(0.1), "backend": "interpreter", **options}
    optimizer = options.pop("optimizer")
    return graphc.TrainStep(model or nn.Linear(3, 4), loss, optimizer, *specs, **options)


def branching(model: Any, x: Any, y: Any) -> Any:
    value = classify(model, x, y)
    return value * 2 if value > 3 else value


def assign(x: Any) -> Any:
    x[0] = 1.0
    return x


def traced(fn: Any, *specs: graphc.Spec) -> Any:
    return graphc.trace(fn, *(specs or (ROWS,)))


ones, zeros = np.ones((4, 3), np.float32), np.zeros(4, np.int32)
grouped = optim.SGD(0.1, groups=[("body.*", {"lr": 0.0})])

MISTAKES: dict[str, tuple[Any, type[Exception], str]] = {
    "channels": (
        lambda: make(Net(1), classify, IMAGES, LABELS),
        ShapeError,
        r"conv2d: input has 3 channels, weight expects 1 " + HERE,
    ),
    "features": (
        lambda: make(Net(3, 100), classify, IMAGES, LABELS),
        ShapeError,
        r"linear: input f32\[4,7200\] has 7200 features, weight is f32\[10,100\] " + HERE,
    ),
    "batch size": (lambda: make()(ones[:3], zeros), ShapeError, r"\(x\): dimension 0 is 3, .* 4"),
    "batch rank": (lambda: make()(ones[0], zeros), ShapeError, r"\(x\) has 1 dim.*f32\[4,3\]"),
    "labels as a column": (lambda: make()(ones, zeros[:, None]), ShapeError, r"\(y\) has 2 dim"),
    "labels forgotten": (lambda: make()(ones), ShapeError, "batch of 1 arrays, expected 2"),
    "labels as floats": (lambda: make()(ones, zeros * 0.5), DTypeError, r"\(y\) is float64.*i32"),
    "integers for floats": (
        lambda: make()(ones.astype(int), zeros),
        DTypeError,
        r"\(x\) is int64, expected f32\[4,3\]; convert it with .astype\('float32'\)",
    ),
    "labels too large": (
        lambda: make()(ones, np.full(4, 2**40)),
        DTypeError,
        r"\(y\): an element of the int64 array is beyond i32\[4\]",
    ),
    "ragged rows": (lambda: make()([[1, 2], [3]], zeros), DTypeError, "list cannot be read"),
    "if": (lambda: make(None, branching), TraceError, "F.where, or F.cond.*" + HERE),
    "and": (lambda: traced(lambda x: (x > 0) and (x < 1)), TraceError, "F.where.*" + HERE),
    "float": (lambda: traced(lambda x: float(x.sum())), TraceError, "float of.*astype.*" + HERE),
    "int": (lambda: traced(lambda x: int(x.sum())), TraceError, "int of.*astype.*" + HERE),
    "item": (lambda: traced(lambda x: x.sum().item()), TraceError, "Python number of.*" + HERE),
    "range": (
        lambda: traced(lambda n: list(range(n)), graphc.Spec((), "int32")),
        TraceError,
        "Python index of.*F.scan to loop " + HERE,
    ),
    "math": (lambda: traced(lambda x: math.sqrt(x.sum())), TraceError, "float of.*" + HERE),
    "numpy": (lambda: traced(lambda x: np.mean(x)), TraceError, "numpy.mean.*use F.mean " + HERE),
    "np.array": (lambda: traced(lambda x: np.array(x)), TraceError, "NumPy array of.*" + HERE),
    "assignment": (lambda: traced(assign), TraceError, "never changes in place.*" + HERE),
    "view": (lambda: traced(lambda x: x.view(12)), AttributeError, r"use x.reshape\(shape\)"),
    "too few arguments": (
        lambda: make(None, lambda model, x: model(x).mean()),
        ArgumentError,
        r"<lambda>\(model, x\) is called with 3 arguments, 2 of them Specs.*" + HERE,
    ),
    "too many arguments": (
        lambda: make(None, lambda model, x, y, z: model(x).mean()),
        ArgumentError,
        r"<lambda>\(model, x, y, z\) is called with 3 arguments.*'z' " + HERE,
    ),
    "no specs": (lambda: graphc.compile(nn.Linear(3, 4)), ArgumentError, r"Linear\(input\) is"),
    "loss of a vector": (lambda: make(None, lambda m, x, y: m(x)), ShapeError, r"f32\[4,4\]"),
    "no loss": (lambda: make(None, lambda m, x, y: None), ShapeError, "the loss is nothing"),
    "loss of no parameter": (
        lambda: make(None, lambda m, x, y: x.mean()),
        ArgumentError,
        "the loss reads no trainable parameter",
    ),
    "targets as floats": (
        lambda: make(None, classify, ROWS, graphc.Spec((4,))),
        ShapeError,
        r"target f32\[4\]; .* of classes an integer type " + HERE,
    ),
    "layers in a list": (lambda: make(Listed()), ArgumentError, r"nn\.ModuleList"),
    "no model": (lambda: make(lambda x: x), ArgumentError, "expected an nn.Module"),
    "no forward": (lambda: make(nn.Module()), ArgumentError, "Module has no forward"),
    "no optimizer": (
        lambda: make(optimizer=optim.Adam),
        ArgumentError,
        r"expected optim\.Adam\(\)",
    ),
    "parameters for an optimizer": (
        lambda: optim.SGD(nn.Linear(3, 4).parameters(), lr=0.1),
        ArgumentError,
        "there is no list of parameters",
    ),
    "group of nothing": (
        lambda: make(optimizer=grouped),
        ArgumentError,
        r"no parameter matches group 'body\.\*'; there are weight, bias",
    ),
    "freeze of nothing": (lambda: nn.Linear(3, 4).freeze("body.*"), ArgumentError, "weight, bias"),
    "name of a weight": (
        lambda: nn.Linear(3, 4).load_state_dict({"weights": ones.T, "bias": zeros}),
        StateError,
        "missing: weight; unexpected: weights",
    ),
    "shape of a weight": (
        lambda: nn.Linear(3, 4).load_state_dict({"weight": ones.T, "bias": zeros * 1.0}),
        StateError,
        r"weight is float32\[3, 4\], expected f32\[4,3\]",
    ),
    "a model's state for a step": (
        lambda: make().load_state_dict({"weight": ones}),
        StateError,
        r"missing: model\.weight, .*unexpected: weight",
    ),
    "options too late": (
        lambda: setattr(compiled(), "threads", 2),
        ArgumentError,
        "is compiled; set threads before",
    ),
    "backend": (lambda: make(backend="gpu").compile(), ArgumentError, "cpu, interpreter, cuda"),
    "pass": (
        lambda: make(passes="simplify,fold,fuze").compile(),
        GraphcError,
        "no pass 'fuze'; there are .*fuse",
    ),
    "state of a graph": (
        lambda: graphc.compile(graphc.trace(nn.Linear(3, 4), ROWS)),
        StateError,
        r"no model is given \(model=\).*weight, bias",
    ),
}


def compiled() -> graphc.TrainStep:
    step = make()
    step.compile()
    return step


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_error_says_what_to_do(mistake: str) -> None:
    call, kind, words = MISTAKES[mistake]
    with pytest.raises(kind, match=words) as caught:
        call()
    assert len(str(caught.value).splitlines()) == 1


def test_a_frozen_teacher_is_read_and_not_trained() -> None:
    teacher, student = nn.Linear(3, 4).freeze(), nn.Linear(3, 4)
    teacher.load_state_dict({"weight": np.eye(4, 3), "bias": np.ones(4)})
    before = teacher.state_dict()
    step = make(student, lambda model, x, y: ((model(x) - teacher(x)) ** 2).mean())
    first = float(step(ones, zeros))
    for _ in range(20):
        last = float(step(ones, zeros))
    assert last < first / 10
    for name, array in teacher.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_graph_runs_on_the_state_of_a_model() -> None:
    model = nn.Linear(3, 4)
    graph = graphc.trace(model, ROWS)
    program = graphc.compile(graph, model=model, backend="interpreter")
    np.testing.assert_allclose(program(ones), model(ones), rtol=1e-6)
