"""An optimizer's update is one sweep over each parameter: it stores the parameter and its moments
in place, and nothing in between."""

from __future__ import annotations

import pytest

import graphc.functional as F
from graphc import Spec, TrainStep, nn, optim

# LAMB and Adafactor scale by norms of the whole update, which must be known before it is applied.
ONE_SWEEP = (
    optim.SGD(lr=0.1, momentum=0.9),
    optim.SGD(lr=0.1, momentum=0.9, nesterov=True),
    optim.Adam(lr=0.1, amsgrad=True),
    optim.AdamW(lr=0.1),
    optim.Adamax(lr=0.1),
    optim.NAdam(lr=0.1),
    optim.RAdam(lr=0.1),
    optim.Adadelta(lr=0.1),
    optim.Adagrad(lr=0.1),
    optim.RMSprop(lr=0.1, momentum=0.9),
    optim.Lion(lr=0.1),
    optim.Adam(lr=0.1, clip_norm=1.0),
)


@pytest.mark.parametrize("optimizer", ONE_SWEEP, ids=lambda optimizer: type(optimizer).__name__)
def test_one_launch_updates_a_parameter_and_its_moments(optimizer: optim.Optimizer) -> None:
    model = nn.Linear(64, 96)
    step = TrainStep(
        model, lambda model, x: F.sum(model(x)), optimizer, Spec((16, 64)), backend="interpreter"
    )
    schedule = step.program.schedule
    states = {s.name for s in schedule.storages if s.purpose == "state" and len(s.shape) == 2}
    assert len(states) > 1
    written = []
    for launch in step.program.launches:
        buffers = launch.kernel.definition.buffers
        found = [
            argument.storage
            for buffer, argument in zip(buffers, launch.arguments, strict=True)
            if buffer.access != "in" and argument.storage in states
        ]
        written += [found] if found else []
    assert [set(found) for found in written] == [states]
