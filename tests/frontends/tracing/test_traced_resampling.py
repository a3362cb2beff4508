"""Transposed convolution, interpolation, pixel shuffle, windows of one dimension, cosines."""

import numpy as np
import pytest
from traced import check, normal

import graphc
import graphc.functional as F
from graphc import nn
from graphc.errors import ArgumentError, ShapeError


def by_hand(x, w, stride, padding, output_padding, dilation, groups):
    """Every input element adds its weights, times itself, to a window of the result."""
    n, channels, height, width = x.shape
    each, kh, kw = w.shape[1:]
    full = [
        (extent - 1) * s + d * (k - 1) + 1 + more
        for extent, s, d, k, more in zip(
            (height, width), stride, dilation, (kh, kw), output_padding, strict=True
        )
    ]
    y = np.zeros((n, groups * each, *full))
    for c in range(channels):
        out = slice(each * (c // (channels // groups)), each * (c // (channels // groups) + 1))
        for i, j, a, b in np.ndindex(height, width, kh, kw):
            row, column = i * stride[0] + a * dilation[0], j * stride[1] + b * dilation[1]
            y[:, out, row, column] += x[:, c, i, j, None] * w[c, :, a, b]
    return y[:, :, padding[0] : full[0] - padding[0], padding[1] : full[1] - padding[1]]


CASES = [
    ((2, 4, 5, 6), (4, 3, 3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 1),
    ((1, 4, 4, 4), (4, 2, 2, 3), (2, 3), (0, 0), (0, 0), (2, 2), 2),
    ((1, 2, 3, 3), (2, 3, 4, 4), (2, 2), (1, 1), (0, 0), (1, 1), 1),
]


@pytest.mark.parametrize("case", CASES)
def test_conv_transpose2d(case):
    shape, kernel, stride, padding, more, dilation, groups = case
    x, w = normal(*shape, dtype=np.float64), normal(*kernel, seed=1, dtype=np.float64)
    bias = normal(groups * kernel[1], seed=2, dtype=np.float64)
    expected = by_hand(x, w, stride, padding, more, dilation, groups) + bias[:, None, None]

    def convolve(x, w, bias):
        return F.conv_transpose2d(x, w, bias, stride, padding, more, groups, dilation)

    check(convolve, expected, x, w, bias, rtol=1e-12)
    check(lambda x, w: convolve(x, w, None)[0], expected[0] - bias[:, None, None], x, w, rtol=1e-9)


def test_conv_transpose2d_is_the_gradient_of_conv2d():
    x, w = normal(2, 3, 8, 8, dtype=np.float64), normal(5, 3, 3, 3, seed=1, dtype=np.float64)
    back = normal(2, 5, 4, 4, seed=2, dtype=np.float64)
    found = graphc.grad(lambda x: (F.conv2d(x, w, stride=2, padding=1) * back).sum())(x)
    grown = F.conv_transpose2d(back, w, stride=2, padding=1, output_padding=1)
    np.testing.assert_allclose(found, grown, rtol=1e-12)


def test_conv_transpose2d_refuses_what_does_not_fit():
    with pytest.raises(ShapeError, match="input has 2 channels, weight expects 3"):
        graphc.trace(nn.ConvTranspose2d(3, 4, 2), graphc.Spec((1, 2, 5, 5)))
    with pytest.raises(ArgumentError, match="output_padding"):
        F.conv_transpose2d(np.ones((1, 1, 3, 3)), np.ones((1, 1, 2, 2)), output_padding=1)


def test_interpolate_nearest():
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    doubled = x.repeat(2, 2).repeat(2, 3)
    check(lambda x: F.interpolate(x, scale_factor=2), doubled, x)
    check(lambda x: F.interpolate(x, size=(3, 2)), x[:, :, [0, 0, 1]][:, :, :, [0, 1]], x)
    check(lambda x: F.interpolate(x, scale_factor=1.5), x[:, :, [0, 0, 1]][..., [0, 0, 1, 2]], x)


def test_interpolate_bilinear_keeps_planes_and_corners():
    rows, columns = np.mgrid[0:4, 0:5].astype(np.float64)
    plane = (2 * rows - columns)[None, None]
    aligned = F.interpolate(plane, size=(7, 9), mode="bilinear", align_corners=True)
    half_rows, half_columns = np.mgrid[0:7, 0:9] / 2
    np.testing.assert_allclose(aligned[0, 0], 2 * half_rows - half_columns, atol=1e-12)
    x = np.float64([[[[0, 1], [2, 3]]]])
    expected = [
        [0, 0.25, 0.75, 1],
        [0.5, 0.75, 1.25, 1.5],
        [1.5, 1.75, 2.25, 2.5],
        [2, 2.25, 2.75, 3],
    ]
    check(lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), np.float64([[expected]]), x)


def test_interpolate_refuses_what_it_cannot():
    x = np.ones((1, 1, 4, 4))
    with pytest.raises(ArgumentError, match="either size or scale_factor"):
        F.interpolate(x)
    with pytest.raises(ArgumentError, match="'bicubic'; expected one of nearest"):
        F.interpolate(x, size=2, mode="bicubic")
    with pytest.raises(ArgumentError, match=r"size \(0, 0\)"):
        F.interpolate(x, scale_factor=0.1)


def test_pixel_shuffle():
    x = np.arange(8).reshape(1, 4, 1, 2)
    check(lambda x: F.pixel_shuffle(x, 2), np.array([[[[0, 2, 1, 3], [4, 6, 5, 7]]]]), x)
    with pytest.raises(ShapeError, match="multiple of 9"):
        F.pixel_shuffle(x, 3)


def test_windows_of_one_dimension():
    x = np.float32([[[1, 5, 2, -3, 4, 0]]])
    check(lambda x: F.max_pool1d(x, 2), np.float32([[[5, 2, 4]]]), x)
    check(lambda x: F.max_pool1d(x, 3, 2, 1), np.float32([[[5, 5, 4]]]), x)
    check(lambda x: F.avg_pool1d(x, 3, stride=3), np.float32([[[8 / 3, 1 / 3]]]), x)


def test_cosine_similarity():
    a, b = np.float32([[3, 4], [0, 0]]), np.float32([[4, 3], [1, 0]])
    check(F.cosine_similarity, np.float32([0.96, 0]), a, b)


def test_layers_grow_images():
    model = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, stride=2, padding=1, output_padding=1),
        nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.PixelShuffle(2),
    )
    assert graphc.trace(model, graphc.Spec((1, 2, 4, 4))).outputs[0].shape == (1, 1, 32, 32)
    assert dict(model.state_dict())["0.weight"].shape == (2, 4, 3, 3)
    pools = nn.Sequential(nn.MaxPool1d(2), nn.AvgPool1d(2))
    assert graphc.trace(pools, graphc.Spec((1, 2, 8))).outputs[0].shape == (1, 2, 2)


def test_max_pooling_of_sequences_tells_where():
    x = np.array([[[1.0, 5.0, 2.0, 2.0, 9.0, 3.0]]], np.float32)
    found, where = nn.MaxPool1d(2, None, 0, 1, True)(x)
    np.testing.assert_array_equal(np.asarray(found), [[[5, 2, 9]]])
    np.testing.assert_array_equal(np.asarray(where), [[[1, 2, 4]]])
