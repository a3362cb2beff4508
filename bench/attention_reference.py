"""Writes tests/frontends/nn/attention_reference.npz: what torch's attention layers do, float64.

Run with a Python that has torch:  python bench/attention_reference.py

Every case of `CASES` is a layer, its options, the shapes of its inputs and its other arguments;
masks are by name (`mask`). Element i of a parameter or an input, in the order they are named here,
is 0.4 sin(1.7 i + its number). The loss is the sum of all outputs, element i weighted by cos(i).

The file holds `cases`, JSON with the arrays' names and shapes for each, and all their `elements`:
outputs, then the loss's gradient by each input and parameter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

TARGET = Path(__file__).parents[1] / "tests" / "frontends" / "nn" / "attention_reference.npz"

Q, K, V = [2, 4, 5, 6], [2, 4, 7, 6], [2, 4, 7, 3]
SDPA = {"layer": "scaled_dot_product_attention"}
MHA = {"layer": "MultiheadAttention", "options": {"embed_dim": 8, "num_heads": 2}}
SELF = {"inputs": [[5, 2, 8]], "roles": [0, 0, 0]}
CROSS = {"inputs": [[5, 2, 8], [4, 2, 8]], "roles": [0, 1, 1]}
FIRST = {"embed_dim": 8, "num_heads": 2, "batch_first": True}
ENCODER = {"layer": "TransformerEncoderLayer", "inputs": [[2, 5, 8]]}
DECODER = {"layer": "TransformerDecoderLayer", "inputs": [[2, 5, 8], [2, 3, 8]]}
LAYER = {"d_model": 8, "nhead": 2, "dim_feedforward": 12, "dropout": 0.0, "batch_first": True}

CASES: list[dict[str, Any]] = [
    {**SDPA, "inputs": [Q, K, V]},
    {**SDPA, "inputs": [Q, K, V], "call": {"is_causal": True, "scale": 0.7}},
    {**SDPA, "inputs": [Q, K, V], "call": {"attn_mask": "scores"}},
    {**SDPA, "inputs": [Q, K, V], "call": {"attn_mask": "bias"}},
    {**SDPA, "inputs": [Q, [2, 2, 7, 6], [2, 2, 7, 3]], "call": {"enable_gqa": True}},
    {**SDPA, "inputs": [[5, 6], [7, 6], [7, 3]]},
    {**SDPA, "inputs": [[3, 5, 6], [3, 7, 6], [3, 7, 3]], "call": {"is_causal": True}},
    {**SDPA, "inputs": [[1, 1, 1, 4], [1, 1, 1, 4], [1, 1, 1, 4]]},
    {**MHA, **SELF},
    {**MHA, **SELF, "call": {"need_weights": False}},
    {**MHA, **CROSS, "call": {"average_attn_weights": False}},
    {**MHA, "inputs": [[5, 2, 8], [4, 2, 8], [4, 2, 8]], "roles": [0, 1, 2]},
    {**MHA, **CROSS, "call": {"key_padding_mask": "padding"}},
    {**MHA, **SELF, "call": {"attn_mask": "causal", "is_causal": True}},
    {**MHA, **SELF, "call": {"attn_mask": "causal_float", "key_padding_mask": "padding"}},
    {**MHA, **SELF, "call": {"attn_mask": "by_head"}},
    {
        **MHA,
        **SELF,
        "options": {"embed_dim": 8, "num_heads": 2, "add_bias_kv": True, "add_zero_attn": True},
        "call": {"key_padding_mask": "padding"},
    },
    {
        "layer": "MultiheadAttention",
        "options": {**FIRST, "kdim": 6, "vdim": 5, "bias": False},
        "inputs": [[2, 5, 8], [2, 4, 6], [2, 4, 5]],
        "roles": [0, 1, 2],
    },
    {**MHA, "inputs": [[5, 8]], "roles": [0, 0, 0]},
    {**ENCODER, "options": LAYER},
    {**ENCODER, "options": {**LAYER, "norm_first": True, "activation": "gelu", "bias": False}},
    {
        **ENCODER,
        "options": LAYER,
        "call": {"src_mask": "causal", "src_key_padding_mask": "padding"},
    },
    {**DECODER, "options": LAYER, "call": {"tgt_mask": "causal", "tgt_is_causal": True}},
    {
        **DECODER,
        "options": {**LAYER, "norm_first": True},
        "call": {"memory_key_padding_mask": "padding"},
    },
    {
        "layer": "Transformer",
        "options": {**LAYER, "num_encoder_layers": 2, "num_decoder_layers": 1},
        "inputs": [[2, 4, 8], [2, 3, 8]],
        "call": {"tgt_mask": "causal", "src_key_padding_mask": "padding"},
    },
]


def filled(shape: list[int], number: int) -> torch.Tensor:
    elements = 0.4 * np.sin(1.7 * np.arange(int(np.prod(shape))) + number)
    return torch.tensor(elements.reshape(shape), requires_grad=True)


def mask(name: str, case: dict[str, Any], option: str) -> torch.Tensor:
    """A mask by name, for the lengths of the case's inputs."""
    shapes = case["inputs"]
    if case["layer"] == "scaled_dot_product_attention":
        queries, keys = shapes[0][-2], shapes[1][-2]
        seen = (torch.arange(queries)[:, None] * 3 + torch.arange(keys) * 5) % 4 != 1
        return seen if name == "scores" else filled([2, 1, queries, keys], 9).detach()
    axis = 1 if case["options"].get("batch_first") else 0
    of_keys = shapes[0] if option.startswith(("src", "tgt")) else shapes[-1]
    keys = of_keys[axis]
    if option == "tgt_mask":
        keys = shapes[-1 if case["layer"] == "Transformer" else 0][axis]
    if name == "padding":
        return torch.tensor([[False] * keys, [False] * (keys - 2) + [True] * 2])
    later = torch.ones(keys, keys, dtype=torch.bool).triu(1)
    if name == "causal":
        return later
    if name == "by_head":
        return torch.stack([later, later.T, later, later & False])
    return torch.zeros(keys, keys, dtype=torch.float64).masked_fill(later, -torch.inf)


