"""Initializers: bounds, moments, and independence of order and process."""

import math
import subprocess
import sys

import numpy as np
import pytest

from graphc import nn
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.nn.init import generator

SHAPE = (64, 32, 3, 3)
INPUTS, OUTPUTS = 32 * 9, 64 * 9

UNIFORM = {
    "uniform": (nn.init.uniform(-2, 2), 2),
    "xavier_uniform": (nn.init.xavier_uniform(2), 2 * math.sqrt(6 / (INPUTS + OUTPUTS))),
    "kaiming_uniform": (nn.init.kaiming_uniform(a=math.sqrt(5)), 1 / math.sqrt(INPUTS)),
    "fan_out": (
        nn.init.kaiming_uniform(mode="fan_out", nonlinearity="relu"),
        math.sqrt(6 / OUTPUTS),
    ),
}  # fmt: skip
NORMAL = {
    "normal": (nn.init.normal(1, 2), 1, 2),
    "xavier_normal": (nn.init.xavier_normal(), 0, math.sqrt(2 / (INPUTS + OUTPUTS))),
    "kaiming_normal": (nn.init.kaiming_normal(nonlinearity="tanh"), 0, 5 / 3 / math.sqrt(INPUTS)),
}


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform_within_its_bounds(name):
    initializer, bound = UNIFORM[name]
    elements = initializer(SHAPE, generator(0, "w"))
    assert 0.99 * bound < abs(elements).max() <= bound
    assert abs(elements.std() - bound / math.sqrt(3)) < 0.01 * bound


@pytest.mark.parametrize("name", NORMAL)
def test_normal_with_its_moments(name):
    initializer, mean, deviation = NORMAL[name]
    elements = initializer(SHAPE, generator(0, "w"))
    assert abs(elements.mean() - mean) < 0.03 * deviation
    assert abs(elements.std() / deviation - 1) < 0.02


def test_truncated_normal():
    elements = nn.init.trunc_normal(0, 1, -1, 0.5)((4000,), generator(0, "w"))
    assert elements.min() >= -1 and elements.max() <= 0.5
    assert abs(elements.mean() + 0.2073) < 0.03  # (phi(-1) - phi(1/2)) / (Phi(1/2) - Phi(-1))
    with pytest.raises(ArgumentError, match="less than 1 %"):
        nn.init.trunc_normal(0, 1, 5, 6)((3,), generator(0, "w"))


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (3, 2, 2)])
def test_orthogonal(shape):
    matrix = nn.init.orthogonal(2)(shape, generator(0, "w")).reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_plain_ones():
    random = generator(0, "w")
    assert nn.init.zeros()((2,), random).tolist() == [0, 0]
    assert nn.init.ones()((2,), random).tolist() == [1, 1]
    assert nn.init.constant(3)((2,), random).tolist() == [3, 3]
    assert nn.init.eye()((2, 3), random).tolist() == [[1, 0, 0], [0, 1, 0]]


def test_errors():
    random = generator(0, "w")
    with pytest.raises(ShapeError, match="no inputs and outputs"):
        nn.init.xavier_uniform()((3,), random)
    with pytest.raises(ArgumentError, match="no gain for 'swish'"):
        nn.init.kaiming_normal(nonlinearity="swish")((3, 3), random)
    with pytest.raises(ArgumentError, match="mode is 'both'"):
        nn.init.kaiming_normal(mode="both")((3, 3), random)


def test_another_process_draws_the_same():
    code = (
        "from graphc import nn; m = nn.Sequential(nn.Linear(3, 2)); m.make_state(seed=5);"
        "print(m.state_dict()['0.weight'].tobytes().hex())"
    )
    model = nn.Sequential(nn.Linear(3, 2))
    model.make_state(seed=5)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == model.state_dict()["0.weight"].tobytes().hex()
