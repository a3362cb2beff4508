"""The stages of a pipeline, at which a program can be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphc.ir import Graph
from graphc.passes.autodiff import Autodiff
from graphc.passes.base import Observer, Pipeline, default_observers, run_pipeline
from graphc.passes.fuse import Fuse


def split_stages(passes: Pipeline) -> Mapping[str, Pipeline]:
    """{stage: the passes that lead to it from the stage before}, in their order.

    differentiated   all up to the last autodiff; none where there is no autodiff
    optimized        what follows, before the first fuse
    fused            fuse, and all after it

    >>> from graphc.passes.cse import Cse
    >>> {stage: len(part) for stage, part in split_stages((Autodiff(), Cse(), Fuse())).items()}
    {'differentiated': 1, 'optimized': 1, 'fused': 1}
    """
    kinds = [type(step) for step in passes]
    first = len(kinds) - kinds[::-1].index(Autodiff) if Autodiff in kinds else 0
    last = kinds.index(Fuse, first) if Fuse in kinds[first:] else len(kinds)
    return {
        "differentiated": passes[:first],
        "optimized": passes[first:last],
        "fused": passes[last:],
    }


def run_stages(
    graph: Graph, passes: Pipeline, observers: Sequence[Observer] | None = None
) -> dict[str, Graph]:
    """{"traced", "differentiated", "optimized", "fused": the graph at that stage}.

    A stage that changes nothing is the same object as the one before. The same observers watch
    all stages, by default those that the settings ask for.
    """
    watching = default_observers() if observers is None else observers
    stages = {"traced": graph}
    for stage, part in split_stages(passes).items():
        graph = stages[stage] = run_pipeline(graph, part, watching)
    return stages
