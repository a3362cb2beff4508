"""`compile`: functions, models and graphs called with arrays and nested values of them."""

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import Spec, nn
from graphc.errors import DTypeError, ShapeError

PAIR = Spec((2,))
ONES = np.ones(2, np.float32)


def test_nested_values_go_in_and_out() -> None:
    double = graphc.compile(
        lambda d: {"sum": d["x"] + d["y"], "parts": (d["x"],)},
        {"x": PAIR, "y": PAIR},
        backend="interpreter",
    )
    found = double({"x": ONES, "y": 2 * ONES})
    assert found["sum"].tolist() == [3.0, 3.0] and found["parts"][0].tolist() == [1.0, 1.0]
    with pytest.raises(ShapeError, match="arguments are"):
        double({"x": ONES, "z": ONES})


def test_lists_of_numbers_stand_for_arrays() -> None:
    pair = graphc.compile(lambda d, x: d["a"] + x, {"a": PAIR}, PAIR, backend="interpreter")
    assert pair({"a": [1.0, 2.0]}, (3.0, 4.0)).tolist() == [4.0, 6.0]
    with pytest.raises(ShapeError, match=r"arguments are \(\{'a': \*\},\), compiled for"):
        pair({"a": ONES})


def test_arguments_are_checked() -> None:
    double = graphc.compile(lambda x: x + x, PAIR, backend="interpreter")
    assert double(np.array([1.0, 2.0])).dtype == np.float32
    with pytest.raises(ShapeError, match="dimension 0 is 3, expected 2"):
        double(np.ones(3, np.float32))
    with pytest.raises(DTypeError, match="int64"):
        double(np.ones(2, np.int64))


@pytest.mark.parametrize("backend", ["interpreter", "cpu"])
def test_a_models_programs_share_its_weights(backend: str) -> None:
    model = nn.Linear(3, 2)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    forward = graphc.compile(model, Spec((2, 3)), backend=backend)
    clipped = graphc.compile(lambda x: F.relu(model(x)), Spec((2, 3)), model=model, backend=backend)
    state = model.state_dict()
    expected = x @ state["weight"].T + state["bias"]
    np.testing.assert_allclose(forward(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(clipped(x), np.maximum(expected, 0), rtol=1e-5, atol=1e-6)


def test_a_graph_compiles_and_shows_its_stages() -> None:
    graph = graphc.trace(lambda x: x * x, PAIR)
    square = graphc.compile(graph, backend="interpreter", fuse=False)
    assert square(3 * ONES).tolist() == [9.0, 9.0]
    assert square.stage("traced") == graph and len(square.launches) >= 1
