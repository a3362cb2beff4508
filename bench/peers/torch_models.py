"""The models of bench/models.py in torch, with the same parameter names.

MODELS[twin]() gives (module, loss(module, *batch), optimizer(parameters)).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from bench.peers.torch_transformers import GPT, Seq2Seq, next_character, translation_loss


class CifarCNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.conv3 = nn.Conv2d(64, 64, 3)
        self.hidden = nn.Linear(1024, 64)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x))
        x = F.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.head(x)


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.shortcut = nn.Sequential(shortcut, nn.BatchNorm2d(outputs))

    def forward(self, x: Any) -> Any:
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        blocks: list[nn.Module] = []
        for inputs, outputs, stride in [(16, 16, 1), (16, 32, 2), (32, 64, 2)]:
            blocks += [Block(inputs, outputs, stride)]
            blocks += [Block(outputs, outputs, 1) for _ in range(2)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        x = self.blocks(F.relu(self.norm(self.conv(x))))
        return self.head(x.mean((2, 3)))


class Tagger(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(40, 128)
        self.head = nn.Linear(128, 11)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0])


def mlp(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def classify(model: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(model(x), y)


def tag(model: Any, x: Any, y: Any) -> Any:
    scores = model(x)
    return F.cross_entropy(scores.reshape(-1, scores.shape[-1]), y.reshape(-1))


def momentum(parameters: Any) -> Any:
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4)


Twin = tuple[nn.Module, Callable[..., Any], Callable[[Any], Any]]

MODELS: dict[str, Callable[[], Twin]] = {
    "cifar-cnn": lambda: (CifarCNN(), classify, torch.optim.Adam),
    "mlp": lambda: (mlp(784, 512, 512, 10), classify, torch.optim.Adam),
    "mlp-small": lambda: (mlp(784, 128, 10), classify, torch.optim.Adam),
    "resnet20": lambda: (ResNet20(), classify, momentum),
    "lstm": lambda: (Tagger("LSTM"), tag, torch.optim.Adam),
    "gru": lambda: (Tagger("GRU"), tag, torch.optim.Adam),
    "gpt": lambda: (GPT(), next_character, torch.optim.AdamW),
    "seq2seq": lambda: (Seq2Seq(), translation_loss, torch.optim.AdamW),
}
