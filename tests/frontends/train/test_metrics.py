"""The ready metrics give one value for each example, and refuse shapes that would broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
from graphc import nn
from graphc.errors import ShapeError
from graphc.metrics import absolute_error, accuracy, squared_error

X = np.float32([[0, 1], [2, 0], [3, 4]])


def test_metrics_of_each_example() -> None:
    model = nn.Identity()
    y = np.float32([[1, 1], [0, 0], [3, 3]])
    np.testing.assert_allclose(absolute_error(model, X, y), [0.5, 1.0, 0.5])
    np.testing.assert_allclose(squared_error(model, X, y), [0.5, 2.0, 0.5])
    np.testing.assert_array_equal(accuracy(model, X, np.int32([1, 1, 1])), [1, 0, 1])


@pytest.mark.parametrize("metric", [absolute_error, squared_error])
def test_a_target_of_another_shape_is_an_error(metric: object) -> None:
    with pytest.raises(ShapeError, match="shapes must agree"):
        graphc.trace(
            lambda x, y: metric(nn.Identity(), x, y),  # type: ignore[operator]  # both are
            graphc.Spec((3, 1)),
            graphc.Spec((3,)),
        )


def test_accuracy_is_one_where_the_largest_output_is_at_the_label() -> None:
    logits = np.array([[1, 3, 2], [5, 1, 1], [2, 2, 1]], np.float32)
    labels = np.array([1, 2, 0], np.int32)
    result = accuracy(lambda x: x, logits, labels)
    assert result.tolist() == [1.0, 0.0, 1.0] and result.dtype == np.float32


def test_accuracy_can_be_traced() -> None:
    def predict(x: Any, y: Any) -> Any:
        return accuracy(lambda x: x, x, y)

    graph = graphc.trace(predict, graphc.Spec((4, 3)), graphc.Spec((4,), "int32"))
    (output,) = graph.outputs
    assert (output.type.shape, output.type.dtype.name) == ((4,), "float32")
