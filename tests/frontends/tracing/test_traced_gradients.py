"""grad, value_and_grad and vjp: inside traced code, outside on arrays, of each other."""

import numpy as np
import pytest
from traced import check, normal, run_traced, run_with_updates

import graphc
import graphc.functional as F
from graphc import nn
from graphc.errors import ArgumentError, DTypeError, ShapeError, TraceError

X = normal(3, 4)


def test_gradient_of_a_square_is_traced_into_a_grad_node():
    graph = graphc.trace(graphc.grad(lambda x: (x * x).sum()), graphc.Spec((3, 4)))
    assert [node.op for node in graph.nodes] == ["grad"]
    (region,) = graph.nodes[0].regions
    assert [node.op for node in region.nodes] == ["mul", "sum"]
    check(graphc.grad(lambda x: (x * x).sum()), 2 * X, X)


def test_value_aux_and_structure():
    def f(parameters, x):
        y = x * parameters["w"] + parameters["b"]
        return y.sum(), {"y": y}

    parameters = {"w": normal(4), "b": np.float32(0.5)}
    run = graphc.value_and_grad(f, has_aux=True)
    y = X * parameters["w"] + parameters["b"]
    expected = ((y.sum(), {"y": y}), {"b": np.float32(12), "w": X.sum(0)})
    check(run, expected, parameters, X)


def test_several_arguments():
    f = graphc.grad(lambda x, y: (x * y).sum(), (1, 0))
    check(f, (X + 1, X), X + 1, X)
    check(graphc.grad(lambda x, y: (x * y).sum(), -1), X, X, X)


def test_gradient_of_a_gradient_and_closed_over_values():
    def f(x, c):
        def inner(t):
            return (c * t**3).sum()

        def norm(t):
            return (graphc.grad(inner)(t) ** 2).sum()  # (3 c t²)²

        return graphc.grad(norm)(x)  # 36 c² t³

    c = normal(4, seed=1)
    check(f, 36 * c**2 * X**3, X, c, rtol=1e-4)


def test_third_derivative():
    third = graphc.grad(graphc.grad(graphc.grad(lambda x: x**4 + F.sin(x))))
    check(third, np.float32(24 * 0.5 - np.cos(0.5)), np.float32(0.5))


def test_other_arguments_are_constants():
    check(graphc.grad(lambda x, y, k: (x * y).sum() * k), 3 * X, X, X, np.int64(3))


def test_keyword_arguments_are_passed_on():
    f = graphc.grad(lambda x, scale: (x * scale).sum())
    np.testing.assert_allclose(f(X, scale=2.0), np.full_like(X, 2))


def test_vjp():
    weight = normal(4, 2, seed=1)

    def f(x, w, cotangent):
        y, pullback = graphc.vjp(lambda a, b: a @ b, x, w)
        return y, pullback(cotangent)

    cotangent = normal(3, 2, seed=2)
    expected = (X @ weight, (cotangent @ weight.T, X.T @ cotangent))
    check(f, expected, X, weight, cotangent)
    y, pullback = graphc.vjp(lambda a, b: a @ b, X, weight)
    np.testing.assert_allclose(y, X @ weight, rtol=1e-5)
    for found, want in zip(pullback(cotangent), expected[1], strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-5)


def test_vjp_with_structures_and_integers():
    def f(x, indices):
        picked, pullback = graphc.vjp(lambda p, i: {"y": F.take(p["x"], i, 0)}, {"x": x}, indices)
        return pullback({"y": F.ones_like(picked["y"])})

    expected = np.zeros_like(X)
    expected[[0, 2]] = 1
    found = run_traced(f, X, np.array([0, 2]))
    assert found[1] is None
    np.testing.assert_array_equal(found[0]["x"], expected)


def test_vjp_traces_the_function_once():
    calls = []

    def f(x):
        calls.append(1)
        return F.dropout(x, 0.5)

    def both(x):
        y, pullback = graphc.vjp(f, x)
        return y, pullback(F.ones_like(x))[0]

    y, gradient = run_traced(both, np.ones(64, np.float32))
    assert len(calls) == 1
    np.testing.assert_array_equal(y, gradient)  # the same mask


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter((4,), nn.init.ones)
        self.register_buffer("calls", np.int64(0))

    def forward(self, x):
        self.calls = self.calls + 1
        return (x * self.weight).sum()


def test_state_assigned_inside_a_gradient_is_updated_once():
    model = Counting()
    gradient, updates = run_with_updates(graphc.grad(model), X, model=model)
    np.testing.assert_array_equal(gradient, np.ones_like(X))
    assert updates == {"calls": 1}
    graphc.grad(model)(X)
    assert model.calls == 1


def test_through_scan_and_cond():
    def loop(x):
        last, _ = F.scan(lambda c, t: (c * t, None), F.ones(()), x)
        return last

    x = np.float32([2, 3, 4])
    check(graphc.grad(loop), np.float32([12, 8, 6]), x)

    def branch(x):
        return F.cond(x > 0, lambda t: t * t, lambda t: -t, x)

    check(graphc.grad(branch), np.float32(4), np.float32(2))
    check(graphc.grad(branch), np.float32(-1), np.float32(-2))


@pytest.mark.parametrize(
    "function, error, text",
    [
        (graphc.grad(lambda x, i: x), ShapeError, r"gives f32\[3,4\]; expected a scalar"),
        (graphc.grad(lambda x, i: (x.sum(), x)), TraceError, "expected one scalar"),
        (graphc.grad(lambda x, i: i.sum()), DTypeError, "gives i64"),
        (graphc.grad(lambda x, i: x.sum(), 1), DTypeError, "argument 1 is i64"),
        (graphc.grad(lambda x, i: x.sum(), 2), ArgumentError, "argnums is 2 for 2"),
        (lambda x, i: graphc.vjp(F.exp, x)[1](x[0]), ShapeError, "its cotangent"),
        (lambda x, i: graphc.vjp(F.exp, x)[1]((x,)), TraceError, "cotangents"),
    ],
)
def test_errors_name_what_was_given_and_the_line(function, error, text):
    with pytest.raises(error, match=text) as raised:
        graphc.trace(function, graphc.Spec((3, 4)), graphc.Spec((3,), "int64"))
    assert "(test_traced_gradients.py:" in str(raised.value)