def made(case: dict[str, Any]) -> dict[str, np.ndarray]:
    call = {
        name: mask(value, case, name) if isinstance(value, str) else value
        for name, value in case.get("call", {}).items()
    }
    inputs = [filled(shape, number) for number, shape in enumerate(case["inputs"])]
    parameters: dict[str, torch.Tensor] = {}
    if case["layer"] == "scaled_dot_product_attention":
        outputs: Any = torch.nn.functional.scaled_dot_product_attention(*inputs, **call)
    else:
        layer = getattr(torch.nn, case["layer"])(**case["options"], dtype=torch.float64)
        parameters = dict(layer.named_parameters())
        with torch.no_grad():
            for number, parameter in enumerate(parameters.values()):
                parameter.copy_(filled(list(parameter.shape), number))
        outputs = layer(*[inputs[n] for n in case.get("roles", range(len(inputs)))], **call)
    found = [y for y in (outputs if isinstance(outputs, tuple) else (outputs,)) if y is not None]
    weights = [torch.cos(torch.arange(y.numel(), dtype=y.dtype)).reshape(y.shape) for y in found]
    sum((y * w).sum() for y, w in zip(found, weights, strict=True)).backward()
    arrays = {f"output.{n}": y for n, y in enumerate(found)}
    arrays |= {f"grad.input.{n}": x.grad for n, x in enumerate(inputs)}
    arrays |= {f"grad.{name}": parameter.grad for name, parameter in parameters.items()}
    return {name: array.detach().numpy() for name, array in arrays.items()}


def main() -> None:
    cases, elements = [], []
    for case in CASES:
        arrays = made(case)
        cases.append({**case, "arrays": {name: list(x.shape) for name, x in arrays.items()}})
        elements += [x.ravel() for x in arrays.values()]
    np.savez_compressed(
        TARGET, cases=json.dumps({"cases": cases}), elements=np.concatenate(elements)
    )
    print(f"{TARGET}: {len(cases)} cases")


if __name__ == "__main__":
    main()
