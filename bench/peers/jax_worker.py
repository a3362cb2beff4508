"""jax's process: python -m bench.peers.jax_worker TWIN THREADS VARIANT FILE.npz

The whole step is one jitted function that gives its memory back (donated arguments). XLA takes
as many threads as the process may run on, so the parent restricts that.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bench.peers.jax_models import MODELS, SLOTS, TIED
from bench.peers.worker import serve


def main(twin: str, threads: str, variant: str, path: str) -> None:
    loss, optimizer = MODELS[twin]
    with np.load(path) as file:
        left_out = TIED.get(twin, ())
        names = [k for k in file.files if not k.startswith("batch.") and k not in left_out]
        weights = {k: jnp.asarray(file[k]) for k in names if "num_batches" not in k}
        batch = [jnp.asarray(file[k]) for k in sorted(file.files) if k.startswith("batch.")]
    running = {k: w for k, w in weights.items() if "running_" in k}
    trained = {k: w for k, w in weights.items() if k not in running}
    slots = {k: (jnp.zeros_like(w),) * SLOTS[optimizer] for k, w in trained.items()}
    slots = jax.tree.map(jnp.copy, slots)

    @partial(jax.jit, donate_argnums=(0, 1, 2))
    def update(trained: Any, running: Any, slots: Any, count: Any, *batch: Any) -> Any:
        def value(trained: Any) -> Any:
            return loss({**trained, **running}, *batch)

        (found, statistics), gradients = jax.value_and_grad(value, has_aux=True)(trained)
        news = {k: optimizer(w, gradients[k], slots[k], count) for k, w in trained.items()}
        trained, slots = ({k: new[n] for k, new in news.items()} for n in (0, 1))
        return found, trained, statistics or running, slots

    held = [trained, running, slots, 0.0]

    def step() -> float:
        held[3] = float(held[3]) + 1.0
        found, *held[:3] = update(*held, *batch)
        jax.block_until_ready(held[0])
        return float(found)

    serve(step)


if __name__ == "__main__":
    main(*sys.argv[1:])
