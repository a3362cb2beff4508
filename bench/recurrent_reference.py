"""Writes tests/frontends/nn/recurrent_reference.npz: what torch's recurrent layers do, float64.

Run with a Python that has torch:  python bench/recurrent_reference.py

Every case of `CASES` is a layer, its options, T, N and lengths (None: all whole). Element i of a
parameter, an input or a state, in the order they are named here, is 0.4 sin(1.7 i + its number).
The loss is the sum of all outputs and final states, element i of each weighted by cos(i).

The file holds `cases`, JSON with the arrays' names and shapes for each, and all their `elements`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

TARGET = Path(__file__).parents[1] / "tests" / "frontends" / "nn" / "recurrent_reference.npz"
INPUTS, HIDDEN = 3, 4

CASES: list[dict[str, Any]] = [
    {"layer": "RNN", "options": {}, "steps": 5, "rows": 2},
    {"layer": "RNN", "options": {"nonlinearity": "relu", "num_layers": 2}, "steps": 3, "rows": 2},
    {"layer": "RNN", "options": {"bias": False, "bidirectional": True}, "steps": 4, "rows": 1},
    {"layer": "LSTM", "options": {}, "steps": 5, "rows": 2},
    {"layer": "LSTM", "options": {}, "steps": 1, "rows": 1},
    {"layer": "LSTM", "options": {"bias": False, "batch_first": True}, "steps": 4, "rows": 3},
    {"layer": "LSTM", "options": {"num_layers": 2, "bidirectional": True}, "steps": 4, "rows": 2},
    {"layer": "LSTM", "options": {"proj_size": 2, "num_layers": 2}, "steps": 3, "rows": 2},
    {"layer": "LSTM", "options": {}, "steps": 4, "rows": None},
    {
        "layer": "LSTM",
        "options": {"num_layers": 2, "bidirectional": True},
        "steps": 5,
        "rows": 3,
        "lengths": [5, 1, 3],
    },
    {"layer": "GRU", "options": {}, "steps": 5, "rows": 2},
    {"layer": "GRU", "options": {"bidirectional": True}, "steps": 1, "rows": 2},
    {"layer": "GRU", "options": {"num_layers": 3, "bias": False}, "steps": 3, "rows": 2},
    {"layer": "GRU", "options": {}, "steps": 3, "rows": None},
    {
        "layer": "GRU",
        "options": {"bidirectional": True, "batch_first": True},
        "steps": 4,
        "rows": 3,
        "lengths": [2, 4, 1],
    },
    {"layer": "RNNCell", "options": {}, "rows": 2},
    {"layer": "RNNCell", "options": {"nonlinearity": "relu", "bias": False}, "rows": None},
    {"layer": "LSTMCell", "options": {}, "rows": 2},
    {"layer": "GRUCell", "options": {}, "rows": 2},
    {"layer": "GRUCell", "options": {"bias": False}, "rows": None},
]


def filled(shape: tuple[int, ...], number: int) -> torch.Tensor:
    count = int(np.prod(shape))
    elements = 0.4 * np.sin(1.7 * np.arange(count) + number)
    return torch.tensor(elements.reshape(shape), requires_grad=True)


def input_shape(case: dict[str, Any]) -> tuple[int, ...]:
    rows = () if case["rows"] is None else (case["rows"],)
    if "steps" not in case:
        return (*rows, INPUTS)
    first = case["options"].get("batch_first", False) and rows
    return (*rows, case["steps"], INPUTS) if first else (case["steps"], *rows, INPUTS)


def state_shapes(case: dict[str, Any]) -> list[tuple[int, ...]]:
    options = case["options"]
    rows = () if case["rows"] is None else (case["rows"],)
    layers = options.get("num_layers", 1) * (2 if options.get("bidirectional") else 1)
    leading = (layers,) if "steps" in case else ()
    sizes = [options.get("proj_size", HIDDEN)]
    sizes += [HIDDEN] if case["layer"].startswith("LSTM") else []
    return [(*leading, *rows, size) for size in sizes]


def run(case: dict[str, Any]) -> dict[str, np.ndarray]:
    layer = getattr(torch.nn, case["layer"])(INPUTS, HIDDEN, **case["options"])
    names = [name for name, _ in layer.named_parameters()]
    for number, (_, parameter) in enumerate(layer.named_parameters()):
        parameter.data = filled(tuple(parameter.shape), number).detach()
    x = filled(input_shape(case), len(names))
    states = [filled(s, len(names) + 1 + n) for n, s in enumerate(state_shapes(case))]
    hx = tuple(states) if len(states) == 2 else states[0]
    outputs = call(layer, x, hx, case)
    weighted = [(y * torch.cos(torch.arange(y.numel())).reshape(y.shape)).sum() for y in outputs]
    torch.stack(weighted).sum().backward()
    found = {f"output.{n}": y for n, y in enumerate(outputs)}
    found |= {"grad.input": x.grad}
    found |= {f"grad.state.{n}": state.grad for n, state in enumerate(states)}
    found |= {f"grad.{name}": parameter.grad for name, parameter in layer.named_parameters()}
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


def call(layer: Any, x: torch.Tensor, hx: Any, case: dict[str, Any]) -> list[torch.Tensor]:
    """Outputs and final states."""
    if "steps" not in case:
        after = layer(x, hx)
        return list(after) if isinstance(after, tuple) else [after]
    given = x
    if "lengths" in case:
        options = {"batch_first": layer.batch_first, "enforce_sorted": False}
        given = torch.nn.utils.rnn.pack_padded_sequence(x, case["lengths"], **options)
    outputs, final = layer(given, hx)
    if "lengths" in case:
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, layer.batch_first)
    return [outputs, *(final if isinstance(final, tuple) else (final,))]


def main() -> None:
    torch.set_default_dtype(torch.float64)
    elements, listed = [], []
    for case in CASES:
        found = run(case)
        elements += [array.reshape(-1) for array in found.values()]
        shapes = {name: array.shape for name, array in found.items()}
        listed.append({**case, "inputs": INPUTS, "hidden": HIDDEN, "arrays": shapes})
    text = json.dumps({"torch": torch.__version__, "cases": listed})
    np.savez_compressed(TARGET, cases=np.array(text), elements=np.concatenate(elements))


if __name__ == "__main__":
    main()
