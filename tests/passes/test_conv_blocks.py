"""Blocks of convolution and pooling against the same model with recognise{conv_pool=false}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import Spec
from graphc.passes.pipelines import DEFAULT
from graphc.passes.recognise import Recognise

Array = np.ndarray[Any, Any]
Model = Callable[..., Any]

APART = tuple(Recognise(conv_pool=False) if p.name == "recognise" else p for p in DEFAULT)


def relu_max(x: Any, w: Any, b: Any) -> Any:
    return F.max_pool2d(F.relu(F.conv2d(x, w, b)), 2)


def max_relu_padded(x: Any, w: Any, b: Any) -> Any:
    return F.relu(F.max_pool2d(F.conv2d(x, w, b, padding=1), (2, 3)))


def strided_grouped(x: Any, w: Any, b: Any) -> Any:
    x = F.concat([x, x], axis=1)
    return F.max_pool2d(F.relu(F.conv2d(x, w, b, stride=2, padding=2, groups=2)), 2, 3)


def dilated_tanh(x: Any, w: Any, b: Any) -> Any:
    return F.max_pool2d(F.tanh(F.conv2d(x, w, b, dilation=2)), 2)


def leaky(x: Any, w: Any, b: Any) -> Any:
    return F.max_pool2d(F.leaky_relu(F.conv2d(x, w, b), 0.1), 3)


def no_bias(x: Any, w: Any, b: Any) -> Any:
    return F.max_pool2d(F.conv2d(x, w), 2) + F.sum(b)


def max_softplus(x: Any, w: Any, b: Any) -> Any:
    return F.max_pool2d(F.softplus(F.conv2d(x, w, b)), 2)


def max_elu(x: Any, w: Any, b: Any) -> Any:
    return F.max_pool2d(F.elu(F.conv2d(x, w, b), 0.7), 2)


def average_relu(x: Any, w: Any, b: Any) -> Any:
    return F.avg_pool2d(F.relu(F.conv2d(x, w, b)), 2)


def average(x: Any, w: Any, b: Any) -> Any:
    return F.avg_pool2d(F.conv2d(x, w, b), 3)


def average_large(x: Any, w: Any, b: Any) -> Any:
    return F.avg_pool2d(F.relu(F.conv2d(x, w, b)), 6)


MODELS = (
    relu_max,
    max_relu_padded,
    strided_grouped,
    dilated_tanh,
    leaky,
    no_bias,
    max_softplus,
    max_elu,
    average_relu,
    average,
    average_large,
)
SHAPES = ((2, 3, 13, 12), (6, 3, 3, 3), (6,))


def arrays(seed: int = 0) -> list[Array]:
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape).astype(np.float32) for shape in SHAPES]


def compiled(function: Model, apart: bool, backend: str = "cpu") -> Any:
    passes = APART if apart else DEFAULT
    return graphc.compile(function, *map(Spec, SHAPES), backend=backend, passes=passes)


def is_joined(program: Any) -> bool:
    return any("conv_pool2d" in launch.ops for launch in program.launches)


def special(values: Array) -> Array:
    """Whole numbers, so that there are ties; NaN, infinities and zeros of either sign."""
    values = np.round(values)
    values[0, 0, 2, 3], values[0, 1, 7:9, 5] = np.nan, np.inf
    values[1, :, :4] = -0.0
    return values


@pytest.mark.parametrize("backend", ["cpu", "interpreter"])
@pytest.mark.parametrize("model", MODELS)
def test_values_are_those_of_the_parts_to_the_bit(model: Model, backend: str) -> None:
    joined, apart = (compiled(model, apart, backend) for apart in (False, True))
    assert is_joined(joined)
    assert not is_joined(apart)
    x, w, b = arrays()
    cases = [(x, w, b), (special(x), np.round(w), np.round(b))]
    for case in cases:
        got, want = np.asarray(joined(*case)), np.asarray(apart(*case))
        np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_those_of_the_parts(model: Model) -> None:
    def loss(x: Any, w: Any, b: Any) -> Any:
        y = model(x, w, b)
        return F.sum(F.sin(y) * y)

    gradient = graphc.grad(loss, argnums=(0, 1, 2))
    joined, apart = (compiled(gradient, apart) for apart in (False, True))
    assert is_joined(joined)
    for got, want in zip(joined(*arrays()), apart(*arrays()), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-5 * np.abs(want).max())


@pytest.mark.parametrize("model", [relu_max, average_relu])
def test_no_gradient_passes_where_relu_is_off_and_ties_take_the_first(model: Model) -> None:
    gradient = graphc.grad(lambda x, w, b: F.sum(model(x, w, b) * 3), argnums=(0, 1, 2))
    joined, apart = (compiled(gradient, apart) for apart in (False, True))
    x, w, _ = arrays()
    x[0] = np.round(x[0] * 0.3)
    case = x, np.round(w * 0.3), np.array([0, -1, 1, -100, 0, 0], np.float32)
    for got, want in zip(joined(*case), apart(*case), strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("model", [relu_max, dilated_tanh, average_relu])
def test_the_gradient_of_a_gradient(model: Model) -> None:
    def loss(x: Any, w: Any, b: Any) -> Any:
        y = model(x, w, b)
        return F.sum(y * y * y)

    def twice(x: Any, w: Any, b: Any) -> Any:
        def squares(*operands: Any) -> Any:
            dx, dw = graphc.grad(loss, argnums=(0, 1))(*operands)
            return F.sum(dx * dx) + F.sum(dw * dw)

        return graphc.grad(squares, argnums=(0, 1, 2))(x, w, b)

    joined, apart = (compiled(twice, apart) for apart in (False, True))
    assert is_joined(joined)
    for got, want in zip(joined(*arrays()), apart(*arrays()), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


def test_threads_share_a_block_to_the_bit() -> None:
    programs = [graphc.compile(relu_max, *map(Spec, SHAPES), threads=threads) for threads in (1, 2)]
    one, two = (program(*arrays()) for program in programs)
    np.testing.assert_array_equal(one, two)


def test_a_window_of_one_element_is_no_block() -> None:
    def picked(x: Any, w: Any, b: Any) -> Any:
        return F.avg_pool2d(F.relu(F.conv2d(x, w, b, padding=1)), 1)

    joined, apart = (compiled(picked, apart) for apart in (False, True))
    assert not is_joined(joined)
    np.testing.assert_array_equal(np.asarray(joined(*arrays())), np.asarray(apart(*arrays())))


Between = Callable[[Any], Any]


@pytest.mark.parametrize(
    "between, told",
    [
        (F.gelu, "the derivative of gelu needs the map"),
        (F.relu6, "between them may stand a bias and one activation"),
        (
            lambda y: F.relu(F.batch_norm(y, None, None, training=True)),
            "batch_norm, relu, max_pool",
        ),
        (lambda y: F.relu(y + F.roll(y, 1, 0)), "add, add, relu, max_pool2d not joined"),
        (lambda y: F.softplus(y, threshold=1), "the derivative of softplus needs the map"),
    ],
)
def test_what_keeps_a_pooling_from_its_convolution_is_told(between: Between, told: str) -> None:
    program = compiled(lambda x, w, b: F.max_pool2d(between(F.conv2d(x, w, b)), 2), apart=False)
    assert not is_joined(program)
    assert any(told in remark.text for remark in program.stage("fused").remarks)


def test_a_convolution_far_from_its_pooling_is_not_told_of() -> None:
    def far(x: Any, w: Any, b: Any) -> Any:
        y = F.conv2d(x, w, b)
        return F.max_pool2d(F.transpose(y, (0, 1, 3, 2)), 2)

    assert not any("pool" in r.text for r in compiled(far, apart=False).stage("optimized").remarks)


def shaped(x: tuple[int, ...], filters: int, size: int, padding: int) -> Any:
    """A block's forward, compiled for these shapes, and arguments for it."""

    def block(x: Any, w: Any, b: Any) -> Any:
        return F.max_pool2d(F.relu(F.conv2d(x, w, b, padding=padding)), 2)

    shapes = x, (filters, x[1], size, size), (filters,)
    random = np.random.default_rng(1)
    arguments = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    programs = [graphc.compile(block, *map(Spec, shapes), passes=p) for p in (DEFAULT, APART)]
    return programs, arguments


