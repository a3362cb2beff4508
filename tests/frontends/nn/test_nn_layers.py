"""Layers: torch's parameters, shapes and defaults, and that they call the right function."""

import math

import numpy as np
import pytest
from traced import normal

import graphc.functional as F
from graphc import nn
from graphc.errors import ArgumentError, ShapeError

IMAGE, ROW = normal(2, 4, 6, 6), normal(3, 4)
WORDS = np.array([[0, 3], [2, 2]])

# (layer, {parameter: shape}, its input, what it computes given its arrays)
LAYERS = [
    (nn.Linear(4, 5), {"weight": (5, 4), "bias": (5,)}, ROW,
     lambda x, weight, bias: F.linear(x, weight, bias)),
    (nn.Linear(4, 5, bias=False), {"weight": (5, 4)}, ROW, lambda x, weight: F.linear(x, weight)),
    (nn.Bilinear(4, 4, 2), {"weight": (2, 4, 4), "bias": (2,)}, None, None),
    (nn.Conv2d(4, 6, 3), {"weight": (6, 4, 3, 3), "bias": (6,)}, IMAGE,
     lambda x, weight, bias: F.conv2d(x, weight, bias)),
    (nn.Conv2d(4, 6, (3, 2), 2, 1, 2, 2, False), {"weight": (6, 2, 3, 2)}, IMAGE,
     lambda x, weight: F.conv2d(x, weight, None, 2, 1, 2, 2)),
    (nn.Conv2d(4, 2, 3, padding="same", padding_mode="reflect", bias=False),
     {"weight": (2, 4, 3, 3)}, IMAGE,
     lambda x, weight: F.conv2d(F.pad(x, (1, 1, 1, 1), "reflect"), weight)),
    (nn.Conv1d(4, 6, 3, padding=1), {"weight": (6, 4, 3), "bias": (6,)}, normal(2, 4, 5),
     lambda x, weight, bias: F.conv1d(x, weight, bias, padding=1)),
    (nn.Embedding(5, 3), {"weight": (5, 3)}, WORDS, lambda x, weight: weight[x]),
    (nn.LayerNorm((6, 6)), {"weight": (6, 6), "bias": (6, 6)}, IMAGE,
     lambda x, weight, bias: F.layer_norm(x, (6, 6), weight, bias)),
    (nn.LayerNorm(6, elementwise_affine=False), {}, IMAGE, lambda x: F.layer_norm(x, 6)),
    (nn.RMSNorm(6), {"weight": (6,)}, IMAGE, lambda x, weight: F.rms_norm(x, 6, weight)),
    (nn.GroupNorm(2, 4), {"weight": (4,), "bias": (4,)}, IMAGE,
     lambda x, weight, bias: F.group_norm(x, 2, weight, bias)),
    (nn.MaxPool2d(2), {}, IMAGE, lambda x: F.max_pool2d(x, 2)),
    (nn.MaxPool2d(3, 2, 1), {}, IMAGE, lambda x: F.max_pool2d(x, 3, 2, 1)),
    (nn.AvgPool2d(2), {}, IMAGE, lambda x: F.avg_pool2d(x, 2)),
    (nn.AdaptiveAvgPool2d((2, None)), {}, IMAGE, lambda x: F.adaptive_avg_pool2d(x, (2, None))),
    (nn.Flatten(), {}, IMAGE, lambda x: x.reshape(2, -1)),
    (nn.Unflatten(1, (2, 2)), {}, IMAGE, lambda x: x.reshape(2, 2, 2, 6, 6)),
    (nn.Identity(3, bias=True), {}, IMAGE, lambda x: x),
    (nn.Dropout(0.3).eval(), {}, IMAGE, lambda x: x),
    (nn.ReLU(), {}, ROW, F.relu), (nn.ReLU6(), {}, ROW, F.relu6), (nn.SiLU(), {}, ROW, F.silu),
    (nn.Mish(), {}, ROW, F.mish), (nn.SELU(), {}, ROW, F.selu), (nn.Tanh(), {}, ROW, F.tanh),
    (nn.Sigmoid(), {}, ROW, F.sigmoid), (nn.LogSigmoid(), {}, ROW, F.logsigmoid),
    (nn.Softsign(), {}, ROW, F.softsign), (nn.Hardswish(), {}, ROW, F.hardswish),
    (nn.Hardsigmoid(), {}, ROW, F.hardsigmoid), (nn.GLU(), {}, ROW, F.glu),
    (nn.GELU("tanh"), {}, ROW, lambda x: F.gelu(x, "tanh")),
    (nn.Softplus(2.0, 1.0), {}, ROW, lambda x: F.softplus(x, 2.0, 1.0)),
    (nn.LeakyReLU(0.2), {}, ROW, lambda x: F.leaky_relu(x, 0.2)),
    (nn.ELU(0.5), {}, ROW, lambda x: F.elu(x, 0.5)),
    (nn.CELU(0.5), {}, ROW, lambda x: F.celu(x, 0.5)),
    (nn.Hardtanh(-0.5, 0.7), {}, ROW, lambda x: F.hardtanh(x, -0.5, 0.7)),
    (nn.PReLU(), {"weight": (1,)}, ROW, lambda x, weight: np.where(x > 0, x, x * np.float32(0.25))),
    (nn.Softmax(0), {}, ROW, lambda x: F.softmax(x, 0)),
    (nn.LogSoftmax(1), {}, ROW, lambda x: F.log_softmax(x, 1)),
]  # fmt: skip


