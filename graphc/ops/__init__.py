"""Operators: one record each, in one table."""

from graphc.ops import (
    attention,
    attention_grad,
    averages,
    composites_activation,
    composites_channels,
    composites_loss,
    composites_norm,
    composites_soft_loss,
    composites_softmax,
    control,
    conversion,
    convolution,
    dynamic,
    elementwise,
    functions,
    indexing,
    logic,
    pooling,
    positions,
    products,
    random,
    reductions,
    shapes,
    sorting,
    sources,
    views,
)
from graphc.ops.build import Builder
from graphc.ops.define import Op, get, make_node, table

# Importing a file enters its operators in the table.
DEFINITIONS = (
    attention,
    attention_grad,
    averages,
    composites_activation,
    composites_channels,
    composites_loss,
    composites_norm,
    composites_soft_loss,
    composites_softmax,
    control,
    conversion,
    convolution,
    dynamic,
    elementwise,
    functions,
    indexing,
    logic,
    pooling,
    positions,
    products,
    random,
    reductions,
    shapes,
    sorting,
    sources,
    views,
)

__all__ = ["DEFINITIONS", "Builder", "Op", "get", "make_node", "table"]
