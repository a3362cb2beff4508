"""Operators: one record each, in one table."""

from graphc.ops import (
    averages,
    convolution,
    dynamic,
    indexing,
    pooling,
    products,
    sorting,
)
from graphc.ops.build import Builder
from graphc.ops.define import Op, get, make_node, table

# Importing a file enters its operators in the table.
DEFINITIONS = (
    averages,
    convolution,
    dynamic,
    indexing,
    pooling,
    products,
    sorting,
)

__all__ = ["DEFINITIONS", "Builder", "Op", "get", "make_node", "table"]