@pytest.mark.parametrize("layer, shapes, x, reference", LAYERS, ids=lambda v: type(v).__name__)
def test_parameters_and_meaning(layer, shapes, x, reference):
    arrays = layer.state_dict()
    assert {name: elements.shape for name, elements in arrays.items()} == shapes
    if x is not None:
        np.testing.assert_allclose(layer(x), reference(x, **arrays), rtol=1e-6, atol=1e-6)


def test_weights_start_as_torchs():
    linear = nn.Linear(400, 300).state_dict()
    conv = nn.Conv2d(16, 32, 5, groups=2).state_dict()
    for arrays, inputs in ((linear, 400), (conv, 8 * 25)):
        bound = 1 / math.sqrt(inputs)  # kaiming uniform with a = sqrt 5, and torch's bias
        for elements in arrays.values():
            assert 0.9 * bound < abs(elements).max() <= bound
    embedding = nn.Embedding(100, 50, padding_idx=-1).state_dict()["weight"]
    assert not embedding[99].any()
    assert abs(embedding[:99].std() - 1) < 0.05
    norm = nn.BatchNorm2d(3).state_dict()
    assert {name: elements.tolist() for name, elements in norm.items()} == {
        "weight": [1, 1, 1], "bias": [0, 0, 0], "running_mean": [0, 0, 0],
        "running_var": [1, 1, 1], "num_batches_tracked": 0,
    }  # fmt: skip


def test_bilinear():
    layer = nn.Bilinear(4, 3, 2)
    arrays, x, y = layer.state_dict(), normal(5, 4), normal(5, 3, seed=1)
    expected = np.einsum("ni,oij,nj->no", x, arrays["weight"], y) + arrays["bias"]
    np.testing.assert_allclose(layer(x, y), expected, rtol=1e-5, atol=1e-6)


def test_dropout_in_training_follows_the_models_key():
    layer = nn.Dropout(0.5)
    layer.make_state(seed=4)
    x = np.ones(256, np.float32)
    first = layer(x)
    assert np.array_equal(first, layer(x))  # the key changes with training steps only
    assert 64 < (first == 0).sum() < 192
    other = nn.Dropout(0.5)
    other.make_state(seed=5)
    assert not np.array_equal(first, other(x))


