"""Naive evaluation of kernels and schedules with NumPy: what the language means, to the bit."""

from graphc.loops.evaluate.kernels import evaluate_expr, logical_view, run_kernel
from graphc.loops.evaluate.scalars import evaluate_formula
from graphc.loops.evaluate.schedules import run_schedule

__all__ = ["evaluate_expr", "evaluate_formula", "logical_view", "run_kernel", "run_schedule"]
