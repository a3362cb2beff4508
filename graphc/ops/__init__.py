"""Operators: one record each, in one table."""

from graphc.ops import averages, convolution, pooling, products
from graphc.ops.build import Builder
from graphc.ops.define import Op, get, make_node, table

# Importing a file enters its operators in the table.
DEFINITIONS = (averages, convolution, pooling, products)

__all__ = ["DEFINITIONS", "Builder", "Op", "get", "make_node", "table"]
