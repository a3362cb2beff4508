"""A profile as a table: the machine's roofs, the launches, the longest first, and the totals."""

from __future__ import annotations

from collections.abc import Sequence

from graphc.planning.text import format_bytes, format_table
from graphc.runtime.profile import LaunchTime, Profile, Roof

HEAD = (
    "ms",
    "best",
    "%",
    "GFLOP/s",
    "GB/s",
    "% of roof",
    "roof",
    "must move",
    "launch",
    "line",
    "reason",
)
NUMBERS = 8  # the first columns, which are flush right
_SHOWN = 40  # launches
_SHOWN_LINES = 3  # of the model, in a row


def format_profile(profile: Profile) -> str:
    """The machine, the table of the longest launches, and what the step comes to."""
    rows = [HEAD, *profile_rows(profile, _SHOWN)]
    left_out = len(profile.launches) - (len(rows) - 1)
    note = [f"and {left_out} shorter launches"] if left_out else []
    table = format_table(rows, NUMBERS)
    return "\n".join([*machine_lines(profile), "", table, *note, "", *total_lines(profile)])


def profile_rows(profile: Profile, limit: int | None) -> list[tuple[str, ...]]:
    """A row of texts for every launch, in the columns of HEAD, the longest first."""
    return [_row(row, profile) for row in profile.by_time()[:limit]]


def _row(row: LaunchTime, profile: Profile) -> tuple[str, ...]:
    launch, whole = row.launch, profile.launch_seconds or 1.0
    times = f" x{row.repeats}" if row.repeats > 1 else ""
    alone = ", one thread" if row.threads < profile.measurement.threads else ""
    return (
        f"{1e3 * row.seconds:.3f}",
        f"{1e3 * row.least_seconds:.3f}",
        f"{100 * row.seconds / whole:.1f}",
        f"{row.gflops:.1f}" if row.flops else "",
        f"{row.gigabytes:.1f}",
        f"{100 * row.share:.0f}",
        row.limit + alone,
        format_bytes(row.bytes),
        launch.name + times,
        _lines(launch.source),
        launch.reason,
    )


def _lines(source: Sequence[str]) -> str:
    more = f" and {len(source) - _SHOWN_LINES} more" if len(source) > _SHOWN_LINES else ""
    return ", ".join(source[:_SHOWN_LINES]) + more


def machine_lines(profile: Profile) -> list[str]:
    """The processor, and what it reached beside the steps."""
    seen = profile.measurement
    head = f"{profile.name} on {seen.cpu}, {_threads(seen.threads)}, {len(seen.logs)} rounds"
    return [head, *(_roof_line(seen.roofs[count]) for count in sorted(seen.roofs))]


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _roof_line(roof: Roof) -> str:
    peaks = ", ".join(f"{dtype} {rate:.0f}" for dtype, rate in roof.gflops.items())
    levels = "; ".join(
        f"{level.name} " + ", ".join(f"{kind} {rate:.0f}" for kind, rate in level.rates.items())
        for level in roof.levels
    )
    return f"measured peak of {_threads(roof.threads)}: FMA GFLOP/s {peaks}; GB/s {levels}"


def total_lines(profile: Profile) -> list[str]:
    """Where the whole step's time goes; the percentages above are of the launches' time."""
    fastest = _ms(min(profile.measurement.step_seconds))
    rounds = len(profile.measurement.step_seconds)
    peak = profile.roof.gflops["float32"] * 1e9
    best = _ms(sum(row.least_seconds for row in profile.launches))
    rate = profile.flops / (profile.step_seconds or 1.0)
    return _columns(
        ("step", _ms(profile.step_seconds), f"median of {rounds}; the fastest took {fastest}"),
        ("with stamps", _ms(profile.stamped_seconds), "as the launches were timed"),
        (
            "launches",
            _ms(profile.launch_seconds),
            f"medians of each, of its slowest thread; the best of each {best}",
        ),
        ("the rest", _ms(profile.waiting_seconds), "waiting at barriers, and other work here"),
        ("all at roof", _ms(profile.roof_seconds), "the least that these launches could take"),
        (
            "computes",
            f"{profile.flops / 1e9:.3f} GFLOP",
            f"{rate / 1e9:.1f} GFLOP/s, {100 * rate / peak:.1f} % of the float32 peak",
        ),
        ("must move", format_bytes(profile.bytes), f"in {len(profile.launches)} launches"),
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3f} ms"


def _columns(*rows: Sequence[str]) -> list[str]:
    return format_table(rows, numbers=0).splitlines()
