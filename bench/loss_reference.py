"""Writes tests/end_to_end/loss_reference.json: losses of 20 Adam steps in torch, two models.

    python -m bench.loss_reference                with a Python that has torch
    python -m bench.loss_reference --compare      with graphc: how far it is from the file
    (both also with --real --file FILE: at the batch sizes that the models train with)

Weights and batches are those of tests/end_to_end/given.py. torch runs each model in float64, and in
float32 for the deviation that is usual in that type. --search finds seeds for given.py.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.end_to_end.given import PROBLEMS, Problem, batches, weights

TARGET = Path(__file__).parents[1] / "tests" / "end_to_end" / "loss_reference.json"
KINDS = ("float64", "float32")


@dataclass
class Gates:
    """relu and max pooling, and how near they ever came to deciding otherwise.

    margin   the smallest distance of a relu's input from 0, or of a window's largest value from
             the next one where it is above 0; both relative to the root mean square of the array
    """

    margin: float = math.inf

    def relu(self, x: Any) -> Any:
        self._note(x.detach().abs().min(), x)
        return x.relu()

    def pool(self, x: Any) -> Any:
        """The maximum of each 2x2 window of x[N, C, H, W], which is the output of a relu."""
        from torch.nn import functional as F

        windows = F.unfold(x.detach().flatten(0, 1)[:, None], 2, stride=2)
        first, second = windows.topk(2, dim=1).values.unbind(1)
        self._note((first - second)[first > 0].min(), x)
        return F.max_pool2d(x, 2)

    def _note(self, distance: Any, x: Any) -> None:
        scale = x.detach().square().mean().sqrt()
        self.margin = min(self.margin, float(distance / scale))


def forward(name: str, p: dict[str, Any], x: Any, gates: Gates) -> Any:
    """Scores[N, 10] of a ready model, written in torch; `p` are its parameters."""
    from torch.nn import functional as F

    if name == "mlp":
        x = gates.relu(F.linear(x, p["first.weight"], p["first.bias"]))
        x = gates.relu(F.linear(x, p["second.weight"], p["second.bias"]))
        return F.linear(x, p["head.weight"], p["head.bias"])
    for layer in ("conv1", "conv2"):
        x = F.conv2d(x, p[f"{layer}.weight"], p[f"{layer}.bias"])
        x = gates.pool(gates.relu(x))
    x = gates.relu(F.conv2d(x, p["conv3.weight"], p["conv3.bias"])).flatten(1)
    x = gates.relu(F.linear(x, p["hidden.weight"], p["hidden.bias"]))
    return F.linear(x, p["head.weight"], p["head.bias"])


def torch_run(name: str, problem: Problem, dtype: str) -> tuple[list[float], Gates]:
    """The loss before each step, and what the gates saw."""
    import torch

    torch.set_num_threads(1)
    kind = getattr(torch, dtype)
    given = {key: torch.tensor(array, dtype=kind) for key, array in weights(problem).items()}
    parameters = {key: torch.nn.Parameter(tensor) for key, tensor in given.items()}
    optimizer = torch.optim.Adam(parameters.values())
    gates, found = Gates(), []
    for x, y in batches(problem):
        scores = forward(name, parameters, torch.tensor(x, dtype=kind), gates)
        loss = torch.nn.functional.cross_entropy(scores, torch.tensor(y, dtype=torch.int64))
        found.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return found, gates


def write(target: Path, real: bool) -> None:
    import torch

    found: dict[str, Any] = {"torch": torch.__version__}
    for name, problem in problems(real).items():
        found[name] = {kind: torch_run(name, problem, kind)[0] for kind in KINDS}
    target.write_text(json.dumps(found, indent=1) + "\n")


def problems(real: bool) -> dict[str, Problem]:
    """The problems of the test, or the same at the batch sizes that the models train with."""
    sizes = {"mlp": 128, "cifar-cnn": 64}
    if not real:
        return dict(PROBLEMS)
    return {name: replace(given, batch_size=sizes[name]) for name, given in PROBLEMS.items()}


def search(seeds: int) -> None:
    """Print how near to a jump torch float64 comes for each seed: the largest margin is best."""
    for name, problem in PROBLEMS.items():
        for seed in range(seeds):
            losses, gates = torch_run(name, replace(problem, seed=seed), "float64")
            print(f"{name:10} seed {seed:2}  margin {gates.margin:.1e}  last {losses[-1]:.3f}")


def compare(target: Path, real: bool) -> None:
    """Print the largest relative deviations from torch float64, over 10 and over 20 steps."""
    from tests.end_to_end.losses import deviations, graphc_losses

    reference = json.loads(target.read_text())
    for name, problem in problems(real).items():
        exact = reference[name]["float64"]
        rows = {f"graphc {kind}": graphc_losses(name, problem, kind) for kind in KINDS}
        rows["torch float32"] = reference[name]["float32"]
        for who, losses in rows.items():
            off = deviations(losses, exact)
            print(f"{name:10} {who:15} first 10: {max(off[:10]):.2e}   all 20: {max(off):.2e}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--compare", action="store_true", help="graphc against the file")
    parser.add_argument("--real", action="store_true", help="at batches of 128 and 64")
    parser.add_argument("--search", type=int, metavar="SEEDS", help="margins of that many seeds")
    parser.add_argument("--file", type=Path, default=TARGET)
    options = parser.parse_args()
    if options.search:
        search(options.search)
    elif options.compare:
        compare(options.file, options.real)
    else:
        write(options.file, options.real)


if __name__ == "__main__":
    main()