@pytest.mark.parametrize(
    "x, filters, size, padding, told",
    [
        ((4, 512, 7, 7), 64, 3, 1, "sums of 4608 products"),
        ((1, 160, 10, 10), 64, 3, 0, "sums of 1440 products"),
        ((4, 64, 8, 8), 64, 3, 1, "would fetch 4128768 bytes of weights again"),
        ((1, 32, 14, 14), 32, 3, 1, "to store and read the map's 25088 bytes"),
    ],
)
def test_a_block_that_would_fetch_its_weights_again_is_refused(
    x: tuple[int, ...], filters: int, size: int, padding: int, told: str
) -> None:
    (chosen, apart), arguments = shaped(x, filters, size, padding)
    assert not is_joined(chosen)
    assert any(told in remark.text for remark in chosen.stage("fused").remarks)
    np.testing.assert_array_equal(chosen(*arguments), apart(*arguments))


@pytest.mark.parametrize(
    "x, filters, size, padding",
    [
        ((16, 16, 14, 14), 64, 3, 1),  # few weights for a map's bytes
        ((2, 32, 16, 16), 32, 3, 0),  # no border
        ((8, 64, 56, 56), 64, 3, 1),  # a map that outgrows the second cache
        ((4, 64, 7, 7), 64, 3, 1),  # positions that no window covers are not computed
        ((1, 256, 10, 10), 8, 3, 0),  # long sums of few filters
    ],
)
def test_a_block_whose_map_costs_more_is_joined(
    x: tuple[int, ...], filters: int, size: int, padding: int
) -> None:
    (chosen, apart), arguments = shaped(x, filters, size, padding)
    assert is_joined(chosen)
    np.testing.assert_array_equal(chosen(*arguments), apart(*arguments))
