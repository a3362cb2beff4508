"""graphc's process: python -m bench.peers.graphc_worker ROW THREADS VARIANT FILE.npz"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from bench.models import ROWS
from bench.peers.worker import serve


def main(name: str, threads: str, variant: str, path: str) -> None:
    row = ROWS[name]
    with np.load(path) as file:
        weights = {key: file[key] for key in file.files if not key.startswith("batch.")}
    model = row.model()
    model.load_state_dict(weights)
    step = row.step(int(threads), model)
    arrays = row.arrays()

    def roof() -> Any:
        """GFLOP/s in float32 that as many threads reach."""
        return step.profile(*arrays, seconds=0.2).roof.gflops["float32"]

    serve(lambda: float(step(*arrays)), {"roof": roof})


if __name__ == "__main__":
    main(*sys.argv[1:])
