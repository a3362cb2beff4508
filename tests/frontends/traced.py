"""Running Python functions both ways: traced, verified and evaluated, and at once on arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphc import nn
from graphc.frontends.tracing import trace_program
from graphc.frontends.tracing.holder import make_state
from graphc.frontends.tracing.trees import build, flatten
from graphc.ops.evaluate import evaluate
from graphc.ops.verify import verify
from graphc.passes.autodiff import expand


def run_traced(fn: Callable[..., Any], *arguments: Any, model: Any = None, seed: int = 0) -> Any:
    """The result of fn, traced into a graph that is verified and run by its meanings."""
    return run_with_updates(fn, *arguments, model=model, seed=seed)[0]


def run_with_updates(
    fn: Callable[..., Any], *arguments: Any, model: Any = None, seed: int = 0
) -> tuple[Any, dict[str, Any]]:
    """As run_traced, and the new elements of the state that fn assigns."""
    traced = trace_program(fn, arguments, model)
    verify(traced.graph)
    expanded = expand(traced.graph)
    verify(expanded)
    state = make_state(traced.holders, seed)
    arrays = {name: state.array(name) for name in state}
    outputs, updates = evaluate(expanded, flatten(arguments)[0], arrays)
    return build(traced.output_tree, outputs), updates


class AtOnce(nn.Module):
    """fn as the forward of a module: on arrays it computes at once, with graphc's operators."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, *arguments: Any) -> Any:
        return self.fn(*arguments)


def check(fn: Callable[..., Any], expected: Any, *arguments: Any, **tolerances: float) -> None:
    """fn gives `expected` (elements and type), traced and at once."""
    for found in (run_traced(fn, *arguments), AtOnce(fn)(*arguments)):
        leaves, tree = flatten(found)
        wanted, expected_tree = flatten(expected)
        assert str(tree) == str(expected_tree)
        for leaf, want in zip(leaves, wanted, strict=True):
            want = np.asarray(want)
            assert (leaf.shape, leaf.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(leaf, want, **{"rtol": 1e-5, "atol": 1e-6, **tolerances})


def normal(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray[Any, Any]:
    """Standard normal elements."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)
