"""`einsum`, and the builder that lets rules written for graphs write into a recorder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.frontends.tracing.convert import ArrayLike
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_products import same_type
from graphc.frontends.tracing.recorder import current
from graphc.frontends.tracing.tensor import Tensor
from graphc.ir import Attribute, Graph, Value
from graphc.ops import Builder


class RecordingBuilder(Builder):
    """A builder whose nodes go to the current recorder."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.tensors: dict[Value, Tensor] = {tensor.value: tensor for tensor in tensors}

    def emit(
        self,
        op: str,
        operands: Sequence[Value],
        attrs: Mapping[str, Attribute] | None = None,
        regions: Sequence[Graph] = (),
    ) -> tuple[Value, ...]:
        results = current().emit(op, [self.tensors[value] for value in operands], attrs, regions)
        self.tensors.update({tensor.value: tensor for tensor in results})
        return tuple(tensor.value for tensor in results)


@face()
def einsum(equation: str, *operands: ArrayLike) -> Tensor:
    """The sum of products that the equation describes: ``einsum("bij,bjk->bik", x, y)``.

    Operands are contracted two at a time, from the left.
    """
    from graphc.ops.einsum import einsum as build_einsum

    tensors = same_type(*operands)
    builder = RecordingBuilder(tensors)
    return builder.tensors[build_einsum(builder, equation, *(tensor.value for tensor in tensors))]
