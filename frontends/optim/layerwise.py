"""Learning rates that fall from the last layer of a model to its first.

Howard and Ruder, Universal language model fine-tuning, arXiv:1801.06146 (discriminative rates, each
1 / 2.6 of the one above); Bao et al., BEiT, arXiv:2106.08254 (layer-wise decay of 0.65 to 0.95).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from graphc.errors import ArgumentError
from graphc.frontends.nn.module_tree import matching
from graphc.frontends.optim.base import Group, Rate, Selector, selects
from graphc.frontends.optim.schedules import Schedule

Stage = str | Sequence[str]
Predicate = Callable[[str, Any], bool]


def layerwise(
    model: Any, lr: Rate, decay: float, *stages: Stage, groups: Sequence[Group] = ()
) -> list[Group]:
    """Groups for an optimizer: the last of K stages trains at lr decay, the first at lr decay^K.

    A stage is an fnmatch pattern of modules' full names, or a sequence of them, from the model's
    input to its output; a pattern that matches several modules, none inside another, is as many
    stages, one after the other. Parameters of no stage (a new head) keep the optimizer's own rate;
    one that several stages read (tied embeddings) has the first one's.
    `groups` are further groups, whose other options hold as well.

    Raises ArgumentError for a pattern that matches no module with parameters.

    >>> from graphc import nn
    >>> model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    >>> groups = layerwise(model, 0.1, 0.5, "[01]")
    >>> [options for _, options in groups]
    [{'lr': 0.025}, {'lr': 0.05}]
    """
    if not decay > 0:
        raise ArgumentError(f"optim.layerwise: decay is {decay!r}, expected above 0")
    modules = [found for stage in stages for found in _modules_of(model, stage)]
    made: list[Group] = []
    for number, names in enumerate(modules):
        rate = {"lr": scaled(lr, decay ** (len(modules) - number))}
        made += _within(model, names, rate, groups)
    return [*made, *groups]


def scaled(lr: Rate, factor: float) -> Rate:
    """A rate or a schedule, times a factor at every step."""
    return lr.scaled(factor) if isinstance(lr, Schedule) else lr * factor


def _modules_of(model: Any, stage: Stage) -> Iterator[tuple[str, ...]]:
    """The modules' names of each stage that a pattern, or a sequence of patterns, makes."""
    if isinstance(stage, str):
        yield from ((name,) for name in _matching(model, stage))
    else:
        yield tuple(name for pattern in stage for name in _matching(model, pattern))


def _matching(model: Any, pattern: str) -> list[str]:
    """The outermost modules that match and have parameters."""
    found: list[str] = []
    modules = dict(model.named_modules())
    for name in matching(modules, pattern):
        inside = any(name.startswith(f"{outer}.") for outer in found)
        if not inside and any(modules[name].parameters()):
            found.append(name)
    if not found:
        names = filter(None, modules)
        raise ArgumentError(
            f"optim.layerwise: no module with parameters matches {pattern!r}; there are "
            f"{', '.join(names)}"
        )
    return found


def _within(
    model: Any, modules: Sequence[str], rate: Mapping[str, Any], groups: Sequence[Group]
) -> Iterator[Group]:
    """The groups, but only of parameters in the modules and at another rate; then the others."""
    is_in = _membership(model, modules)
    for selector, options in groups:
        yield _both(is_in, selector), {**options, **rate}
    yield is_in, rate


def _membership(model: Any, modules: Sequence[str]) -> Predicate:
    """Whether a parameter lies in one of the modules; a tied one does under whatever name."""
    found = [model.get_submodule(name) if name else model for name in modules]
    own = {id(parameter) for module in found for parameter in module.parameters()}

    def is_in(name: str, parameter: Any) -> bool:
        by_name = any(not module or name.startswith(f"{module}.") for module in modules)
        return by_name or id(parameter) in own

    return is_in


def _both(is_in: Predicate, selector: Selector) -> Predicate:
    return lambda name, parameter: is_in(name, parameter) and selects(selector, name, parameter)
