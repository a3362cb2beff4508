"""Profiles for other programs: JSON of all rows, and a Chrome trace of one step.

The trace is in the Trace Event Format that Perfetto and chrome://tracing read: a track for every
thread, a slice for every launch with its lines, reason, flops and bytes, and one for every wait.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from graphc.runtime.profile import WHOLE_STEP, LaunchTime, Log, Profile

_PROCESS = 1


# JSON


def format_profile_json(profile: Profile) -> str:
    """The profile as JSON: seconds, bytes and flops are of one step, rates in units of 1e9."""
    seen = profile.measurement
    fields = {
        "name": profile.name,
        "cpu": seen.cpu,
        "threads": seen.threads,
        "rounds": len(seen.logs),
        "step_seconds": profile.step_seconds,
        "stamped_seconds": profile.stamped_seconds,
        "waiting_seconds": profile.waiting_seconds,
        "roof_seconds": profile.roof_seconds,
        "flops": profile.flops,
        "bytes": profile.bytes,
        "roofs": [asdict(roof) for _, roof in sorted(seen.roofs.items())],
        "launches": [_launch_fields(row) for row in profile.launches],
    }
    return json.dumps(fields, indent=1)


def _launch_fields(row: LaunchTime) -> dict[str, Any]:
    launch = row.launch
    return {
        "position": row.position,
        "name": launch.name,
        "kernel": launch.kernel,
        "ops": list(launch.ops),
        "source": list(launch.source),
        "reason": launch.reason,
        "repeats": row.repeats,
        "threads": row.threads,
        "seconds": row.seconds,
        "least_seconds": row.least_seconds,
        "spread": row.spread,
        "flops": row.flops,
        "bytes": row.bytes,
        "gflops": row.gflops,
        "gigabytes": row.gigabytes,
        "roof_seconds": row.roof_seconds,
        "roof": row.limit,
        "share": row.share,
    }


# Chrome trace


def format_trace(profile: Profile) -> str:
    """The fastest stamped step as trace events, times in microseconds."""
    logs = min(profile.measurement.logs, key=lambda threads: _length(threads[0]))
    rows = {row.position: row for row in profile.launches}
    events = [_named("process_name", 0, profile.name)]
    for thread, log in enumerate(logs):
        events.append(_named("thread_name", thread, f"thread {thread}"))
        events.extend(_slices(log, thread, rows))
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns"})


def _length(log: Log) -> float:
    whole = log[log["what"] == WHOLE_STEP][0]
    return float(whole["ended"] - whole["began"])


def _named(what: str, thread: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": _PROCESS, "tid": thread, "args": {"name": name}}


def _slices(log: Log, thread: int, rows: dict[int, LaunchTime]) -> Iterator[dict[str, Any]]:
    for record in log:
        what = int(record["what"])
        if what == WHOLE_STEP:
            continue
        name, arguments = ("wait", {}) if what < 0 else _slice(rows[what])
        yield {
            "ph": "X",
            "name": name,
            "cat": "wait" if what < 0 else "launch",
            "pid": _PROCESS,
            "tid": thread,
            "ts": round(1e6 * float(record["began"]), 3),
            "dur": round(1e6 * float(record["ended"] - record["began"]), 3),
            "args": arguments,
        }


def _slice(row: LaunchTime) -> tuple[str, dict[str, Any]]:
    launch = row.launch
    arguments = {
        "line": ", ".join(launch.source),
        "reason": launch.reason,
        "flops": launch.flops,
        "bytes": row.bytes // row.repeats,
        "% of roof": round(100 * row.share, 1),
        "roof": row.limit,
    }
    return launch.name, arguments
