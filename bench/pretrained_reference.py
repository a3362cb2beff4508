"""Writes a file of weights as PyTorch's users do, for tests/frontends/train/test_pretrained.py.

    python bench/pretrained_reference.py       # needs torch and safetensors

torch_encoder.safetensors holds the state dict of a small network, torch_encoder_bf16.safetensors
the same in bfloat16, torch_encoder.npz an input and the network's output in float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

FOLDER = Path(__file__).parent.parent / "tests" / "frontends" / "train"


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 8, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(8)
        layer = torch.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, 2)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        return self.head(self.encoder(x.flatten(2).transpose(1, 2)).mean(1))


def main() -> None:
    torch.manual_seed(3)
    net = Net()
    x = torch.randn(3, 2, 4, 4)
    net(x)  # running statistics
    net.eval()
    with torch.no_grad():
        y = net(x)
    save_file(net.state_dict(), FOLDER / "torch_encoder.safetensors")
    halves = {
        name: t.bfloat16() if t.is_floating_point() else t for name, t in net.state_dict().items()
    }
    save_file(halves, FOLDER / "torch_encoder_bf16.safetensors")
    np.savez(FOLDER / "torch_encoder.npz", x=x.numpy(), y=y.numpy())


if __name__ == "__main__":
    main()
