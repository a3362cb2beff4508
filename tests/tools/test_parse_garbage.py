"""Printed texts with tokens changed at random: read back equal, or refused by graphc's errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from graphc.errors import GraphcError
from graphc.ir import Graph
from graphc.ir.parse import parse_graph
from graphc.loops import Kernel, Schedule
from graphc.loops.parse import parse_kernel, parse_schedule
from graphc.loops.verify import verify_kernel
from graphc.loops.verify_schedule import verify_schedule
from graphc.lowering.lower import lower
from graphc.ops.verify import verify
from graphc.passes.pipelines import DEFAULT
from graphc.passes.stages import run_stages
from tests.random_graphs import random_graph, with_gradients

TOKENS = re.compile(r"\w+|\s+|.")
ODD = ["", "-1", "nan", "1e999", "0x", "\x00", '"', "%", "{", "}", "(1,", "é", "f32[", "9" * 30]


def texts(seed: int) -> list[tuple[Callable[[str], Any], str]]:
    """A graph, the same fused with its gradients, its schedule and two kernels, as text."""
    graph, _ = random_graph(seed, nodes=6)
    fused = run_stages(with_gradients(graph), DEFAULT)["fused"]
    schedule = lower(fused)
    kernels = list(schedule.kernels.values())[:2]
    return [
        (parse_graph, str(graph)),
        (parse_graph, str(fused)),
        (parse_schedule, str(schedule)),
        *((parse_kernel, str(kernel)) for kernel in kernels),
    ]


def changed(text: str, random: Random) -> str:
    tokens = TOKENS.findall(text)
    for _ in range(random.choice([1, 1, 2, 4])):
        place, other = random.randrange(len(tokens)), random.randrange(len(tokens))
        match random.randrange(5):
            case 0:
                tokens[place] = random.choice(ODD)
            case 1:
                tokens[place] = tokens[other]
            case 2:
                tokens.insert(place, tokens[other])
            case 3:
                tokens[place], tokens[other] = tokens[other], tokens[place]
            case _:
                del tokens[place : place + random.randrange(1, 20)]
                tokens = tokens or [""]
    return "".join(tokens)


@pytest.mark.parametrize("seed", range(12))
def test_garbage_is_refused_by_graphc(seed: int) -> None:
    random = Random(seed)
    refused = 0
    for parse, text in texts(seed):
        whole = parse(text)
        assert parse(str(whole)) == whole
        for _ in range(20):
            try:
                found = parse(changed(text, random))
                assert parse(str(found)) == found
                check(found)
            except GraphcError:
                refused += 1
    assert refused > 20


def check(found: Graph | Kernel | Schedule) -> None:
    """What the verifiers accept can be worked on. Raises VerifyError where they do not."""
    match found:
        case Graph():
            verify(found)
            run_stages(found, DEFAULT)
        case Kernel():
            verify_kernel(found)
        case Schedule():
            verify_schedule(found)
