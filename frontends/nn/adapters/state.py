"""The adapters of a model as values: which they are, as JSON, and what their training changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphc.errors import ArgumentError, StateError
from graphc.frontends.nn.adapters.base import (
    Adapter,
    adapted_layers,
    adapter_parameters,
    attach,
)
from graphc.frontends.nn.adapters.bottleneck import Bottleneck
from graphc.frontends.nn.adapters.low_rank import LowRank
from graphc.frontends.nn.adapters.prefix import Prefix
from graphc.frontends.nn.module import Module

Elements = np.ndarray[Any, Any]
Configuration = list[dict[str, Any]]

KINDS: Mapping[str, type[Adapter]] = {kind.kind: kind for kind in (LowRank, Bottleneck, Prefix)}


def adapter_config(model: Module) -> Configuration:
    """The adapters and the layers that carry them: JSON, from which `attach_adapters` makes them.

    >>> from graphc import nn
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    >>> _ = nn.lora(model, "*", rank=2)
    >>> adapter_config(model)
    [{'kind': 'lora', 'rank': 2, 'alpha': 16, 'dropout': 0.0, 'layers': ['0', '1']}]
    """
    layers: dict[Adapter, list[str]] = {}
    for name, _, adapter in adapted_layers(model):
        layers.setdefault(adapter, []).append(name)
    return [
        {"kind": adapter.kind, **adapter.options, "layers": names}
        for adapter, names in layers.items()
    ]


def attach_adapters(model: Module, config: Sequence[Mapping[str, Any]]) -> None:
    """Put on the adapters of an `adapter_config`; those that are there already stay.

    Raises StateError for a configuration that is none, ArgumentError for layers that the model has
    not, or that carry others of that kind.
    """
    for adapter, layers in [_read(entry) for entry in config]:
        there = {name for name, _, known in adapted_layers(model) if known == adapter}
        wanted = [name for name in layers if name not in there]
        if wanted:
            attach(model, _exactly(wanted), adapter)


@contextmanager
def adapters_kept_on_error(model: Module) -> Iterator[None]:
    """Brings the adapters and what is trained back to what they were where the block fails."""
    layers = [(layer, layer._adapters, dict(layer._parameters)) for layer in model.modules()]
    trained = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        yield
    except BaseException:
        for layer, adapters, parameters in layers:
            layer.__dict__.update(_adapters=adapters, _parameters=parameters)
        for parameter, is_trained in trained:
            parameter.requires_grad = is_trained
        raise


def _read(entry: Any) -> tuple[Adapter, list[str]]:
    try:
        options = dict(entry)
        kind, layers = KINDS[options.pop("kind")], [str(name) for name in options.pop("layers")]
        return kind(**options), layers
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"{entry!r} describes no adapter: {error!r}") from None


def _exactly(names: Sequence[str]) -> list[str]:
    """Patterns that match these names and no others."""
    return ["".join(f"[{c}]" if c in "*?[" else c for c in name) for name in names]


def adapter_state_dict(model: Module) -> dict[str, Elements]:
    """{full name: elements} of the adapters, frozen ones too, and of what else is trained."""
    kept = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    kept |= {name for name, _ in adapter_parameters(model)}
    return {name: array for name, array in model.state_dict().items() if name in kept}


def load_adapter_state_dict(model: Module, arrays: Mapping[str, Any]) -> None:
    """Take up an `adapter_state_dict`; the parameters in it are trained from then on.

    Raises StateError for names that the model has not or other shapes, and where a parameter of an
    adapter is missing.
    """
    parameters = dict(model.named_parameters())
    unexpected = [name for name in arrays if name not in parameters]
    missing = [name for name, _ in adapter_parameters(model) if name not in arrays]
    if unexpected or missing:
        raise StateError(
            f"adapters do not fit the model; missing: {', '.join(missing) or 'none'}; "
            f"unexpected: {', '.join(unexpected) or 'none'}"
        )
    model.load_state_dict(arrays, strict=False)
    for name in arrays:
        parameters[name].requires_grad = True


def require_adapters(model: Module) -> None:
    """Raises ArgumentError for a model without adapters."""
    if not any(True for _ in adapted_layers(model)):
        raise ArgumentError(
            f"the {type(model).__name__} has no adapters; nn.lora, nn.bottleneck and nn.prefix "
            "attach them (merged ones have left the model)"
        )
