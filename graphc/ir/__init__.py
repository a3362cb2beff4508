"""The tensor graph: typed SSA values, immutable nodes, sub-graphs, state and updates."""

from graphc.ir.graph import Array, Attribute, Attributes, Graph, Node, Remark, TensorType, Value

__all__ = ["Array", "Attribute", "Attributes", "Graph", "Node", "Remark", "TensorType", "Value"]
