"""Keys and values of positions that a model has seen, kept for the positions that follow.

A cache is a module of its own beside the model, made for a number of rows and positions; programs
that are given one update it where it lies. `make_cache` of attentions and Transformer layers makes
those that fit them, and their `forward` takes one as `cache`.

    cache = layer.make_cache(rows=1, length=256)
    step = graphc.compile(lambda x, position: layer(x, cache=cache, position=position), …)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from graphc import dtypes
from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.nn.module import Module
from graphc.frontends.tracing import functional as F
from graphc.frontends.tracing.convert import whole_number


class KeyValueCache(Module):
    """keys[rows, length, width] and values[rows, length, value_width], zeros at first.

    `append` writes positions that come one after another; `seen` says which keys come no later
    than a query. One that is `whole` is written by `store`, once: an encoder's keys.

    `beams`: rows in groups of so many, one after the other, which change places among themselves
    (`select`). Their rows stay where they are: `origins` says in which row of its group a sequence
    has each position, a group's keys are looked at together, and masks hide those of others.
    """

    keys: Any
    values: Any
    origins: Any

    def __init__(
        self,
        rows: int,
        length: int,
        width: int,
        value_width: int | None = None,
        dtype: Any = None,
        whole: bool = False,
        beams: int = 1,
    ) -> None:
        super().__init__()
        if beams < 1 or rows % beams:
            raise ArgumentError(f"KeyValueCache: {rows} rows are no groups of {beams} beams")
        self.rows = whole_number(rows, "KeyValueCache: rows")
        self.length = whole_number(length, "KeyValueCache: length")
        self.whole, self.beams = whole, beams
        element = dtypes.get("float32" if dtype is None else dtype).numpy
        widths = {"keys": width, "values": width if value_width is None else value_width}
        for name, size in widths.items():
            if min(rows, length, size) < 1:
                raise ArgumentError(
                    f"KeyValueCache: {rows} rows of {length} {name} that are {size} wide; "
                    "expected at least 1 of each"
                )
            self.register_buffer(name, np.zeros((rows, length, size), element), persistent=False)
        if beams > 1:
            self.register_buffer("origins", np.zeros((rows, length), np.int32), persistent=False)

    def append(self, keys: Any, values: Any, position: Any) -> tuple[Any, Any]:
        """Write keys[rows, L, width] and values at positions `position` … `position` + L - 1.

        Gives all keys [groups, beams length, width] and all values. When the program runs it raises
        IndexFault, with nothing written, for positions that are not in the cache.
        """
        self._check(keys, values, most=True)
        starts = (0, position, 0)
        self.keys = F.dynamic_update_slice(self.keys, keys, starts)
        self.values = F.dynamic_update_slice(self.values, values, starts)
        if self.beams == 1:
            return self.keys, self.values
        own = np.arange(self.rows, dtype=np.int32)[:, None] % self.beams
        own = np.broadcast_to(own, (self.rows, keys.shape[1]))
        self.origins = F.dynamic_update_slice(self.origins, F.asarray(own), starts[:2])
        together = (self.rows // self.beams, self.beams * self.length, -1)
        return F.reshape(self.keys, together), F.reshape(self.values, together)

    def store(self, keys: Any, values: Any) -> tuple[Any, Any]:
        """Write keys[rows, length, width] and values as a whole."""
        self._check(keys, values, most=False)
        self.keys, self.values = keys, values
        return self.keys, self.values

    def seen(self, position: Any, queries: int) -> Any:
        """bool[queries, length]: true for keys up to the query at `position` + i, which is what
        F.scaled_dot_product_attention takes as attn_mask.

        With beams, after `append`: bool[groups, 1, beams queries, beams length].
        """
        own = position + F.asarray(np.arange(queries))
        earlier = F.less_equal(F.asarray(np.arange(self.length)), F.expand_dims(own, -1))
        if self.beams == 1:
            return earlier
        beams = self.beams
        origins = F.reshape(self.origins, (-1, beams, 1, 1, self.length))
        mine = F.equal(origins, F.asarray(np.arange(beams, dtype=np.int32)[:, None]))
        both = F.logical_and(mine, F.expand_dims(earlier, 1))
        return F.reshape(both, (-1, 1, beams * queries, beams * self.length))

    def hidden(self, position: Any, queries: int) -> Any:
        """The opposite of `seen`, which is what MultiheadAttention takes as attn_mask."""
        return F.logical_not(self.seen(position, queries))

    def select(self, rows: Any) -> None:
        """Row n goes on with what row rows[n], one of its group, has."""
        if self.beams > 1:
            self.origins = F.take(self.origins, rows, axis=0)
            return
        self.keys = F.take(self.keys, rows, axis=0)
        self.values = F.take(self.values, rows, axis=0)

    def _check(self, keys: Any, values: Any, most: bool) -> None:
        for name, given, kept in (("keys", keys, self.keys), ("values", values, self.values)):
            length = given.shape[1] if given.ndim == 3 else -1
            fits = 0 <= length <= self.length if most else length == self.length
            if not fits or (given.shape[0], given.shape[2]) != (kept.shape[0], kept.shape[2]):
                bound = "at most " if most else ""
                raise ShapeError(
                    f"KeyValueCache: {name} are {given.type}; expected {kept.shape[0]} rows of "
                    f"{bound}{self.length} that are {kept.shape[2]} wide"
                )

    def extra_repr(self) -> str:
        beams = "" if self.beams == 1 else f", beams={self.beams}"
        return f"rows={self.rows}, length={self.length}{beams}"


def growing_caches(cache: Module) -> list[KeyValueCache]:
    """The caches in a module that positions are appended to."""
    modules = cache.modules()
    return [part for part in modules if isinstance(part, KeyValueCache) and not part.whole]


def select_rows(cache: Module, rows: Any) -> None:
    """`select` for every cache that grows."""
    for part in growing_caches(cache):
        part.select(rows)


def positions_in(cache: Module) -> int:
    """How many positions fit into a module of caches. Raises ArgumentError where it has none."""
    lengths = [part.length for part in growing_caches(cache)]
    if not lengths:
        raise ArgumentError(f"{type(cache).__name__} holds no nn.KeyValueCache")
    return min(lengths)


class DecoderLayerCache(Module):
    """A decoder layer's two caches: `own` positions so far, and the encoder's, `memory`."""

    own: KeyValueCache
    memory: KeyValueCache

    def __init__(self, own: KeyValueCache, memory: KeyValueCache) -> None:
        super().__init__()
        self.own, self.memory = own, memory


def parts_of(cache: Any, count: int, what: str) -> Iterable[Any]:
    """One cache for each of `count` layers, None for each where there is none."""
    if cache is None:
        return [None] * count
    parts = list(cache.children()) if isinstance(cache, Module) else list(cache)
    if len(parts) != count:
        raise ArgumentError(f"{what}: a cache of {len(parts)} layers; there are {count}")
    return parts
