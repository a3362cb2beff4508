"""`graphc bench`: the time of a step, its profile by launch, and what each fusion gives."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

from graphc import settings
from graphc.cli.batches import batch_of
from graphc.cli.loading import load
from graphc.errors import ArgumentError

_SHOWN = 30  # rows of a profile
_SHOWN_TENSORS = 12  # that are the furthest off


def bench(options: argparse.Namespace) -> None:
    """Measure a training step; batches come from the training loader where there is one."""
    if not 0 < options.seconds < math.inf:
        raise ArgumentError(f"--seconds is {options.seconds}, expected a number above 0")
    if (options.trace or options.all or options.by_kernel) and not options.profile:
        raise ArgumentError("--trace, --all and --by-kernel go with --profile")
    if options.trace and not Path(options.trace).parent.is_dir():
        raise ArgumentError(f"--trace: there is no folder {Path(options.trace).parent}")
    step, training, *_ = load(options)
    batch = batch_of(step, training)
    if options.profile:
        _profile(options, step, batch)
    elif options.fused_vs_unfused:
        _fusions(options, step, batch)
    else:
        _step(options, step, batch)


def _profile(options: argparse.Namespace, step: Any, batch: Any) -> None:
    from graphc.inspect.tables import print_table
    from graphc.runtime.profile_text import HEAD, NUMBERS, machine_lines, profile_rows, total_lines

    profile = step.profile(*batch, seconds=options.seconds)
    if options.trace:
        Path(options.trace).write_text(profile.to_trace())
    profile = profile.by_kernel() if options.by_kernel else profile
    if options.json:
        print(profile.to_json())
        return
    rows = profile_rows(profile, None if options.all else _SHOWN)
    print(*machine_lines(profile), "", sep="\n")
    print_table(HEAD, rows, NUMBERS)
    left_out = len(profile.launches) - len(rows)
    print(f"and {left_out} shorter launches (--all)\n" if left_out else "")
    print(*total_lines(profile), sep="\n")
    if options.trace:
        print(f"\ntrace of one step: {options.trace} (open it in Perfetto or chrome://tracing)")


def _step(options: argparse.Namespace, step: Any, batch: Any) -> None:
    from graphc.inspect.timing import race
    from graphc.runtime.profile import made_inputs

    program = step.program
    arrays = batch or made_inputs(program.graph)
    times = race({"step": lambda: step(*arrays)}, options.seconds)["step"]
    found = {
        "name": program.graph.name,
        "threads": settings.threads() if step.threads is None else step.threads,
        "median_seconds": times.median,
        "least_seconds": times.least,
        "rounds": len(times.seconds),
        "peak_bytes": program.memory.peak_bytes,
    }
    if options.json:
        print(json.dumps(found, indent=1))
        return
    rate = 1 / times.median
    print(f"{found['name']}: {1e3 * times.median:.3f} ms a step ({rate:.1f} steps/s)")
    print(f"median of {len(times.seconds)} rounds; the fastest took {1e3 * times.least:.3f} ms")


def _fusions(options: argparse.Namespace, step: Any, batch: Any) -> None:
    from graphc.frontends.compile import pipeline
    from graphc.inspect.fusion import compare, measure_fusions
    from graphc.inspect.fusion_report import fusion_fields, verdict
    from graphc.runtime.profile import made_inputs

    parts = (step.graph, step.state, batch or made_inputs(step.graph), pipeline(True, step.passes))
    where = {"backend": step.backend, "threads": step.threads}
    differences = compare(*parts, **where)
    agreement = verdict(differences)
    fusions = measure_fusions(*parts, **where, seconds=options.seconds)
    if options.json:
        print(json.dumps(fusion_fields(differences, fusions), indent=1))
    else:
        _print_fusions(agreement, differences, fusions)


def _print_fusions(agreement: str, differences: Any, fusions: Any) -> None:
    from graphc.inspect.fusion_report import (
        DIFFERENCE_HEAD,
        FUSION_HEAD,
        FUSION_NUMBERS,
        difference_rows,
        fusion_rows,
    )
    from graphc.inspect.tables import print_table

    print_table(DIFFERENCE_HEAD, difference_rows(differences, _SHOWN_TENSORS), 3)
    left_out = len(differences) - _SHOWN_TENSORS
    print(f"and {left_out} tensors that are closer (--json)" if left_out > 0 else "")
    print(f"{agreement}\n")
    print_table(FUSION_HEAD, fusion_rows(fusions), FUSION_NUMBERS)
    rounds = len(fusions.fused.times.seconds)
    print(f"\nmedians of {rounds} interleaved rounds of whole steps")
    if fusions.unused:
        print(f"nothing to do here for {', '.join(fusions.unused)}")
