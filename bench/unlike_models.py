"""Training steps of models unlike the ready ones, to try fusions on.

graphc bench bench/unlike_models.py:unet --fused-vs-unfused
"""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from typing import Any

import numpy as np

import graphc.functional as F
from graphc import Spec, TrainStep, nn, optim
from graphc.inspect.fusion import Variant, compare, measure_fusions
from graphc.inspect.fusion_report import verdict
from graphc.models.losses import classify
from graphc.passes.pipelines import DEFAULT
from graphc.runtime.profile import made_inputs

CLASSES = 10


def classifier(model: nn.Module, optimizer: optim.Optimizer, *shape: int) -> TrainStep:
    """A step on batches of the shape, with classes."""
    return TrainStep(model, classify, optimizer, Spec(shape), Spec(shape[:1], "int32"))


class UNet(nn.Module):
    """f32[N, 3, H, W] -> scores of 5 classes for each pixel; two levels with skips."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.second = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.middle = nn.Conv2d(2 * width, 4 * width, 3, padding=1)
        self.norm = nn.GroupNorm(4, 4 * width)
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.joined = nn.Conv2d(4 * width, 2 * width, 3, padding=1)
        self.larger = nn.Upsample(scale_factor=2)
        self.last = nn.Conv2d(3 * width, width, 3, padding=1)
        self.head = nn.Conv2d(width, 5, 1)

    def forward(self, x: Any) -> Any:
        fine = F.relu(self.first(x))
        coarse = F.relu(self.second(F.max_pool2d(fine, 2)))
        y = F.silu(self.norm(self.middle(F.avg_pool2d(coarse, 2))))
        y = F.relu(self.joined(F.concatenate([self.up(y), coarse], 1)))
        y = F.relu(self.last(F.concatenate([self.larger(y), fine], 1)))
        return F.transpose(self.head(y), (0, 2, 3, 1)).reshape((-1, 5))


def unet() -> TrainStep:
    def loss(model: Any, x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x), y.reshape((-1,)))

    pixels = Spec((4, 3, 60, 76)), Spec((4, 60, 76), "int32")
    return TrainStep(UNet(12), loss, optim.Adam(1e-3), *pixels)


class Inverted(nn.Module):
    """MobileNet's block, with squeeze and excitation, between a stem and a head."""

    def __init__(self, width: int, wide: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, wide, 1, bias=False)
        self.expand_norm = nn.BatchNorm2d(wide)
        self.depthwise = nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(wide)
        self.squeeze = nn.Linear(wide, 8)
        self.excite = nn.Linear(8, wide)
        self.project = nn.Conv2d(wide, width, 1, bias=False)
        self.project_norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Any) -> Any:
        x = F.relu6(self.stem_norm(self.stem(x)))
        y = F.hardswish(self.expand_norm(self.expand(x)))
        y = F.relu6(self.depthwise_norm(self.depthwise(y)))
        gate = F.sigmoid(self.excite(F.relu(self.squeeze(F.mean(y, axis=(2, 3))))))
        y = y * gate.reshape((*gate.shape, 1, 1))
        x = x + self.project_norm(self.project(y))
        return self.head(F.mean(x, axis=(2, 3)))


def mobile() -> TrainStep:
    return classifier(Inverted(20, 80), optim.SGD(0.1, momentum=0.9), 8, 3, 63, 65)


def mobile_one() -> TrainStep:
    return classifier(Inverted(20, 80), optim.SGD(0.1, momentum=0.9), 1, 3, 63, 65)


class Patches(nn.Module):
    """A small ViT: patches of 4x4, a class token, layers with dropout."""

    def __init__(self, width: int, heads: int, depth: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, stride=4)
        self.token = nn.Parameter(np.zeros((1, 1, width), np.float32))
        self.positions = nn.LearnedPositions(50, width)
        layers = [
            nn.TransformerEncoderLayer(
                width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(depth)
        ]
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Any) -> Any:
        y = self.patch(x)
        batch, width = y.shape[:2]
        y = F.transpose(y.reshape((batch, width, -1)), (0, 2, 1))
        y = F.concatenate([F.broadcast_to(self.token, (batch, 1, width)), y], 1)
        y = self.positions(y)
        for layer in self.layers:
            y = layer(y)
        return self.head(self.norm(y)[:, 0])


