"""Kernels made to make analysis grow without bound: all are read and verified at once."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from graphc.loops.parse import parse_kernel
from graphc.loops.verify import unproved_accesses, verify_kernel


def lets(count: int, first: str, value: Callable[[str], str]) -> str:
    """v0 = first, and each next of the one before."""
    lines = [f"let v0 = {first}"]
    lines += [f"let v{k} = {value(f'v{k - 1}')}" for k in range(1, count)]
    return "\n".join(lines)


def nested(depth: int, around: str, inside: str) -> str:
    for _ in range(depth):
        inside = around.replace("_", inside)
    return inside


CASES = {
    "quotients of quotients": f"let a = n[{nested(50, '(_ * 5 // 4)', 'n[0]')} % 4]",
    "remainders of remainders": f"let a = n[{nested(50, '(_ * 5 % 7)', 'n[0]')} % 4]",
    "lets of quotients": lets(300, "n[0]", lambda v: f"{v} // 2 + {v} % 3 + {v}"),
    "squares of a constant": lets(400, "2", lambda v: f"{v} * {v} + {v}"),
    "doubles": lets(400, "n[0]", lambda v: f"{v} + {v}"),
    "conditions": lets(1000, "n[0] < 4", lambda v: f"{v} and {v}")
    + " when v999 { store y[n[0]] = f32(0.0) }",
    "sums": "let a = n[" + " + ".join(["n[0]"] * 100) + "]",
    "products": "let a = n[" + " * ".join(["n[0]"] * 100) + "]",
    "minima": f"when n[0] < {nested(50, 'min(_, n[1])', 'n[2]')} {{ store y[n[0]] = f32(0.0) }}",
    "blocks": "".join(f"serial k{k} in 0..4 {{ let a = k{k} }}" for k in range(2000)),
    "a deep nest": "".join(f"serial k{k} in 0..4 {{" for k in range(60))
    + "store y[k0] = f32(0.0)"
    + "}" * 60,
}


@pytest.mark.parametrize("case", CASES)
def test_no_kernel_takes_long_to_verify(case: str) -> None:
    start = time.perf_counter()
    kernel = parse_kernel(f"kernel @k(in n: i64[4], out y: f32[4]) {{ {CASES[case]} }}")
    verify_kernel(kernel)
    unproved_accesses(kernel)
    assert parse_kernel(str(kernel)) == kernel
    assert time.perf_counter() - start < 10