X, Y = normal(4, 5), normal(4, 5, seed=1)
CLASSES, WEIGHT = np.array([0, 4, -100, 2]), np.float32([1, 2, 3, 4, 5])
LOSSES = [
    (nn.MSELoss(), Y, lambda x, y: F.mse_loss(x, y)),
    (nn.L1Loss(reduction="sum"), Y, lambda x, y: F.l1_loss(x, y, reduction="sum")),
    (nn.SmoothL1Loss(beta=0.5), Y, lambda x, y: F.smooth_l1_loss(x, y, beta=0.5)),
    (nn.HuberLoss(delta=0.5), Y, lambda x, y: F.huber_loss(x, y, delta=0.5)),
    (nn.CrossEntropyLoss(WEIGHT, label_smoothing=0.1), CLASSES,
     lambda x, y: F.cross_entropy(x, y, WEIGHT, label_smoothing=0.1)),
    (nn.CrossEntropyLoss(ignore_index=4), np.array([0, 4, 1, 2]),
     lambda x, y: F.cross_entropy(x, y, ignore_index=4)),
    (nn.NLLLoss(WEIGHT), CLASSES, lambda x, y: F.nll_loss(x, y, WEIGHT)),
    (nn.BCEWithLogitsLoss(pos_weight=WEIGHT), abs(Y) % 1,
     lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=WEIGHT)),
    (nn.KLDivLoss(reduction="batchmean"), abs(Y),
     lambda x, y: F.kl_div(x, y, reduction="batchmean")),
]  # fmt: skip


@pytest.mark.parametrize("loss, target, reference", LOSSES, ids=lambda v: type(v).__name__)
def test_losses(loss, target, reference):
    np.testing.assert_allclose(loss(X, target), reference(X, target), rtol=1e-6)


@pytest.mark.parametrize("weights", [[1, 2, 3], [1.0, 2.0, 3.0], np.float32([1, 2, 3])])
def test_a_losss_weights_may_be_a_list(weights):
    scores, classes = normal(4, 3), np.array([0, 2, 1, 1])
    assert nn.CrossEntropyLoss(weights)(scores, classes).dtype == np.float32
    found = nn.BCEWithLogitsLoss(pos_weight=weights)(scores, np.ones_like(scores))
    expected = F.binary_cross_entropy_with_logits(
        scores, np.ones_like(scores), pos_weight=np.float32([1, 2, 3])
    )
    assert found.dtype == np.float32 and found == expected


@pytest.mark.parametrize(
    "make, error, text",
    [
        (lambda: nn.Conv2d(3, 4, 3, groups=2), ArgumentError, "2 groups"),
        (lambda: nn.Conv2d(3, 4, (3, 3, 3)), ArgumentError, "has 3 numbers; expected 2"),
        (lambda: nn.Conv2d(3, 4, 3, padding="full"), ArgumentError, "padding is 'full'"),
        (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), ArgumentError, "padding_mode"),
        (lambda: nn.GroupNorm(3, 4), ArgumentError, "3 groups"),
        (lambda: nn.Dropout(2), ArgumentError, "p is 2"),
        (lambda: nn.MSELoss(True), ArgumentError, "retired"),
        (lambda: nn.Linear(3.0, 2), ArgumentError, r"shape \(2, 3\.0\); expected whole numbers"),
        (lambda: nn.Embedding(-1, 2), ArgumentError, r"shape \(-1, 2\); expected whole numbers"),
        (lambda: nn.Conv2d(3, 4, 0), ArgumentError, "kernel_size is 0; expected at least 1"),
        (lambda: nn.BatchNorm2d(-1), ArgumentError, "BatchNorm2d: -1 channels"),
        (lambda: nn.KeyValueCache(1.0, 2, 3), ArgumentError, r"rows is 1\.0; expected an integer"),
        (lambda: nn.BatchNorm2d(4)(ROW), ShapeError, "BatchNorm2d: input is f32"),
        (lambda: nn.BatchNorm1d(5)(ROW), ShapeError, "with 5 channels"),
        (lambda: nn.Conv2d(4, 4, 3)(ROW), ShapeError, "expected 4 dimensions, or 3"),
    ],
)
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()
