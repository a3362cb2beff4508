"""Adapters: what they compute, which parameters change, merging, and mistakes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from traced import normal

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.errors import ArgumentError

Array = np.ndarray[Any, Any]


def attention(**options: Any) -> Callable[[], nn.Module]:
    return lambda: SelfAttention(nn.MultiheadAttention(8, 2, batch_first=True, **options))


class SelfAttention(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Any, memory: Any = None) -> Any:
        key = x if memory is None else memory
        return self.attention(x, key, key, need_weights=False)[0]


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...], tuple[tuple[int, ...], ...]]] = {
    "linear": (lambda: nn.Sequential(nn.Linear(6, 5)), ("0",), ((3, 4, 6),)),
    "no bias": (lambda: nn.Sequential(nn.Linear(6, 5, bias=False)), ("0",), ((3, 6),)),
    "conv2d": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1)),
        ("0",),
        ((2, 3, 7, 6),),
    ),
    "groups": (
        lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, padding="same", dilation=2)),
        ("0",),
        ((2, 4, 6, 6),),
    ),
    "depthwise": (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)), ("0",), ((2, 4, 5, 5),)),
    "circular": (
        lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")),
        ("0",),
        ((2, 2, 4, 4),),
    ),
    "conv1d": (lambda: nn.Sequential(nn.Conv1d(3, 4, 3, padding=1)), ("0",), ((2, 3, 7),)),
    "attention": (attention(), ("*.?_proj", "*.out_proj"), ((2, 5, 8),)),
    "query and value": (attention(), ("*.q_proj", "*.v_proj"), ((2, 5, 8),)),
    "cross attention": (attention(), ("*.[qk]_proj",), ((2, 5, 8), (2, 3, 8))),
    "grouped": (attention(num_kv_heads=1), ("*.?_proj",), ((2, 5, 8),)),
    "other widths": (attention(kdim=6, vdim=6), ("*_proj",), ((2, 5, 8), (2, 3, 6))),
}


def made(name: str) -> tuple[nn.Module, list[Array]]:
    """A model in float64, and inputs for it."""
    make, _, shapes = LAYERS[name]
    model = make().double()
    model.make_state(seed=1)
    return model, [normal(*shape).astype(np.float64) for shape in shapes]


def adapted(name: str, **options: Any) -> tuple[nn.Module, list[Array]]:
    """The same with low-rank matrices that are drawn, none of them zero."""
    model, inputs = made(name)
    nn.lora(model, *LAYERS[name][1], **options)
    model.make_state(seed=2)
    fill(model)
    return model, inputs


def fill(model: nn.Module) -> None:
    random = np.random.default_rng(3)
    for _, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = random.normal(size=parameter.shape).astype(parameter.dtype.numpy)


@pytest.mark.parametrize("name", LAYERS)
def test_lora_begins_as_the_base_bit_for_bit(name: str) -> None:
    model, inputs = made(name)
    expected = model(*inputs)
    attached = nn.lora(model, *LAYERS[name][1], rank=2)
    np.testing.assert_array_equal(model(*inputs), expected)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sorted(names) == sorted(f"{n}.lora_{x}" for n in attached.layers for x in "AB")
    assert attached.trained == attached.parameters == sum(map(size_of(model), names))


@pytest.mark.parametrize("name", ["linear", "conv2d", "groups", "attention"])
def test_compiled_lora_begins_as_the_compiled_base_and_follows_its_meaning(name: str) -> None:
    make, patterns, shapes = LAYERS[name]
    model, inputs = make(), [normal(*shape) for shape in shapes]
    model.make_state(seed=1)
    specs = [graphc.Spec(shape) for shape in shapes]
    expected = graphc.compile(model, *specs)(*inputs)
    nn.lora(model, *patterns, rank=2, alpha=3.0)
    program = graphc.compile(model, *specs)
    np.testing.assert_array_equal(program(*inputs), expected)
    fill(model)
    np.testing.assert_allclose(program(*inputs), model(*inputs), rtol=1e-4, atol=1e-4)


def size_of(model: nn.Module) -> Callable[[str], int]:
    return lambda name: model.get_parameter(name).size


@pytest.mark.parametrize("name", LAYERS)
def test_merged_equals_unmerged_and_comes_apart_exactly(name: str) -> None:
    model, inputs = adapted(name, rank=3, alpha=6.0)
    before, names = model.state_dict(), list(made(name)[0].state_dict())
    expected = model(*inputs)
    assert np.abs(expected - made(name)[0](*inputs)).max() > 0.1
    nn.merge_lora(model)
    assert list(model.state_dict()) == names  # as the base model's, in its order
    np.testing.assert_allclose(model(*inputs), expected, rtol=1e-11, atol=1e-12)
    nn.unmerge_lora(model)
    for key, elements in model.state_dict().items():
        np.testing.assert_array_equal(elements, before[key])
    np.testing.assert_array_equal(model(*inputs), expected)


def test_new_matrices_on_a_merged_weight_are_not_overwritten() -> None:
    model, (x,) = adapted("linear", rank=3)
    nn.merge_lora(model)
    merged = model(x)
    nn.lora(model, "0", rank=2)
    with pytest.raises(ArgumentError, match="0 carries new matrices"):
        nn.unmerge_lora(model)
    np.testing.assert_array_equal(model(x), merged)
    nn.remove_adapters(model)
    nn.unmerge_lora(model)
    np.testing.assert_array_equal(model(x), adapted("linear", rank=3)[0](x))


def test_lora_of_a_linear_by_hand() -> None:
    model, (x,) = adapted("linear", rank=2, alpha=5.0)
    a, b = (model.get_parameter(f"0.lora_{n}").data for n in "AB")
    weight, bias = model.get_parameter("0.weight").data, model.get_parameter("0.bias").data
    np.testing.assert_allclose(model(x), x @ (weight + 5.0 / 2 * b @ a).T + bias, rtol=1e-12)


def test_dropout_is_that_of_the_low_rank_input_in_training_only() -> None:
    model, (x,) = adapted("linear", rank=2, dropout=0.5)
    without, _ = adapted("linear", rank=2)
    np.testing.assert_array_equal(model.eval()(x), without.eval()(x))
    assert not np.array_equal(model.train()(x), without.train()(x))


def test_merging_leaves_programs_that_are_compiled_as_they_were() -> None:
    model = nn.Sequential(nn.Linear(6, 5))
    model.make_state(seed=1)
    nn.lora(model, "0", rank=2)
    fill(model)
    x = normal(3, 6)
    program = graphc.compile(model, graphc.Spec((3, 6)))
    expected = program(x)
    nn.merge_lora(model)
    np.testing.assert_allclose(program(x), expected, rtol=1e-5, atol=1e-5)
    plain = graphc.compile(model, graphc.Spec((3, 6)))
    assert len(plain.launches) == 1
    np.testing.assert_allclose(plain(x), expected, rtol=1e-5, atol=1e-5)
    nn.unmerge_lora(model)
    np.testing.assert_array_equal(program(x), expected)


def test_gradients_of_the_matrices_are_those_of_the_merged_weight() -> None:
    """dA = s Bᵀ dW and dB = s dW Aᵀ, where dW is the gradient of the whole weight."""
    for name in ("linear", "conv2d", "attention"):
        model, inputs = adapted(name, rank=2, alpha=3.0)
        merged, factors = copy.deepcopy(model), model.state_dict()
        found = sgd_gradients(model, inputs)
        nn.merge_lora(merged)
        merged.unfreeze()
        whole = sgd_gradients(merged, inputs)
        for layer in {key.rpartition(".")[0] for key in found}:
            dw = part_of(whole, layer)
            a, b = (factors[f"{layer}.lora_{n}"] for n in "AB")
            flat_a, flat_b, dw = a.reshape(2, -1), b.reshape(-1, 2), dw.reshape(len(b), -1)
            np.testing.assert_allclose(
                found[f"{layer}.lora_A"].reshape(2, -1), 1.5 * flat_b.T @ dw, rtol=1e-8, atol=1e-9
            )
            np.testing.assert_allclose(
                found[f"{layer}.lora_B"].reshape(-1, 2), 1.5 * dw @ flat_a.T, rtol=1e-8, atol=1e-9
            )


def sgd_gradients(model: nn.Module, inputs: list[Array]) -> dict[str, Array]:
    """What a step of SGD with rate 1 takes away."""
    specs = [graphc.Spec(x.shape, "float64") for x in inputs]
    loss = lambda model, *xs: F.sum(F.sin(model(*xs)))  # noqa: E731  # as users write it
    step = graphc.TrainStep(model, loss, optim.SGD(lr=1.0), *specs, backend="interpreter")
    before = model.state_dict()
    step(*inputs)
    after = model.state_dict()
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    return {name: before[name] - after[name] for name in trained}


def part_of(gradients: dict[str, Array], layer: str) -> Array:
    """The gradient of a layer's weight, or of a projection's rows."""
    parent, _, own = layer.rpartition(".")
    if own in ("q_proj", "k_proj", "v_proj"):
        rows = np.split(gradients[f"{parent}.in_proj_weight"], 3)
        return rows["qkv".index(own[0])]
    return gradients[f"{layer}.weight"]


@pytest.mark.parametrize("fuse", [True, False])
def test_only_adapters_change_and_only_they_have_moments(fuse: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 8))
    model.append(nn.Linear(8, 3))
    nn.lora(model, "0", "3", rank=2)
    model.unfreeze("4.bias")
    step = graphc.TrainStep(
        model,
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.Adam(lr=0.01),
        graphc.Spec((5, 1, 4, 4)),
        graphc.Spec((5,), "int32"),
        fuse=fuse,
    )
    before, trained = model.state_dict(), {"0.lora_A", "0.lora_B", "3.lora_A", "3.lora_B", "4.bias"}
    for _ in range(3):
        step(normal(5, 1, 4, 4), np.arange(5) % 3)
    after = model.state_dict()
    assert {n for n in after if not np.array_equal(after[n], before[n])} == trained
    moments = {
        n.removeprefix("optimizer.").rpartition(".")[0] for n in step.state if "exp_avg" in n
    }
    assert moments == trained


def test_bottlenecks_begin_as_the_base_and_follow_the_formula() -> None:
    model = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    model.make_state(seed=1)
    x = normal(2, 5, 8)
    expected = model(x)
    attached = nn.bottleneck(model, "*.out_proj", "linear2", width=3)
    assert attached.layers == ("self_attn.out_proj", "linear2")
    np.testing.assert_array_equal(model(x), expected)
    single = nn.Sequential(nn.Linear(4, 5))
    nn.bottleneck(single, "0", width=2, activation="relu")
    single.make_state()
    fill(single)
    state, x = single.state_dict(), normal(3, 4)
    y = x @ state["0.weight"].T + state["0.bias"]
    down = y @ state["0.bottleneck_down"].T + state["0.bottleneck_down_bias"]
    up = np.maximum(down, 0) @ state["0.bottleneck_up"].T + state["0.bottleneck_up_bias"]
    np.testing.assert_allclose(single(x), y + up, rtol=1e-5, atol=1e-6)


def by_hand(q: Array, k: Array, v: Array, hidden: Array) -> Array:
    """Attention in two heads of four, float64."""
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = q[:, part] @ k[:, part].T / 2
        scores[hidden] = -np.inf
        shares = np.exp(scores - scores.max(1, keepdims=True))
        heads.append(shares / shares.sum(1, keepdims=True) @ v[:, part])
    return np.concatenate(heads, axis=1)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": True}])
def test_a_prefix_is_looked_at_by_every_query(options: dict[str, Any]) -> None:
    layer = nn.MultiheadAttention(8, 2, batch_first=True).double()
    nn.prefix(layer, "*", length=3)
    layer.make_state(seed=1)
    fill(layer)
    x = normal(1, 5, 8).astype(np.float64)
    later = np.triu(np.ones((5, 5), bool), 1)
    hidden = np.zeros((5, 8), bool)
    if options:
        hidden[:, :5] = later
    given = {**options, "attn_mask": later} if "attn_mask" in options else options
    found, weights = layer(x, x, x, **given)
    state = layer.state_dict()
    q, k, v = np.split(x[0] @ state["in_proj_weight"].T, 3, axis=1)
    k, v = np.concatenate([k, state["prefix_k"]]), np.concatenate([v, state["prefix_v"]])
    expected = by_hand(q, k, v, hidden) @ state["out_proj.weight"].T
    np.testing.assert_allclose(found[0], expected, rtol=1e-10, atol=1e-12)
    assert weights.shape == (1, 5, 8)


def test_a_prefix_learns_alone() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
    nn.prefix(layer, "self_attn", length=4)
    step = graphc.TrainStep(
        layer,
        lambda model, x: F.mean((model(x) - 1.0) ** 2),
        optim.Adam(lr=0.05),
        graphc.Spec((2, 5, 8)),
    )
    x = normal(2, 5, 8)
    before = layer.state_dict()
    losses = [float(step(x)) for _ in range(30)]
    assert losses[-1] < losses[0]
    after = layer.state_dict()
    changed = {n for n in after if not np.array_equal(after[n], before[n])}
    assert changed == {"self_attn.prefix_k", "self_attn.prefix_v"}


def test_several_adapters_stand_on_one_layer_and_come_off() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    model.make_state(seed=1)
    names, x = list(model.state_dict()), normal(3, 4)
    expected = model(x)
    nn.lora(model, "*", rank=2)
    nn.bottleneck(model, "0", width=2)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert len(trained) == 2 * 2 + 4 and "lora(rank=2" in repr(model)
    fill(model)
    assert not np.array_equal(model(x), expected)
    twin = copy.deepcopy(model)
    np.testing.assert_array_equal(twin(x), model(x))
    nn.remove_adapters(model)
    np.testing.assert_array_equal(model(x), expected)
    assert list(model.state_dict()) == names
    assert not np.array_equal(twin(x), expected)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.inner, self.out = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        self.out.weight = self.embed.weight


def test_patterns_that_match_nothing_fit_are_named() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    can = "Linear, Conv1d, Conv2d and the q_proj, k_proj and v_proj of MultiheadAttention can carry"
    with pytest.raises(ArgumentError, match=r"nn\.lora: no layer matches 'head'") as raised:
        nn.lora(model, "0", "head")
    assert can in str(raised.value) and "there are 0" in str(raised.value)
    with pytest.raises(ArgumentError, match=r"'1' matches LayerNorm \(1\)"):
        nn.lora(model, "1")
    with pytest.raises(ArgumentError, match="no pattern says which layers"):
        nn.lora(model)
    with pytest.raises(ArgumentError, match=r"nn\.prefix: .*every nn\.PrefixedAttention can"):
        nn.prefix(model, "0")
    assert all(parameter.requires_grad for parameter in model.parameters())  # nothing was done
    nn.lora(model, "*")  # passes the normalisation over
    with pytest.raises(ArgumentError, match="0 carries one already"):
        nn.lora(model, "0")


def test_a_layer_that_shares_its_weight_is_passed_over() -> None:
    assert nn.lora(Tied(), "*").layers == ("inner",)
    with pytest.raises(ArgumentError, match="out shares a parameter with embed"):
        nn.lora(Tied(), "out")


@pytest.mark.parametrize(
    "options, text",
    [
        ({"rank": 0}, "rank is 0"),
        ({"alpha": np.inf}, "alpha is inf"),
        ({"dropout": 1}, "dropout is 1"),
    ],
)
def test_options_outside_their_meaning_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ArgumentError, match=text):
        nn.lora(nn.Sequential(nn.Linear(2, 2)), "0", **options)


def test_a_decoder_with_all_adapters_goes_on_position_by_position() -> None:
    """What a cache of keys and values gives is what the whole target gives."""
    options: dict[str, Any] = {"batch_first": True, "norm_first": True, "dtype": "float64"}
    layer = nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, **options)
    stack = nn.TransformerDecoder(layer, 2).eval()
    nn.lora(stack, "*.self_attn.[qv]_proj", "*.multihead_attn.[qk]_proj", "*.out_proj", rank=2)
    nn.bottleneck(stack, "*.linear2", width=3)
    nn.prefix(stack, "*.self_attn", "*.multihead_attn", length=3)
    stack.make_state(seed=1)
    fill(stack)
    x, memory = (normal(2, length, 8).astype(np.float64) for length in (6, 4))
    specs = [graphc.Spec(array.shape, "float64") for array in (x, memory)]
    expected = graphc.compile(lambda x, m: stack(x, m, tgt_is_causal=True), *specs)(x, memory)
    cache = stack.make_cache(2, 6, 2, 4)
    graphc.compile(lambda m: stack.remember(m, cache), specs[1])(memory)
    one = (graphc.Spec((2, 1, 8), "float64"), graphc.Spec((), "int32"))
    step = graphc.compile(lambda x, p: stack(x, None, cache=cache, position=p), *one)
    found = [step(x[:, n : n + 1], np.int32(n)) for n in range(6)]
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, rtol=1e-9, atol=1e-11)
