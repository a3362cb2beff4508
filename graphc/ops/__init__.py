"""Operators: one record each, in one table."""

from graphc.ops.build import Builder
from graphc.ops.define import Op, get, make_node, table

__all__ = ["Builder", "Op", "get", "make_node", "table"]