def vit() -> TrainStep:
    return classifier(Patches(96, 3, 2), optim.AdamW(1e-3, clip_norm=1.0), 8, 3, 28, 28)


class Tagger(nn.Module):
    """i32[N, T] -> scores of 5 tags; a bidirectional LSTM of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(200, 30)
        self.lstm = nn.LSTM(30, 50, 2, batch_first=True, bidirectional=True, dropout=0.2)
        self.head = nn.Linear(100, 5)

    def forward(self, text: Any) -> Any:
        return self.head(self.lstm(self.words(text))[0]).reshape((-1, 5))


def tagger() -> TrainStep:
    def loss(model: Any, text: Any, tags: Any) -> Any:
        return F.cross_entropy(model(text), tags.reshape((-1,)), ignore_index=0)

    text = Spec((12, 37), "int32")
    return TrainStep(Tagger(), loss, optim.Adam(1e-2, clip_norm=0.5), text, text)


class Mixture(nn.Module):
    """A mixture of four heads."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Linear(100, 90)
        self.gate = nn.Linear(90, 4)
        heads = [
            nn.Sequential(nn.Linear(90, 70), nn.GELU(), nn.Linear(70, CLASSES)) for _ in range(4)
        ]
        self.heads = nn.ModuleList(heads)

    def forward(self, x: Any) -> Any:
        y = F.tanh(self.trunk(x))
        weights = F.softmax(self.gate(y), -1).reshape((-1, 4, 1))
        return F.sum(F.stack([head(y) for head in self.heads], 1) * weights, axis=1)


def mixture() -> TrainStep:
    return classifier(Mixture(), optim.RMSprop(1e-3), 150, 100)


class Grouped(nn.Module):
    """Group norms, a grouped dilated convolution, a residual under a pooling."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 5, padding=2, bias=False)
        self.first_norm = nn.GroupNorm(6, width)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.second_norm = nn.GroupNorm(1, width)
        self.third = nn.Conv2d(width, width, 3, padding=2, dilation=2, groups=2)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Any) -> Any:
        x = F.relu(self.first_norm(self.first(x)))
        y = F.leaky_relu(self.second_norm(self.second(x)), 0.1)
        y = F.max_pool2d(F.elu(self.third(y)) + x, 2)
        return self.head(F.mean(y, axis=(2, 3)))


def group_norm() -> TrainStep:
    return classifier(Grouped(24), optim.Adam(1e-3), 8, 3, 33, 39)


class Twins(nn.Module):
    """One network on both images of a pair: f32[2, N, 1, 28, 28] -> distances[N]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 9, 3)
        self.second = nn.Conv2d(9, 14, 3)
        self.head = nn.Linear(14 * 5 * 5, 11)

    def point(self, x: Any) -> Any:
        x = F.max_pool2d(F.tanh(self.first(x)), 2)
        x = F.relu(F.max_pool2d(self.second(x), 2))
        return self.head(x.reshape((x.shape[0], -1)))

    def forward(self, pair: Any) -> Any:
        return F.sum((self.point(pair[0]) - self.point(pair[1])) ** 2, axis=1)


def siamese() -> TrainStep:
    def loss(model: Any, pair: Any, same: Any) -> Any:
        far = model(pair)
        return F.mean(F.where(same == 1, far, F.maximum(1.0 - far, 0.0)))

    pairs = Spec((2, 16, 1, 28, 28)), Spec((16,), "int32")
    return TrainStep(Twins(), loss, optim.SGD(0.01), *pairs)


