"""Attention layers beside torch's (stored by bench/attention_reference.py), dropout and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, ShapeError
from tests.frontends.nn.references import Array, Case, filled, load

SDPA = "scaled_dot_product_attention"


REFERENCE = load("attention")


def name_of(case: Case) -> str:
    call = [f"{name}={value}" for name, value in case.get("call", {}).items()]
    return "-".join([case["layer"], *call])


def mask(name: str, case: Case, option: str) -> Array:
    """As in bench/attention_reference.py."""
    shapes = case["inputs"]
    if case["layer"] == SDPA:
        queries, keys = shapes[0][-2], shapes[1][-2]
        seen = (np.arange(queries)[:, None] * 3 + np.arange(keys) * 5) % 4 != 1
        return seen if name == "scores" else filled((2, 1, queries, keys), 9)
    axis = 1 if case["options"].get("batch_first") else 0
    of_keys = shapes[0] if option.startswith(("src", "tgt")) else shapes[-1]
    keys = of_keys[axis]
    if option == "tgt_mask":
        keys = shapes[-1 if case["layer"] == "Transformer" else 0][axis]
    if name == "padding":
        return np.array([[False] * keys, [False] * (keys - 2) + [True] * 2])
    later = np.triu(np.ones((keys, keys), bool), 1)
    if name == "causal":
        return later
    if name == "by_head":
        return np.stack([later, later.T, later, later & False])
    return np.asarray(np.where(later, -np.inf, 0.0))


class Weighted(nn.Module):
    """A layer on its inputs, and the sum of what it gives, element i weighted by cos(i)."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.case = case
        if case["layer"] != SDPA:
            self.layer = getattr(nn, case["layer"])(**case["options"], dtype="float64")

    def forward(self, *inputs: Any) -> tuple[Any, list[Any]]:
        case = self.case
        call = {
            name: F.asarray(mask(value, case, name)) if isinstance(value, str) else value
            for name, value in case.get("call", {}).items()
        }
        function: Any = F.scaled_dot_product_attention if case["layer"] == SDPA else self.layer
        given = [inputs[n] for n in case.get("roles", range(len(inputs)))]
        outputs = function(*given, **call)
        found = [
            y for y in (outputs if isinstance(outputs, tuple) else (outputs,)) if y is not None
        ]
        terms = [F.sum(y * np.cos(np.arange(y.size)).reshape(y.shape)) for y in found]
        return sum(terms[1:], terms[0]), found


def prepared(case: Case, arrays: dict[str, Array]) -> tuple[Weighted, list[Array]]:
    model = Weighted(case)
    names = [name for name, _ in model.named_parameters()]
    expected = [n for n in arrays if n.startswith("grad.") and not n.startswith("grad.input.")]
    assert names == [n.replace("grad.", "layer.") for n in expected]
    elements = {
        name: filled(arrays[grad].shape, number)
        for number, (name, grad) in enumerate(zip(names, expected, strict=True))
    }
    model.load_state_dict(elements)
    return model, [filled(shape, number) for number, shape in enumerate(case["inputs"])]


@pytest.mark.parametrize(("case", "arrays"), REFERENCE, ids=[name_of(c) for c, _ in REFERENCE])
def test_outputs_and_input_gradients_are_torchs(case: Case, arrays: dict[str, Array]) -> None:
    model, inputs = prepared(case, arrays)

    def both(*given: Any) -> Any:
        return graphc.value_and_grad(model, argnums=tuple(range(len(inputs))), has_aux=True)(*given)

    specs = [graphc.Spec(x.shape, "float64") for x in inputs]
    (_, outputs), gradients = graphc.compile(both, *specs, model=model)(*inputs)
    for number, output in enumerate(outputs):
        close(output, arrays[f"output.{number}"])
    for number, gradient in enumerate(gradients):
        close(gradient, arrays[f"grad.input.{number}"])


LAYERS = [(case, arrays) for case, arrays in REFERENCE if case["layer"] != SDPA]


