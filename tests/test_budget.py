"""Programs within a memory budget, and the error where there is none."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphc.functional as F
from graphc import Spec, TrainStep, nn, optim
from graphc import budget as budget_module
from graphc.budget import MOST_TRIES
from graphc.compiler import memory_of
from graphc.errors import ArgumentError, MemoryBudgetError
from graphc.models.resnet20 import ResNet20
from graphc.passes.pipeline_text import format_pipeline
from graphc.passes.pipelines import DEFAULT
from graphc.runtime import kept


class Text(nn.Module):
    """Two decoder layers over 16 characters, as a small GPT."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        layers = [nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1) for _ in range(3)]
        self.layers = nn.ModuleList(layers)
        self.head = nn.Linear(16, 20)

    def forward(self, x: Any) -> Any:
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def next_of(model: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(model(x).reshape((-1, 20)), y.reshape((-1,)))


def classify(model: Any, x: Any, y: Any) -> Any:
    return F.cross_entropy(model(x), y)


def text_step(**options: Any) -> TrainStep:
    specs = Spec((16, 4), "int32"), Spec((16, 4), "int32")
    return TrainStep(Text(), next_of, optim.AdamW(lr=1e-3), *specs, threads=1, **options)


def image_step(**options: Any) -> TrainStep:
    specs = Spec((4, 3, 16, 16)), Spec((4,), "int32")
    return TrainStep(ResNet20(), classify, optim.SGD(lr=0.1), *specs, threads=1, **options)


def batch_of(step: TrainStep) -> list[np.ndarray[Any, Any]]:
    random = np.random.default_rng(0)
    return [
        random.integers(0, 10, spec.shape).astype(np.int32)
        if spec.dtype.name == "int32"
        else random.normal(size=spec.shape).astype(np.float32)
        for spec in step.batch_specs
    ]


@pytest.mark.parametrize("make", [image_step, text_step])
def test_a_budget_under_the_peak_gives_a_program_that_fits_with_the_same_bits(make: Any) -> None:
    whole = make()
    memory = whole.program.memory
    budget = memory.peak_bytes - memory.arena_bytes * 3 // 10
    tight = make(memory_budget=budget)
    assert tight.program.memory.peak_bytes <= budget
    batch = batch_of(whole)
    for _ in range(2):
        assert float(whole(*batch)) == float(tight(*batch))
    state = tight.state_dict()
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_a_budget_that_is_kept_anyway_changes_nothing() -> None:
    whole = text_step()
    roomy = text_step(memory_budget=whole.program.memory.peak_bytes)
    assert roomy.program.memory == whole.program.memory


def test_a_smaller_budget_never_takes_more() -> None:
    step = text_step()
    whole = memory_of(step.graph, backend="interpreter", threads=1)
    peaks = [
        memory_of(
            step.graph,
            backend="interpreter",
            threads=1,
            memory_budget=whole.peak_bytes - whole.arena_bytes * tenths // 12,
        ).peak_bytes
        for tenths in range(4)
    ]
    assert peaks == sorted(peaks, reverse=True)
    assert peaks[3] < peaks[0]


def test_an_impossible_budget_names_what_was_reached_and_who_is_live() -> None:
    step = text_step()
    whole = memory_of(step.graph, backend="interpreter", threads=1)
    with pytest.raises(MemoryBudgetError) as error:
        memory_of(step.graph, backend="interpreter", threads=1, memory_budget=1000)
    text = str(error.value)
    assert f"needs {whole.peak_bytes} bytes" in text
    assert "the budget is 1000" in text
    assert "with all computed again that may be" in text
    assert "test_budget.py:" in text


def test_the_search_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from graphc import compiler

    tries: list[int] = []
    whole = compiler._Compilation.with_less_memory

    def counted(self: Any, percent: int) -> Any:
        tries.append(percent)
        return whole(self, percent)

    monkeypatch.setattr(compiler._Compilation, "with_less_memory", counted)
    step = image_step()
    for budget in (1000, 2_500_000):
        tries.clear()
        with contextlib.suppress(MemoryBudgetError):
            memory_of(step.graph, backend="interpreter", threads=1, memory_budget=budget)
        assert len(tries) <= MOST_TRIES
        assert tries == sorted(set(tries), reverse=True)


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(8, 16)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.rnn(x)[0][-1])


def loop_step(**options: Any) -> TrainStep:
    specs = Spec((20, 4, 8)), Spec((4,), "int32")
    return TrainStep(Loop(), classify, optim.SGD(lr=0.1), *specs, threads=1, **options)


def test_loops_run_again_from_what_each_iteration_starts_from() -> None:
    whole = loop_step()
    memory = whole.program.memory
    tight = loop_step(memory_budget=memory.peak_bytes - memory.arena_bytes // 10)
    assert tight.program.memory.peak_bytes <= memory.peak_bytes - memory.arena_bytes // 10
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 4, 8)).astype(np.float32), np.array([0, 2, 1, 1], np.int32)
    for _ in range(2):
        assert float(whole(x, y)) == float(tight(x, y))
    state = tight.state_dict()
    for name, array in whole.state_dict().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def test_what_was_found_is_not_searched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    memory = text_step().program.memory
    budget = memory.peak_bytes - memory.arena_bytes * 3 // 10
    first = text_step(memory_budget=budget)
    found = first.program.memory
    monkeypatch.setattr(budget_module, "_Search", lambda *_: pytest.fail("it is searched again"))
    again = text_step(memory_budget=budget)
    assert again.program.memory == found
    stages = [str(step.program.stage("fused")) for step in (first, again)]
    assert stages[0] == stages[1]
    batch = batch_of(again)
    assert float(first(*batch)) == float(again(*batch))


def test_a_choice_that_no_longer_fits_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", str(tmp_path))
    memory = text_step().program.memory
    budget = memory.peak_bytes - memory.arena_bytes * 3 // 10
    text_step(memory_budget=budget).compile()
    (choice,) = kept.CHOICES.entries()
    kept.CHOICES.write(choice.path.name, format_pipeline(DEFAULT).encode())
    assert text_step(memory_budget=budget).program.memory.peak_bytes <= budget


@pytest.mark.parametrize("budget", [0, -5, 1e6, "8MB", True])
def test_a_budget_is_a_number_of_bytes(budget: Any) -> None:
    with pytest.raises(ArgumentError, match=f"memory_budget is {budget!r}"):
        memory_of(image_step().graph, memory_budget=budget)
