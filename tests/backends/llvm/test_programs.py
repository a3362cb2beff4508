"""Whole programs on the CPU: against the operators' meanings, and bit for bit among themselves."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import data, nn, optim
from graphc.backends.llvm.addresses import address_of
from graphc.backends.llvm.code import kernel_text, runs_alone
from graphc.backends.llvm.engine import ALLOWED_SYMBOLS
from graphc.backends.llvm.program import NativeProgram
from graphc.backends.llvm.threads import step_text
from graphc.errors import IndexFault, ShapeError
from graphc.planning.barriers import place_barriers
from graphc.target import AARCH64, X86_64_V2, X86_64_V3, X86_64_V4


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 16 * 16, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.head(x.reshape((x.shape[0], -1)))


def make_step(**options):
    return graphc.TrainStep(
        Net(),
        lambda model, x, y: F.cross_entropy(model(x), y),
        optim.Adam(lr=1e-3),
        graphc.Spec((16, 3, 32, 32)),
        graphc.Spec((16,), "int32"),
        **options,
    )


def batches(count):
    loader = data.Loader(data.digits(), 16)
    return [batch for batch, _ in zip(loader, range(count), strict=False)]


def test_training_has_the_same_bits_for_any_number_of_threads():
    one, two = make_step(threads=1), make_step(threads=2)
    for batch in batches(10):
        assert one(*batch) == two(*batch)
    for name, array in one.state_dict().items():
        np.testing.assert_array_equal(array, two.state_dict()[name], err_msg=name)


def test_training_learns_and_follows_the_interpreter():
    native, naive = make_step(), make_step(backend="interpreter")
    losses = []
    for batch in batches(3):
        losses.append(float(native(*batch)))
        assert losses[-1] == pytest.approx(naive(*batch), rel=1e-4)
    for _ in range(3):
        losses += [float(native(*batch)) for batch in batches(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_state_dict_continues_a_run():
    first, second = make_step(), make_step(seed=7)
    for batch in batches(3):
        first(*batch)
    second.load_state_dict(first.state_dict())
    for batch in batches(3):
        assert first(*batch) == second(*batch)


def test_other_shapes_are_an_error_that_names_the_input():
    x, y = batches(1)[0]
    with pytest.raises(ShapeError, match=r"\(x\): dimension 0 is 8, expected 16"):
        make_step()(x[:8], y[:8])


def test_an_index_out_of_range_updates_nothing():
    step = make_step()
    x, y = batches(1)[0]
    step(x, y)
    before = step.state_dict()
    with pytest.raises(IndexFault):
        step(x, np.full_like(y, 11))
    for name, array in step.state_dict().items():
        if name.startswith("model.") or name.startswith("optimizer."):
            np.testing.assert_array_equal(array, before[name], err_msg=name)


@pytest.mark.parametrize("target", [X86_64_V2, X86_64_V3, X86_64_V4, AARCH64], ids=str)
def test_code_for_other_machines_calls_nothing_outside_itself(target, tmp_path):
    from graphc.backends.llvm.engine import object_code

    step = make_step()
    schedule, plan = step.program.schedule, step.program.memory
    symbols = {key: f"k{n}" for n, key in enumerate(schedule.kernels)}
    barriers = place_barriers(schedule, plan, lambda launch: not runs_alone(launch))
    texts = [kernel_text(kernel, symbols[key], target) for key, kernel in schedule.kernels.items()]
    texts.append(step_text(schedule, symbols, barriers, target))
    allowed = ALLOWED_SYMBOLS | set(symbols.values())
    for text in texts:
        path = tmp_path / "code.o"
        path.write_bytes(object_code(text, target))
        listed = subprocess.run(["nm", "-u", path], capture_output=True, text=True, check=True)
        undefined = {line.split()[-1] for line in listed.stdout.splitlines()}
        assert undefined <= allowed


def test_the_arena_is_close_to_its_lower_bound():
    memory = make_step().program.memory
    assert memory.arena_bytes <= 1.10 * memory.lower_bound_bytes
    assert memory.peak_bytes > memory.arena_bytes


def test_a_program_is_one_native_call():
    program = make_step().program
    assert isinstance(program._executable, NativeProgram)
    assert isinstance(program._executable._run, ctypes._CFuncPtr)


def test_arrays_lie_where_they_are_said_to():
    whole = np.arange(60, dtype=np.float32).reshape(6, 10)
    for array in (whole, whole[2:, 3:], whole.T, np.zeros(()), np.zeros((0, 3)), b"12"):
        array = np.frombuffer(array, np.uint8) if isinstance(array, bytes) else array
        assert address_of(array) == array.ctypes.data


@pytest.mark.parametrize("rows, threads", [(4, 1), (4096, 2)])
def test_what_no_launch_shares_has_no_second_thread(rows, threads):
    program = graphc.compile(lambda x: F.exp(x), graphc.Spec((rows, 256)), threads=2)
    assert program._executable.threads == threads
    x = np.linspace(-1, 1, rows * 256, dtype=np.float32).reshape(rows, 256)
    np.testing.assert_allclose(program(x), np.exp(x), rtol=1e-6)


class Own(np.ndarray):
    """A class of arrays that is not NumPy's."""


def test_arrays_are_read_in_whatever_form_they_come():
    program = graphc.compile(lambda x, y: x - 2 * y, graphc.Spec((3, 4)), graphc.Spec((3, 4)))
    x, y = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    expected = (x - 2 * y).tolist()
    across = np.ascontiguousarray(x.T).T
    for first in (x, across, x.astype(np.float64), x.astype(">f4"), x.tolist(), x.view(Own)):
        found = program(first, y)
        assert type(found) is np.ndarray and found.tolist() == expected
