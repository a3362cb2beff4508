"""Tracing: from Python functions over tensors to graphs."""

from graphc.frontends.tracing import functional as functional
from graphc.frontends.tracing.gradients import grad, value_and_grad, vjp
from graphc.frontends.tracing.program import Traced, trace, trace_program
from graphc.frontends.tracing.spec import Spec
from graphc.frontends.tracing.tensor import Tensor

__all__ = [
    "Spec",
    "Tensor",
    "Traced",
    "functional",
    "grad",
    "trace",
    "trace_program",
    "value_and_grad",
    "vjp",
]
