"""Writes tests/frontends/optim/reference.json: what torch's optimizers and schedules do.

Run with a Python that has torch:  python bench/optim_reference.py

Parameters are a 3 by 4 matrix and a vector of 5, float64. Element i of a parameter starts at
sin(i + 1); its gradient at step t (from 1) is 0.3 * parameter + sin(0.7 * t + i).
Lion and LAMB, which torch lacks, are written here as in their papers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

STEPS = 50
SHAPES = [(3, 4), (5,)]
TARGET = Path(__file__).parents[1] / "tests" / "frontends" / "optim" / "reference.json"

Options = dict[str, Any]

CASES: list[tuple[str, Options]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "amsgrad": True, "betas": (0.8, 0.95)}),
    ("RMSprop", {}),
    ("RMSprop", {"momentum": 0.7, "centered": True, "weight_decay": 0.1}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}),
    ("NAdam", {}),
    ("NAdam", {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adafactor", {}),
    ("Adafactor", {"lr": 0.1, "d": 1.5, "weight_decay": 0.1, "eps": (1e-6, 1e-2)}),
    ("Lion", {"lr": 0.01, "weight_decay": 0.1}),
    ("LAMB", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "clip_norm": 0.5}),
    ("SGD", {"lr": 0.1, "clip_value": 0.25}),
]


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of Chen et al., 2023."""

    def __init__(self, params: Any, lr: float = 1e-4, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                c = 0.9 * m + 0.1 * p.grad
                p -= group["lr"] * (torch.sign(c) + group["weight_decay"] * p)
                m.copy_(0.99 * m + 0.01 * p.grad)


class LAMB(torch.optim.Optimizer):
    """Algorithm 2 of You et al., 2020, its scaling function the identity."""

    def __init__(self, params: Any, lr: float = 1e-3, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        self.count = 0

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self.count += 1
        for group in self.param_groups:
            for p in group["params"]:
                m = self.state[p].setdefault("m", torch.zeros_like(p))
                v = self.state[p].setdefault("v", torch.zeros_like(p))
                m.copy_(0.9 * m + 0.1 * p.grad)
                v.copy_(0.999 * v + 0.001 * p.grad**2)
                above, below = m / (1 - 0.9**self.count), v / (1 - 0.999**self.count)
                r = above / (below.sqrt() + 1e-6) + group["weight_decay"] * p
                p -= group["lr"] * p.norm() / r.norm() * r


OWN: dict[str, Callable[..., torch.optim.Optimizer]] = {"Lion": Lion, "LAMB": LAMB}


def start(shape: tuple[int, ...]) -> torch.Tensor:
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float64) + 1).reshape(shape)


def gradient(parameter: torch.Tensor, step: int) -> torch.Tensor:
    offset = torch.arange(parameter.numel(), dtype=torch.float64).reshape(parameter.shape)
    return 0.3 * parameter.detach() + torch.sin(0.7 * step + offset)


def trajectory(name: str, options: Options) -> list[list[list[float]]]:
    """[after steps 1, 2, 10, 50][parameter][element]"""
    options = dict(options)
    norm, value = options.pop("clip_norm", None), options.pop("clip_value", None)
    parameters = [torch.nn.Parameter(start(shape)) for shape in SHAPES]
    optimizer = OWN.get(name, getattr(torch.optim, name, None))(parameters, **options)
    kept = []
    for step in range(1, STEPS + 1):
        for parameter in parameters:
            parameter.grad = gradient(parameter, step)
        if value is not None:
            torch.nn.utils.clip_grad_value_(parameters, value)
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters, norm)
        optimizer.step()
        if step in (1, 2, 10, STEPS):
            kept.append([parameter.detach().reshape(-1).tolist() for parameter in parameters])
    return kept


def schedules() -> Iterable[tuple[str, Options, Callable[[Any], Any]]]:
    from torch.optim import lr_scheduler as torch_schedules

    yield "constant", {}, lambda o: torch_schedules.ConstantLR(o, 1.0)
    yield "step", {"step_size": 7}, lambda o: torch_schedules.StepLR(o, 7)
    yield (
        "multi_step",
        {"milestones": [5, 20], "gamma": 0.5},
        lambda o: torch_schedules.MultiStepLR(o, [5, 20], 0.5),
    )
    yield "exponential", {"gamma": 0.9}, lambda o: torch_schedules.ExponentialLR(o, 0.9)
    yield (
        "polynomial",
        {"total_steps": 40, "power": 2.0},
        lambda o: torch_schedules.PolynomialLR(o, 40, 2.0),
    )
    yield (
        "cosine",
        {"total_steps": STEPS, "minimum": 0.01},
        lambda o: torch_schedules.CosineAnnealingLR(o, STEPS, 0.01),
    )
    yield (
        "one_cycle",
        {"total_steps": STEPS},
        lambda o: torch_schedules.OneCycleLR(o, 0.3, STEPS, cycle_momentum=False),
    )
    yield (
        "inverse_time_decay",
        {"decay_steps": 8.0},
        lambda o: torch_schedules.LambdaLR(o, lambda step: 1.0 / (1.0 + step / 8.0)),
    )


def rates(make: Callable[[Any], Any]) -> list[float]:
    parameter = torch.nn.Parameter(start((5,)))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    schedule = make(optimizer)
    found = []
    for _ in range(STEPS):
        found.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        schedule.step()
    return found


def main() -> None:
    torch.set_default_dtype(torch.float64)
    cases = [
        {"optimizer": name, "options": options, "after": trajectory(name, options)}
        for name, options in CASES
    ]
    curves = [
        {"schedule": name, "options": options, "rates": rates(make)}
        for name, options, make in schedules()
    ]
    found = {"torch": torch.__version__, "optimizers": cases, "schedules": curves}
    TARGET.write_text(json.dumps(found, indent=None) + "\n")


if __name__ == "__main__":
    main()
