"""The final state after 200 real steps is the same, byte for byte, however it is reached."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from graphc import target as targets
from graphc.backends.llvm import program
from graphc.backends.llvm.code import kernel_text
from graphc.passes.pipelines import DEFAULT, FUSE
from tests.end_to_end.training import MODELS, fit, make_step

ROOT = Path(__file__).parents[2]
HOST = targets.host()
KILLS = {"mlp": 5, "cifar-cnn": 20}
names = pytest.mark.parametrize("name", MODELS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("same-bits")


@pytest.fixture(scope="module")
def finals(folder: Path) -> dict[str, bytes]:
    """Each model's final state by one thread, from an empty compile cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHC_CACHE", str(folder / "cache"))
        return {name: fit(name, threads=1) for name in MODELS}


@pytest.fixture(autouse=True)
def warm_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", str(folder / "cache"))


@names
def test_two_threads_and_a_warm_cache(name: str, finals: dict[str, bytes]) -> None:
    assert fit(name, threads=2) == finals[name]


@names
def test_no_cache(name: str, finals: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHC_CACHE", "off")
    assert fit(name, threads=2) == finals[name]


@names
def test_no_groups(name: str, finals: dict[str, bytes]) -> None:
    passes = tuple(step for step in DEFAULT if step not in FUSE)
    assert len(passes) == len(DEFAULT) - 1
    assert fit(name, passes=passes) == finals[name]


# Tiles


def _has(feature: str) -> bool:
    return f"+{feature}," in HOST.features + ","


def other_tiles() -> list[targets.Target]:
    """Targets of this machine's bits whose kernels have other register tiles or vectors."""
    small = replace(HOST, registers=HOST.registers // 2, l2_bytes=1 << 14)
    narrow = replace(HOST, name="half vectors", vector_bytes=HOST.vector_bytes // 2)
    runs_avx2 = _has("avx2") and _has("fma") and HOST.vector_bytes > 32
    return [replace(small, name="small tiles"), narrow, *[targets.X86_64_V3] * runs_avx2]


@names
@pytest.mark.parametrize("target", other_tiles(), ids=lambda target: target.name)
def test_other_tiles(
    name: str,
    target: targets.Target,
    finals: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernels = make_step(name).program.schedule.kernels.values()
    assert any(kernel_text(k, "k", target) != kernel_text(k, "k", HOST) for k in kernels)
    monkeypatch.setattr(program, "host", lambda: target)
    assert fit(name, threads=2) == finals[name]


# Kills


class Runs:
    """Processes that train one after the other in the same folder."""

    def __init__(self, name: str, folder: Path) -> None:
        self.out, self.final = folder / "out", folder / "final"
        self._command = [sys.executable, "-m", "tests.end_to_end.training", name]
        self._command += [str(self.out), str(self.final)]

    def start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def finish(self) -> str:
        """What a process that is left alone prints."""
        process = self.start()
        printed, _ = process.communicate(timeout=120)
        assert process.returncode == 0, printed
        return printed

    def kill(self, seconds: float, while_writing: bool) -> bool:
        """Kill a process that many seconds after its first step, or at the next moment that it
        writes a checkpoint; False where it came to its end before."""
        process = self.start()
        assert process.stdout is not None
        process.stdout.readline()  # comes after the first step, or with the process's end
        time.sleep(seconds)
        while while_writing and process.poll() is None and not self.files(".partial"):
            time.sleep(1e-4)
        return _kill(process)

    def kill_while_starting(self, seconds: float) -> bool:
        process = self.start()
        time.sleep(seconds)
        return _kill(process)

    def start_over(self) -> None:
        shutil.rmtree(self.out)
        self.final.unlink()

    def files(self, ending: str) -> list[str]:
        """Names in the folder of checkpoints; a .partial one is of a writer at work or killed."""
        folder = self.out / "checkpoints"
        found = os.listdir(folder) if folder.is_dir() else []
        return [name for name in found if name.endswith(ending)]


def _kill(process: subprocess.Popen[str]) -> bool:
    """Whether it was still alive; raises AssertionError where it failed by itself."""
    process.kill()
    printed, _ = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), printed
    return process.returncode != 0


@names
def test_killed_and_resumed(name: str, finals: dict[str, bytes], tmp_path: Path) -> None:
    """A third of the kills come while training, a third while a checkpoint is written, a third
    while a process starts, loads and compiles."""
    start = time.perf_counter()
    whole = Runs(name, tmp_path / "whole")
    training_seconds = float(whole.finish().split("trained for ")[1].split()[0])
    starting_seconds = time.perf_counter() - start - training_seconds
    assert whole.final.read_bytes() == finals[name]
    runs, moments = Runs(name, tmp_path / "killed"), random.Random(0)
    kills = torn = kept = 0
    while kills < KILLS[name]:
        if kills % 3 == 2:
            killed = runs.kill_while_starting(moments.uniform(0, starting_seconds))
        else:
            seconds = moments.uniform(0, 1.5 * training_seconds / KILLS[name])
            killed = runs.kill(seconds, while_writing=kills % 3 == 1)
        kills, torn = kills + killed, torn + len(runs.files(".partial"))
        kept += len(runs.files(".safetensors"))
        if not killed:
            assert runs.final.read_bytes() == finals[name]
            runs.start_over()
    runs.finish()
    assert torn > 0 and kept > 0
    assert runs.final.read_bytes() == finals[name]
