"""torch's process: python -m bench.peers.torch_worker TWIN THREADS VARIANT FILE.npz

VARIANT is eager, channels_last or compile.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch

from bench.peers.torch_models import MODELS
from bench.peers.worker import serve


def main(twin: str, threads: str, variant: str, path: str) -> None:
    torch.set_num_threads(int(threads))
    model, loss, make_optimizer = MODELS[twin]()
    with np.load(path) as file:
        weights = {k: torch.tensor(file[k]) for k in file.files if not k.startswith("batch.")}
        arrays = [file[k] for k in sorted(file.files) if k.startswith("batch.")]
    model.load_state_dict(weights, strict=False)
    batch = [tensor(array) for array in arrays]
    if variant == "channels_last":
        last: Any = torch.channels_last
        model = model.to(memory_format=last)
        batch = [x.contiguous(memory_format=last) if x.ndim == 4 else x for x in batch]
    optimizer = make_optimizer(model.parameters())
    compute = torch.compile(loss) if variant == "compile" else loss

    def step() -> float:
        optimizer.zero_grad()
        value = compute(model, *batch)
        value.backward()
        optimizer.step()
        return float(value.detach())

    serve(step)


def tensor(array: Any) -> Any:
    """Classes are int64 in torch."""
    made = torch.tensor(array)
    return made if made.dtype.is_floating_point else made.long()


if __name__ == "__main__":
    main(*sys.argv[1:])
