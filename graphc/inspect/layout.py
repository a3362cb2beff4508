"""Where boxes go: in layers from top to bottom, few crossings, short arrows.

After Sugiyama, Tagawa and Toda (1981), in four steps:

    layers     every arrow goes down; a box with no arrow into it sits just above its first reader
    points     an arrow over several layers passes through a point in each; a far one does not: it
               goes straight to its end, under the boxes, and moves none of them
    order      in each layer by the mean place of the neighbours, swept down and up a few times
    places     across, as near to the neighbours' mean as the order allows (pool adjacent violators)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

_SWEEPS = 6
FAR_LAYERS = 8  # from which on an arrow is a far one
_GAP, _LAYER_GAP = 18.0, 34.0  # between boxes, between layers
_POINT_WIDTH = 6.0

Key = str | tuple[int, int]  # a box, or the point of an arrow (its number) in a layer


@dataclass(frozen=True)
class Layout:
    """Centres of the boxes, the way of each arrow, and the size of it all, in pixels.

    far   the numbers of the arrows that go straight under the boxes
    """

    centres: Mapping[str, tuple[float, float]]
    ways: tuple[tuple[tuple[float, float], ...], ...]
    far: frozenset[int]
    width: float
    height: float


def lay_out(sizes: Mapping[str, tuple[float, float]], arrows: Sequence[tuple[str, str]]) -> Layout:
    """Place boxes of the given (width, height). The arrows must form no cycle."""
    layers = _layers(list(sizes), arrows)
    rows, above, below = _rows(layers, arrows)
    for sweep in range(_SWEEPS):
        _order(rows, above if sweep % 2 == 0 else below, down=sweep % 2 == 0)
    widths: dict[Key, float] = {key: size[0] for key, size in sizes.items()}
    across = _places(rows, above, below, widths)
    return _finish(sizes, arrows, layers, rows, across)


def _layers(keys: Sequence[str], arrows: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The layer of each box: the longest way to it, and sources as low as they can be."""
    import networkx

    view: Any = networkx.DiGraph()
    view.add_nodes_from(keys)
    view.add_edges_from(arrows)
    found: dict[str, int] = {}
    for number, generation in enumerate(networkx.topological_generations(view)):
        found.update(dict.fromkeys(generation, number))
    for key in keys:
        readers = [found[reader] for reader in view.successors(key)]
        if readers and not view.in_degree(key):
            found[key] = min(readers) - 1
    return found


Neighbours = dict[Key, list[Key]]


def _rows(
    layers: Mapping[str, int], arrows: Sequence[tuple[str, str]]
) -> tuple[list[list[Key]], Neighbours, Neighbours]:
    """Boxes and points by layer, and the neighbours of each in the layers above and below."""
    rows: list[list[Key]] = [[] for _ in range(max(layers.values(), default=0) + 1)]
    for key, layer in layers.items():
        rows[layer].append(key)
    above: Neighbours = {}
    below: Neighbours = {}
    for number, (source, target) in enumerate(arrows):
        if layers[target] - layers[source] >= FAR_LAYERS:
            continue
        way: list[Key] = [source]
        for layer in range(layers[source] + 1, layers[target]):
            point = (number, layer)
            rows[layer].append(point)
            way.append(point)
        way.append(target)
        for upper, lower in pairwise(way):
            below.setdefault(upper, []).append(lower)
            above.setdefault(lower, []).append(upper)
    return rows, above, below


def _order(rows: list[list[Key]], towards: Neighbours, down: bool) -> None:
    """Sort each row by the mean position of its neighbours in the row before it."""
    places: dict[Key, float] = {}
    for row in rows if down else rows[::-1]:
        own = {key: float(position) for position, key in enumerate(row)}
        means = {key: _mean([places[n] for n in towards.get(key, ())], own[key]) for key in row}
        row.sort(key=lambda key: means[key])
        scale = max(len(row) - 1, 1)
        places.update({key: position / scale * len(row) for position, key in enumerate(row)})


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _places(
    rows: Sequence[Sequence[Key]], above: Neighbours, below: Neighbours, widths: dict[Key, float]
) -> dict[Key, float]:
    """The centre of each box and point across."""
    across: dict[Key, float] = {}
    for row in rows:
        across.update(_spread(row, dict.fromkeys(row, 0.0), widths))
    for sweep in range(_SWEEPS):
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wanted = {
                key: _mean([across[n] for n in (*above.get(key, ()), *below.get(key, ()))], 0.0)
                for key in row
            }
            across.update(_spread(row, wanted, widths))
    return across


def _spread(
    row: Sequence[Key], wanted: Mapping[Key, float], widths: Mapping[Key, float]
) -> dict[Key, float]:
    """Centres in the row's order that do not overlap, least squares from the wanted ones.

    With every centre's offset in a tightly packed row taken away, the order alone binds, and runs
    that would overlap take their mean.
    """
    offsets: list[float] = []
    edge = 0.0
    for key in row:
        half = widths.get(key, _POINT_WIDTH) / 2
        offsets.append(edge + half)
        edge += 2 * half + _GAP
    runs: list[tuple[float, int]] = []  # (sum of wanted positions, how many)
    for key, offset in zip(row, offsets, strict=True):
        runs.append((wanted[key] - offset, 1))
        while len(runs) > 1 and runs[-2][0] / runs[-2][1] > runs[-1][0] / runs[-1][1]:
            (total, count), (more, others) = runs[-2:]
            runs[-2:] = [(total + more, count + others)]
    starts = [total / count for total, count in runs for _ in range(count)]
    return {key: s + o for key, s, o in zip(row, starts, offsets, strict=True)}


def _finish(
    sizes: Mapping[str, tuple[float, float]],
    arrows: Sequence[tuple[str, str]],
    layers: Mapping[str, int],
    rows: Sequence[Sequence[Key]],
    across: Mapping[Key, float],
) -> Layout:
    left = min((across[k] - s[0] / 2 for k, s in sizes.items()), default=0.0)
    left = min([left, *across.values()]) - _GAP
    right = max((across[k] + s[0] / 2 for k, s in sizes.items()), default=0.0)
    right = max([right, *across.values()]) + _GAP
    middles, height = _heights(rows, sizes)
    centres = {key: (across[key] - left, middles[layers[key]]) for key in sizes}
    ways, far = [], set()
    for number, (source, target) in enumerate(arrows):
        between = range(layers[source] + 1, layers[target])
        if len(between) + 1 >= FAR_LAYERS:
            far.add(number)
        inner = () if number in far else between
        points = [(across[number, layer] - left, middles[layer]) for layer in inner]
        (x1, y1), (x2, y2) = centres[source], centres[target]
        start, end = (x1, y1 + sizes[source][1] / 2), (x2, y2 - sizes[target][1] / 2)
        ways.append((start, *points, end))
    return Layout(centres, tuple(ways), frozenset(far), right - left, height)


def _heights(
    rows: Sequence[Sequence[Key]], sizes: Mapping[str, tuple[float, float]]
) -> tuple[list[float], float]:
    """The middle of each layer from the top, and the height of all."""
    middles: list[float] = []
    top = _GAP
    for row in rows:
        height = max((sizes[key][1] for key in row if isinstance(key, str)), default=0.0)
        middles.append(top + height / 2)
        top += height + _LAYER_GAP
    return middles, top - _LAYER_GAP + _GAP