class Decoder(nn.Module):
    """Two layers of shared weights: RMS norm, attention written out, gated feed-forward."""

    def __init__(self, words: int, width: int, heads: int) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.heads = heads
        self.projections = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, 2 * width, bias=False)
        self.up = nn.Linear(width, 2 * width, bias=False)
        self.down = nn.Linear(2 * width, width, bias=False)
        self.norms = nn.ModuleList([nn.RMSNorm(width), nn.RMSNorm(width)])

    def attention(self, x: Any) -> Any:
        batch, length, width = x.shape
        split = (batch, length, self.heads, -1)
        parts = F.split(self.projections(x), 3, axis=-1)
        q, k, v = (F.transpose(part.reshape(split), (0, 2, 1, 3)) for part in parts)
        scores = q @ F.swapaxes(k, -1, -2) * (width // self.heads) ** -0.5
        scores = F.where(np.tri(length, dtype=bool), scores, -np.inf)
        y = F.softmax(scores, -1) @ v
        return self.output(F.transpose(y, (0, 2, 1, 3)).reshape(x.shape))

    def forward(self, text: Any) -> Any:
        x = self.words(text)
        for _ in range(2):
            x = x + self.attention(self.norms[0](x))
            y = self.norms[1](x)
            x = x + self.down(F.silu(self.gate(y)) * self.up(y))
        return F.linear(x, self.words.weight)


def decoder() -> TrainStep:
    def loss(model: Any, text: Any, following: Any) -> Any:
        scores = model(text)
        return F.cross_entropy(scores.reshape((-1, scores.shape[-1])), following.reshape((-1,)))

    text = Spec((4, 61), "int32")
    return TrainStep(Decoder(120, 96, 4), loss, optim.Lion(1e-3), text, text)


class Recurrent(nn.Module):
    """f32[T, N, 7] -> scores, from the last state of a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(7, 45)
        self.head = nn.Linear(45, CLASSES)

    def forward(self, x: Any) -> Any:
        return self.head(self.gru(x)[0][-1])


def gru() -> TrainStep:
    sizes = Spec((41, 20, 7)), Spec((20,), "int32")
    return TrainStep(Recurrent(), classify, optim.Adam(1e-2), *sizes)


class Pooled(nn.Module):
    """Convolution, relu and pooling, four times by turns of maximum and average."""

    def __init__(self, *channels: int) -> None:
        super().__init__()
        pairs = pairwise(channels)
        self.layers = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in pairs])
        self.head = nn.Linear(channels[-1], CLASSES)

    def forward(self, x: Any) -> Any:
        for number, layer in enumerate(self.layers):
            x = F.relu(layer(x))
            x = F.avg_pool2d(x, 2) if number % 2 else F.max_pool2d(x, 2)
        return self.head(F.mean(x, axis=(2, 3)))


def pooled() -> TrainStep:
    return classifier(Pooled(3, 17, 40, 64), optim.SGD(0.1), 8, 3, 57, 61)


def pooled_one() -> TrainStep:
    return classifier(Pooled(3, 17, 40, 64), optim.SGD(0.1), 1, 3, 57, 61)


MODELS = (
    unet,
    mobile,
    mobile_one,
    vit,
    tagger,
    mixture,
    group_norm,
    siamese,
    decoder,
    gru,
    pooled,
    pooled_one,
)


_SLOWER = 0.97  # the share of the fused step's time from which on a fusion is shown as a loss


def report(step: TrainStep, seconds: float) -> str:
    """Proves that both forms agree; then their times, traffic, and the fusions that cost time."""
    graph, state, arrays = step.graph, step.state, made_inputs(step.graph)
    verdict(compare(graph, state, arrays, DEFAULT, threads=1))
    found = measure_fusions(
        graph, state, arrays, DEFAULT, threads=1, seconds=seconds, clock=time.thread_time
    )
    fused, (unfused, *single) = found.fused, found.variants

    def gain(variant: Variant) -> float:
        return variant.times.median / fused.times.median

    lost = [f"{v.name} {gain(v):.2f}" for v in single if gain(v) < _SLOWER]
    best = max(single, key=gain, default=unfused)
    return (
        f"{1e3 * fused.times.median:.3f}, {1e3 * unfused.times.median:.3f} | {gain(unfused):.2f} | "
        f"{(unfused.traffic_bytes - fused.traffic_bytes) / 2**20:.1f} MiB | "
        f"{(unfused.peak_bytes - fused.peak_bytes) / 2**10:.0f} KiB | "
        f"{best.name} {gain(best):.2f} | {', '.join(lost)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.unlike_models")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each program")
    names = [make.__name__ for make in MODELS]
    parser.add_argument("models", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    options = parser.parse_args()
    for name in options.models or names:
        if name not in names:
            parser.error(f"no model {name!r}; there are {', '.join(names)}")
    for make in MODELS:
        if not options.models or make.__name__ in options.models:
            print(f"| {make.__name__} | {report(make(), options.seconds)} |", flush=True)


if __name__ == "__main__":
    main()