@pytest.mark.parametrize(("case", "arrays"), LAYERS, ids=[name_of(c) for c, _ in LAYERS])
def test_parameter_gradients_are_torchs_unfused(case: Case, arrays: dict[str, Array]) -> None:
    """A step of size 1 takes the gradient off each parameter."""
    model, inputs = prepared(case, arrays)
    before = model.state_dict()
    specs = [graphc.Spec(x.shape, "float64") for x in inputs]
    step = graphc.TrainStep(
        model,
        lambda m, *xs: m(*xs)[0],
        optim.SGD(lr=1.0),
        *specs,
        backend="interpreter",
        fuse=False,
    )
    step(*inputs)
    after = model.state_dict()
    for name, start in before.items():
        close(start - after[name], arrays[name.replace("layer.", "grad.")], 1e-11)


def close(found: Any, expected: Array, absolute: float = 1e-12) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=absolute)


attend: Any = F.scaled_dot_product_attention


def example(*shape: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


Q, K, V = example(2, 4, 5, 6, seed=1), example(2, 4, 7, 6, seed=2), example(2, 4, 7, 3, seed=3)


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("fuse", [True, False])
def test_a_query_that_sees_no_key_gives_zeros_and_no_gradient(kind: str, fuse: bool) -> None:
    seen = np.ones((5, 7), bool)
    seen[2] = False
    mask = seen if kind == "bool" else np.where(seen, 0.0, -np.inf)

    def loss(q: Any, k: Any, v: Any) -> Any:
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return F.sum(y * y), y

    function = graphc.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    specs = [graphc.Spec(x.shape, "float64") for x in (Q, K, V)]
    (_, y), gradients = graphc.compile(function, *specs, fuse=fuse)(Q, K, V)
    assert np.all(y[:, :, 2] == 0) and np.all(gradients[0][:, :, 2] == 0)
    assert all(np.all(np.isfinite(gradient)) for gradient in gradients)
    assert np.all(y[:, :, 1] != 0)


def test_an_additive_mask_has_a_gradient() -> None:
    bias = example(4, 5, 7, seed=4)

    def loss(mask: Any) -> Any:
        y = F.scaled_dot_product_attention(Q, K, V, attn_mask=mask)
        return F.sum(y * np.cos(np.arange(y.size)).reshape(y.shape))

    gradient = graphc.grad(loss)(bias)
    step = np.zeros_like(bias)
    step[1, 2, 3] = 1e-6
    slope = (loss(bias + step) - loss(bias - step)) / 2e-6
    assert gradient[1, 2, 3] == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_dropout_is_the_same_fused_and_unfused_and_in_the_gradient(rate: float) -> None:
    """The weights that a layer returns are those that met the values."""

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, dropout=rate, dtype="float64")

        def forward(self, x: Any) -> Any:
            y, weights = self.attention(x, x, x, average_attn_weights=False)
            return F.sum(y * y), (y, weights)

    x = example(70, 3, 6, seed=5)
    found = []
    for fuse in (True, False):
        model = Layer()
        function = graphc.value_and_grad(model, has_aux=True)
        program = graphc.compile(
            function, graphc.Spec(x.shape, "float64"), model=model, fuse=fuse, seed=3
        )
        (_, (y, weights)), gradient = program(x)
        found.append((y, weights, gradient))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    share = np.mean(found[0][1] == 0)
    assert abs(share - rate) < 0.05


