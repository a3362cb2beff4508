"""Attention that looks at trained keys and values beside its own: what `nn.prefix` needs of one."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from graphc.dtypes import DType
from graphc.frontends.nn.module import Module
from graphc.frontends.tracing import functional as F


class PrefixedAttention(Module):
    """The base of attentions that `nn.prefix` can put its keys and values on.

    A subclass says what its keys are in `key_type`, and in `forward` passes keys and values through
    `with_prefix`, and its mask, if there is a prefix, through `with_prefix_seen`.
    """

    @abstractmethod
    def key_type(self) -> tuple[int, DType]:
        """How wide the keys and values are, of all heads together, and their element type."""

    def with_prefix(self, keys: Any, values: Any) -> tuple[Any, Any, int]:
        """keys[N, S, width] and values with the prefix behind each row, and the prefix's length."""
        if "prefix_k" not in self._parameters:
            return keys, values, 0
        length = self.prefix_k.shape[0]
        both = ((keys, self.prefix_k), (values, self.prefix_v))
        keys, values = (_behind(x, F.broadcast_to(p, (x.shape[0], *p.shape))) for x, p in both)
        return keys, values, length

    def with_prefix_seen(self, seen: Any, length: int) -> Any:
        """A bool mask [..., L, S], true where a key is looked at, for the keys with a prefix."""
        return _behind(seen, F.ones((*seen.shape[:-1], length), "bool"), axis=-1)


def _behind(first: Any, second: Any, axis: int = 1) -> Any:
    return F.concatenate([first, second], axis=axis)
