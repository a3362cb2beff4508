"""scan and cond: meaning, closed-over values, state, random numbers, errors."""

import numpy as np
import pytest
from traced import check, normal, run_traced, run_with_updates

import graphc
import graphc.functional as F
from graphc import nn
from graphc.errors import DTypeError, ShapeError, TraceError

XS = normal(5, 3)


def test_running_sum():
    def f(xs):
        return F.scan(lambda c, x: (c + x, c), F.zeros(3), xs)

    sums = np.concatenate([np.zeros((1, 3), np.float32), XS.cumsum(0)])
    check(f, (sums[-1], sums[:-1]), XS)


def test_reverse_keeps_the_order_of_ys():
    def f(xs):
        return F.scan(lambda c, x: (c + x, c + x), F.zeros(3), xs, reverse=True)

    sums = XS[::-1].cumsum(0)[::-1]
    check(f, (sums[0], sums), XS)


def test_structures_and_length():
    def body(carry, _):
        (a, b) = carry["pair"]
        return {"pair": (b, a + b)}, {"ratio": b / a}

    def f():
        return F.scan(body, {"pair": (F.ones(()), F.ones(()))}, length=5)

    expected = (
        {"pair": (np.float32(8), np.float32(13))},
        {"ratio": np.float32([1, 2, 3 / 2, 5 / 3, 8 / 5])},
    )
    check(f, expected)


def test_closed_over_values_become_operands_once():
    def f(xs, w):
        return F.scan(lambda c, x: (c + x * w + w.sum(), None), F.zeros(3), xs)[0]

    w = normal(3, seed=1)
    graph = graphc.trace(f, graphc.Spec((5, 3)), graphc.Spec((3,)))
    (node,) = [node for node in graph.nodes if node.op == "scan"]
    assert node.attrs["consts"] == 1 and node.attrs["carries"] == 1
    check(f, (XS * w + w.sum()).sum(0), XS, w)


def test_a_number_that_starts_a_carry_follows_the_body():
    check(lambda xs: F.scan(lambda c, x: (c + x.sum(), None), 0, xs)[0], XS.sum(), XS)
    check(lambda xs: F.scan(lambda c, x: (c + 1, None), 0, xs)[0], np.int64(5), XS)


def test_nested_scans():
    def outer(c, row):
        inner, _ = F.scan(lambda d, x: (d + x * c, None), F.zeros(()), row)
        return c + inner, inner

    def reference():
        c, ys = np.float64(1), []
        for row in XS.astype(np.float64):
            ys.append((row * c).sum())
            c += ys[-1]
        return np.float32(c), np.float32(ys)

    check(lambda xs: F.scan(outer, F.ones(()), xs), reference(), XS, rtol=1e-4)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", np.int64(10))
        self.scale = nn.Parameter((), nn.init.constant(2.0))

    def forward(self, x):
        self.count = self.count + 1
        return x * self.scale * self.count


def test_state_in_a_scan_is_a_carry():
    model = Counter()

    def f(xs):
        return F.scan(lambda c, x: (c, model(x)), F.zeros(()), xs)[1]

    expected = XS * 2 * np.arange(11, 16, dtype=np.float32)[:, None]
    found, updates = run_with_updates(f, XS, model=model)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert updates == {"count": 15}
    np.testing.assert_allclose(f(XS), expected, rtol=1e-6)
    assert model.count == 15


def test_state_in_one_branch():
    model = Counter()

    def f(flag, x):
        return F.cond(flag, model, lambda t: t, x)

    x = np.float32(3)
    assert run_with_updates(f, np.bool_(True), x, model=model) == (66, {"count": 11})
    assert run_with_updates(f, np.bool_(False), x, model=model) == (3, {"count": 10})


def test_cond_with_structures_and_closed_over_values():
    def f(flag, x, y):
        return F.cond(flag, lambda t: (t["a"] + y, 1), lambda t: (t["a"] - x, 0.5), {"a": x})

    y = XS + 1
    check(f, (XS + y, np.float32(1)), np.bool_(True), XS, y)
    check(f, (XS - XS, np.float32(0.5)), np.bool_(False), XS, y)


def test_random_numbers_differ_between_iterations_and_repeat_between_runs():
    def f():
        return F.scan(lambda c, _: (c, F.random.uniform(size=(4,))), 0, length=3)[1]

    first, again = run_traced(f, seed=5), run_traced(f, seed=5)
    assert np.array_equal(first, again)
    assert len(np.unique(first)) == 12
    assert not np.array_equal(first, run_traced(f, seed=6))


def test_random_numbers_in_branches_and_inner_scans():
    def inner(c, _):
        return c, F.cond(c == 0, lambda: F.random.normal(size=(2,)), lambda: F.zeros(2))

    def f():
        return F.scan(lambda c, _: (c, F.scan(inner, 0, length=2)[1]), 0, length=3)[1]

    assert len(np.unique(run_traced(f))) == 12


@pytest.mark.parametrize(
    "function, error, text",
    [
        (lambda x: F.scan(lambda c, t: (c[:2], None), x[0], x), ShapeError, "carry starts as f32"),
        (lambda x: F.scan(lambda c, t: (c > 0, None), x[0], x), DTypeError, r"back as bool\[3\]"),
        (lambda x: F.scan(lambda c, t: ((c, c), None), x[0], x), TraceError, "comes back as"),
        (lambda x: F.scan(lambda c, t: c, x[0], x), TraceError, r"expected \(carry, y\)"),
        (lambda x: F.scan(lambda c, t: (c, t), 0, x, length=4), ShapeError, r"\[4, 5\]"),
        (lambda x: F.scan(lambda c, t: (c, t), 0), ShapeError, "not given"),
        (lambda x: F.cond(x, lambda: 1, lambda: 2), ShapeError, "expected a scalar"),
        (lambda x: F.cond(x[0, 0], lambda: (1,), lambda: 2), TraceError, "one structure"),
        (lambda x: F.cond(x[0, 0], lambda: x, lambda: x[0]), ShapeError, "in the false one"),
        (lambda x: F.cond(x[0, 0], lambda: x, lambda: x > 0), DTypeError, "result 0"),
    ],
)  # fmt: skip
def test_errors_name_what_was_given_and_the_line(function, error, text):
    with pytest.raises(error, match=text) as raised:
        graphc.trace(function, graphc.Spec((5, 3)))
    assert "(test_traced_control.py:" in str(raised.value)