def test_rows_and_keys_of_several_blocks_agree_with_the_unfused() -> None:
    q, k, v = (example(1, 2, n, 8, seed=n).astype(np.float32) for n in (130, 200, 200))

    def loss(q: Any, k: Any, v: Any) -> Any:
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return F.sum(y * y), y

    function = graphc.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    specs = [graphc.Spec(x.shape) for x in (q, k, v)]
    fused, unfused = (graphc.compile(function, *specs, fuse=f)(q, k, v) for f in (True, False))
    np.testing.assert_allclose(fused[0][1], unfused[0][1], rtol=2e-5, atol=1e-6)
    for a, b in zip(fused[1], unfused[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    "shape", [(5, 7), (4, 5, 7), (3, 4, 5, 7), (2, 3, 1, 5, 7), (2, 1, 4, 5, 7), (1, 3, 1, 1, 7)]
)
def test_masks_broadcast_over_more_leading_dimensions(shape: tuple[int, ...]) -> None:
    q, k, v = (example(2, 3, 4, *end, seed=n) for n, end in enumerate([(5, 6), (7, 6), (7, 2)]))
    seen = np.random.default_rng(4).random(shape) < 0.7
    seen[..., 0] = True
    scores = np.where(seen, q @ k.swapaxes(-1, -2) / np.sqrt(6), -np.inf)
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    close(attend(q, k, v, attn_mask=seen), powers / powers.sum(-1, keepdims=True) @ v)


@pytest.mark.parametrize(
    ("shapes", "options", "message"),
    [
        ([(2, 3), (4, 5), (4, 2)], {}, "expected"),
        ([(4, 2, 3), (2, 5, 3), (2, 5, 3)], {}, "enable_gqa"),
        ([(3, 2, 3), (2, 5, 3), (2, 5, 3)], {"enable_gqa": True}, "multiple"),
        ([(2, 3), (4, 3), (4, 2)], {"attn_mask": np.ones((3, 4), bool)}, "broadcast"),
        ([(3,), (4, 3), (4, 2)], {}, "rank"),
    ],
)
def test_operands_that_do_not_fit_are_named(
    shapes: list[tuple[int, ...]], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        attend(*(np.zeros(shape, np.float32) for shape in shapes), **options)


@pytest.mark.parametrize(
    ("masks", "error", "words"),
    [
        (
            {"key_padding_mask": np.zeros((2, 3), int)},
            DTypeError,
            r"key_padding_mask is i64\[2,3\]",
        ),
        ({"attn_mask": np.zeros((3, 3), int)}, DTypeError, "attn_mask is .* expected bool, true"),
        ({"key_padding_mask": np.zeros((3, 2), bool)}, ShapeError, r"expected \[2, 3\]"),
    ],
)
def test_masks_that_could_mean_anything_are_refused(
    masks: dict[str, Any], error: type[Exception], words: str
) -> None:
    layer, x = nn.MultiheadAttention(4, 2, batch_first=True), np.zeros((2, 3, 4), np.float32)
    with pytest.raises(error, match=f"MultiheadAttention: .*{words}"):
        layer(x, x, x, **masks)


def test_options_that_do_not_fit_are_named() -> None:
    with pytest.raises(ArgumentError, match="dropout_p"):
        attend(Q, K, V, dropout_p=1.5)
    with pytest.raises(ArgumentError, match="multiple"):
        nn.MultiheadAttention(8, 3)
    with pytest.raises(ArgumentError, match="relu"):
        nn.TransformerEncoderLayer(8, 2, activation="step")


def test_positions() -> None:
    x = example(2, 3, 5, 4, seed=6)
    turned = nn.RotaryPositions(8, 4)(x)
    np.testing.assert_allclose(turned[..., 0, :], x[..., 0, :])
    a, b = np.ones(4), np.arange(4.0)
    at = nn.RotaryPositions(8, 4)(np.stack([a, a, a, a]))
    other = nn.RotaryPositions(8, 4)(np.stack([b, b, b, b]))
    # A product depends on the distance of its positions alone.
    assert at[0] @ other[2] == pytest.approx(at[1] @ other[3])
    assert nn.SinusoidalPositions(8, 4)(x) - x == pytest.approx(
        np.broadcast_to(nn.SinusoidalPositions(8, 4)(np.zeros((5, 4))), x.shape)
    )
    with pytest.raises(ShapeError, match="positions"):
        nn.LearnedPositions(4, 4)(x)
