"""Operators: one record each, in one table."""

from importlib import import_module

from graphc.ops.build import Builder
from graphc.ops.define import Op, get, make_node, table

# Importing a file enters its operators in the table.
DEFINITIONS = (
    "attention", "attention_grad", "averages", "composites_activation", "composites_channels",
    "composites_loss", "composites_norm", "composites_soft_loss", "composites_softmax", "control",
    "conv_block", "conversion", "convolution", "dynamic", "elementwise", "functions", "gru_cell",
    "indexing", "indexing_elements", "logic", "lstm_cell", "masked_pooling", "pooling",
    "positions", "products", "random", "reductions", "shapes", "sorting", "sources", "views",
)  # fmt: skip
for _name in DEFINITIONS:
    import_module(f"graphc.ops.{_name}")

OWN = frozenset(table())  # what graphc itself defines; others may add to the table later

__all__ = ["DEFINITIONS", "OWN", "Builder", "Op", "get", "make_node", "table"]
