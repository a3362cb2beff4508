"""Losses against their formulas in NumPy float64; torch's conventions for weights and ignoring."""

import numpy as np
import pytest
from traced import check, normal

import graphc
import graphc.functional as F
from graphc.errors import ArgumentError, DTypeError, ShapeError

X, Y = normal(4, 5), normal(4, 5, seed=1)
D = X.astype(np.float64) - Y
T = np.random.default_rng(2).random((4, 5)).astype(np.float32)
WEIGHT = np.float32([0.5, 1, 2, 0.25, 3])
CLASSES = np.array([0, 4, 2, 2])
SOME = np.array([0, -100, 2, -100])
LOG_P = X - np.log(np.exp(X).sum(1, keepdims=True))


def reduced(loss, reduction):
    whole = {"none": lambda v: v, "sum": np.sum, "mean": np.mean}[reduction](loss)
    return np.float32(whole)


ELEMENTWISE = {
    "mse_loss": (D**2, {}),
    "l1_loss": (np.abs(D), {}),
    "smooth_l1_loss": (np.where(abs(D) < 0.3, D**2 / 0.6, abs(D) - 0.15), {"beta": 0.3}),
    "huber_loss": (np.where(abs(D) < 0.3, D**2 / 2, 0.3 * (abs(D) - 0.15)), {"delta": 0.3}),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_losses(name, reduction):
    loss, options = ELEMENTWISE[name]
    function = getattr(F, name)
    check(
        lambda x, y: function(x, y, reduction=reduction, **options), reduced(loss, reduction), X, Y
    )


def test_smooth_l1_with_beta_0_is_l1():
    check(lambda x, y: F.smooth_l1_loss(x, y, beta=0), np.float32(abs(D).mean()), X, Y)


def bce(x, t, weight=1.0, positive=1.0):
    p = 1 / (1 + np.exp(-x.astype(np.float64)))
    return -weight * (positive * t * np.log(p) + (1 - t) * np.log(1 - p))


def test_binary_cross_entropy():
    check(F.binary_cross_entropy_with_logits, reduced(bce(X, T), "mean"), X, T)
    check(
        lambda x, t, w, p: F.binary_cross_entropy_with_logits(x, t, w, pos_weight=p),
        reduced(bce(X, T, WEIGHT, 2 * WEIGHT), "mean"),
        X, T, WEIGHT, 2 * WEIGHT,
    )  # fmt: skip
    p = (1 / (1 + np.exp(-X))).astype(np.float32)
    check(F.binary_cross_entropy, reduced(bce(X, T), "mean"), p, T, rtol=1e-4)
    check(F.binary_cross_entropy, np.float32(100), np.float32([0]), np.float32([1]))


def test_binary_cross_entropy_of_great_logits_stays_finite():
    x, t = np.float32([1000, -1000]), np.float32([0, 1])
    check(F.binary_cross_entropy_with_logits, np.float32(1000), x, t)


def test_kl_div():
    target = np.where(T > 0.5, T, 0).astype(np.float32)
    exact = target.astype(np.float64)
    loss = np.where(exact > 0, exact * (np.log(np.where(exact > 0, exact, 1)) - LOG_P), 0)
    check(F.kl_div, reduced(loss, "mean"), LOG_P, target)
    batch = np.float32(loss.sum() / 4)
    check(lambda x, t: F.kl_div(x, t, reduction="batchmean"), batch, LOG_P, target)
    logs = np.log(np.abs(target) + np.float32(0.1))
    loss = np.exp(logs) * (logs - LOG_P)
    check(lambda x, t: F.kl_div(x, t, log_target=True), reduced(loss, "mean"), LOG_P, logs)


def picked_loss(classes, weight, reduction, smoothing=0.0):
    """The mean divides by the weights of the targets; ignored positions have none."""
    counted = classes != -100
    valid = np.where(counted, classes, 0)
    scale = weight[valid] * counted
    hit = -LOG_P[range(4), valid] * scale
    spread = -(LOG_P * weight).sum(1) * counted / 5
    loss = (1 - smoothing) * hit + smoothing * spread
    if reduction == "mean":
        return np.float32(loss.sum() / scale.sum())
    return np.float32(loss if reduction == "none" else loss.sum())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("classes", [CLASSES, SOME])
@pytest.mark.parametrize("weight", [np.ones(5, np.float32), WEIGHT])
def test_class_losses(classes, weight, reduction):
    expected = picked_loss(classes, weight, reduction)
    options = {"reduction": reduction}
    check(lambda x, t, w: F.nll_loss(x, t, w, **options), expected, LOG_P, classes, weight)
    check(lambda x, t, w: F.cross_entropy(x, t, w, **options), expected, X, classes, weight)
    smooth = picked_loss(classes, weight, reduction, 0.1)
    options["label_smoothing"] = 0.1
    check(lambda x, t, w: F.cross_entropy(x, t, w, **options), smooth, X, classes, weight)


def test_cross_entropy_of_probabilities_and_without_a_batch():
    check(F.cross_entropy, np.float32(-(LOG_P * T).sum(1).mean()), X, T)
    check(F.cross_entropy, np.float32(-LOG_P[0, 3]), X[0], np.int64(3))
    check(lambda x, t: F.cross_entropy(x, t, reduction="none"), -LOG_P[0, 3], X[0], np.uint8(3))
    check(F.nll_loss, np.float32(-LOG_P[0, 3]), LOG_P[0], np.int64(3))


def test_classes_of_pixels():
    x = normal(2, 3, 4, 4)
    classes = np.random.default_rng(0).integers(0, 3, (2, 4, 4))
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    expected = -np.take_along_axis(log_p, classes[:, None], 1).mean()
    check(F.cross_entropy, np.float32(expected), x, classes)
    check(F.nll_loss, np.float32(expected), log_p, classes)


def test_gradient_of_cross_entropy_is_softmax_less_target():
    gradient = (np.exp(LOG_P) - np.eye(5)[CLASSES]) / 4
    check(graphc.grad(F.cross_entropy), gradient.astype(np.float32), X, CLASSES)
    check(graphc.grad(lambda x, t: F.nll_loss(F.log_softmax(x), t)),
          gradient.astype(np.float32), X, CLASSES)  # fmt: skip


@pytest.mark.parametrize(
    "function, error, text",
    [
        (lambda x, t: F.mse_loss(x, x[0]), ShapeError, "shapes must agree"),
        (lambda x, t: F.mse_loss(x, x, reduction="average"), ArgumentError, "is 'average'"),
        (lambda x, t: F.mse_loss(x, x, True), ArgumentError, "retired"),
        (lambda x, t: F.cross_entropy(x, t[:2]), ShapeError, r"shape must be \[4\]"),
        (lambda x, t: F.cross_entropy(x, x[0]), ShapeError, "probabilities"),
        (lambda x, t: F.cross_entropy(x, t > 0), DTypeError, "classes of an integer type"),
        (lambda x, t: F.cross_entropy(x, t, label_smoothing=2.0), ArgumentError, "0 to 1"),
        (lambda x, t: F.smooth_l1_loss(x, x, beta=-1.0), ArgumentError, "beta is -1"),
    ],
)  # fmt: skip
def test_errors_name_what_was_given_and_the_line(function, error, text):
    with pytest.raises(error, match=text) as raised:
        graphc.trace(function, graphc.Spec((4, 5)), graphc.Spec((4,), "int64"))
    assert "(test_traced_losses.py:" in str(raised.value)
