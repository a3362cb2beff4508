"""Where a training step goes, launch by launch, against what this machine can do.

    python bench/step_profile.py [MODEL ...] [--threads N ...] [--batch-size N] [--seconds S]
                                 [--by-kernel]

MODEL is a ready model (default cifar-cnn) or path.py:function. The FMA peak and the bandwidth of
each level of memory are measured in the same run. `graphc bench MODEL --profile` prints one of
these; here are several, cut off below half a percent of the step.
"""

from __future__ import annotations

import argparse

from graphc.cli.loading import load_model
from graphc.planning.text import format_table
from graphc.runtime.profile import Profile
from graphc.runtime.profile_text import HEAD, NUMBERS, machine_lines, profile_rows, total_lines

LEAST_SHARE = 0.005


def report(profile: Profile) -> str:
    """The machine, the launches of at least LEAST_SHARE of the step, and the totals."""
    long = [row for row in profile.launches if row.seconds >= LEAST_SHARE * profile.step_seconds]
    rest = [row for row in profile.launches if row.seconds < LEAST_SHARE * profile.step_seconds]
    table = format_table([HEAD, *profile_rows(profile, len(long))], NUMBERS)
    left = f"{1e3 * sum(row.seconds for row in rest):.3f} ms in {len(rest)} shorter launches"
    return "\n".join([*machine_lines(profile), "", table, left, "", *total_lines(profile)])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=["cifar-cnn"], metavar="MODEL")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--by-kernel", action="store_true", help="equal layers are one row")
    options = parser.parse_args()
    for model in options.models:
        for threads in options.threads:
            step, training, *_ = load_model(model, None, options.batch_size)
            step.threads = threads
            batch = next(iter(training)) if training is not None else ()
            profile = step.profile(*batch, seconds=options.seconds)
            print(report(profile.by_kernel() if options.by_kernel else profile), end="\n\n")


if __name__ == "__main__":
    main()
