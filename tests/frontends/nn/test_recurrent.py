"""Recurrent layers beside torch's (stored by bench/recurrent_reference.py), masks, and errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphc
import graphc.functional as F
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, IndexFault, ShapeError
from tests.frontends.nn.references import Array, Case, filled, load

REFERENCE = load("recurrent")


def name_of(case: Case) -> str:
    options = [f"{name}={value}" for name, value in case["options"].items()]
    sizes = [f"T{case['steps']}"] if "steps" in case else []
    return "-".join([case["layer"], *options, *sizes, f"N{case['rows']}"])


def weighted(outputs: list[Any]) -> Any:
    """Element i of each output, times cos(i), summed."""
    terms = [F.sum(y * np.cos(np.arange(y.size)).reshape(y.shape)) for y in outputs]
    return sum(terms[1:], terms[0])


def flat(value: Any) -> list[Any]:
    return [leaf for part in value for leaf in flat(part)] if isinstance(value, tuple) else [value]


class Weighted(nn.Module):
    """A layer on an input, and the weighted sum of all that it gives."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        layer = getattr(nn, case["layer"])
        self.layer = layer(case["inputs"], case["hidden"], dtype="float64", **case["options"])
        self.lengths = case.get("lengths")

    def forward(self, x: Any, *states: Any) -> tuple[Any, list[Any]]:
        hx = states if len(states) == 2 else states[0]
        extra = {} if self.lengths is None else {"lengths": np.array(self.lengths)}
        outputs = flat(self.layer(x, hx, **extra))
        return weighted(outputs), outputs


def prepared(case: Case, arrays: dict[str, Array]) -> tuple[Weighted, list[Array]]:
    """The layer with its weights, and (input, states)."""
    model = Weighted(case)
    names = [name for name, _ in model.layer.named_parameters()]
    assert names == [n.removeprefix("grad.") for n in arrays if "weight" in n or "bias" in n]
    elements = {name: filled(arrays[f"grad.{name}"].shape, n) for n, name in enumerate(names)}
    model.layer.load_state_dict(elements)
    given = ["grad.input", *(name for name in arrays if name.startswith("grad.state"))]
    return model, [filled(arrays[name].shape, len(names) + n) for n, name in enumerate(given)]


@pytest.mark.parametrize(("case", "arrays"), REFERENCE, ids=[name_of(c) for c, _ in REFERENCE])
def test_layers_give_what_torch_gives(case: Case, arrays: dict[str, Array]) -> None:
    """Outputs, final states, and the gradients of inputs and states, compiled."""
    model, given = prepared(case, arrays)
    function = graphc.value_and_grad(
        lambda *arguments: weighted_of(model, *arguments), argnums=tuple(range(len(given)))
    )

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arguments: Any) -> Any:
            return self.model(*arguments)[1], function(*arguments)[1]

    specs = [graphc.Spec(array.shape, "float64") for array in given]
    outputs, gradients = graphc.compile(Whole(), *specs)(*given)
    for number, output in enumerate(outputs):
        np.testing.assert_allclose(output, arrays[f"output.{number}"], rtol=1e-12, atol=1e-13)
    wanted = [arrays[name] for name in arrays if name.startswith(("grad.input", "grad.state"))]
    for found, expected in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def weighted_of(model: Weighted, *arguments: Any) -> Any:
    return model(*arguments)[0]


@pytest.mark.parametrize(("case", "arrays"), REFERENCE, ids=[name_of(c) for c, _ in REFERENCE])
def test_weights_get_torchs_gradients(case: Case, arrays: dict[str, Array]) -> None:
    """One step of plain descent, rate 1: the weights move by the gradient."""
    model, given = prepared(case, arrays)
    before = model.state_dict()
    specs = [graphc.Spec(array.shape, "float64") for array in given]
    step = graphc.TrainStep(model, weighted_of, optim.SGD(lr=1.0), *specs)
    step(*given)
    after = model.state_dict()
    for name in before:
        expected = arrays[f"grad.{name.removeprefix('layer.')}"]
        np.testing.assert_allclose(before[name] - after[name], expected, rtol=1e-9, atol=1e-12)


def gradient_of(f: Any, x: Array, eps: float = 1e-6) -> Array:
    """Central differences."""
    found = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = eps
        found[at] = (f(x + step) - f(x - step)) / (2 * eps)
    return found


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_gradients_of_masked_layers_are_finite_differences(kind: str) -> None:
    """Both directions, one sequence of length 0 and one of length 1 among them."""
    layer = getattr(nn, kind)(2, 3, bidirectional=True, dtype="float64")
    lengths = np.array([3, 1, 0])

    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any) -> Any:
            return weighted(flat(self.layer(x, lengths=lengths)))

    model = Loss()
    x = filled((3, 3, 2), 1)
    program = graphc.compile(model, graphc.Spec(x.shape, "float64"))
    slope = graphc.compile(graphc.grad(model), graphc.Spec(x.shape, "float64"))(x)
    assert np.all(slope[:, 2] == 0) and np.all(slope[1:, 1] == 0)
    np.testing.assert_allclose(slope, gradient_of(program, x), rtol=1e-3, atol=1e-5)


def test_what_lies_behind_the_end_does_not_matter() -> None:
    layer = nn.LSTM(2, 3, num_layers=2, bidirectional=True)
    x = np.random.default_rng(0).normal(size=(5, 2, 2)).astype(np.float32)
    changed = x.copy()
    changed[3:, 1] = np.nan
    specs = graphc.Spec(x.shape), graphc.Spec((2,), "int32")
    lengths = np.array([5, 3], np.int32)

    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Any, lengths: Any) -> Any:
            return self.layer(x, lengths=lengths)

    program = graphc.compile(Padded(), *specs)
    (outputs, _), (others, (h, _)) = program(x, lengths), program(changed, lengths)
    np.testing.assert_array_equal(outputs, others)
    assert np.all(outputs[3:, 1] == 0) and np.isfinite(h).all()


@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        (np.array([1, 2, 3]), ShapeError, r"lengths has shape \[3\]; expected \[2\]"),
        (np.array([1.0, 2.0]), DTypeError, r"lengths is f64\[2\]; expected whole numbers"),
        ([2, 1.5], DTypeError, "expected whole numbers"),
        ([True, False], DTypeError, r"bool\[2\]; expected whole numbers"),
        ([4, -1], ArgumentError, "sequence 1 has length -1, expected 0 to 4"),
        (np.array([5, 1], np.uint8), ArgumentError, "sequence 0 has length 5, expected 0 to 4"),
    ],
)
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_wrong_lengths_are_named(
    kind: str, lengths: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=rf"{kind}: .*{words}"):
        getattr(nn, kind)(2, 3)(np.zeros((4, 2, 2), np.float32), lengths=lengths)


def test_lengths_known_when_the_program_runs_are_checked_then() -> None:
    layer = nn.GRU(2, 3)
    specs = graphc.Spec((4, 2, 2)), graphc.Spec((2,), "int32")
    program = graphc.compile(lambda x, lengths: layer(x, lengths=lengths)[0], *specs)
    x = filled((4, 2, 2), 1).astype(np.float32)
    for wrong in ([5, 1], [1, -1]):
        with pytest.raises(IndexFault, match="outside 0 to 4"):
            program(x, np.array(wrong, np.int32))
    np.testing.assert_array_equal(program(x, np.array([4, 4], np.int32)), program(x, [4, 4]))
    np.testing.assert_allclose(program(x, [3, 3]), layer(x, lengths=3)[0], rtol=1e-5, atol=1e-6)


def test_lists_of_numbers_and_of_arrays_are_taken() -> None:
    x = [[[0.1, 0.2]], [[0.3, 0.4]]]
    h, c = np.full((1, 1, 3), 0.5), np.zeros((1, 1, 3))
    lstm, gru, cell = nn.LSTM(2, 3).double(), nn.GRU(2, 3), nn.LSTMCell(2, 3).double()
    array = np.array(x)
    np.testing.assert_array_equal(lstm(array, [h, c])[0], lstm(array, (h, c))[0])
    found = gru(x, h.tolist())[0]
    np.testing.assert_array_equal(found, gru(np.float32(x), np.float32(h))[0])
    np.testing.assert_array_equal(cell(array[0], [h[0], c[0]])[0], cell(array[0], (h[0], c[0]))[0])
    assert nn.GRU(2, 3)(x)[0].shape == (2, 1, 3) and nn.GRUCell(2, 3)(x[0]).shape == (1, 3)


def test_dropout_between_layers_in_training_only() -> None:
    """Rows of equal inputs stay equal unless elements between the layers are dropped."""
    layer = nn.GRU(3, 16, num_layers=2, dropout=0.5)
    x = np.ones((2, 2, 3), np.float32)
    outputs = layer(x)[0]
    assert not np.array_equal(outputs[:, 0], outputs[:, 1])
    layer.eval()
    outputs = layer(x)[0]
    np.testing.assert_array_equal(outputs[:, 0], outputs[:, 1])


def test_parameters_are_torchs() -> None:
    layer = nn.LSTM(3, 4, bidirectional=True)
    shapes = {name: p.shape for name, p in layer.named_parameters()}
    assert list(shapes.items()) == [
        ("weight_ih_l0", (16, 3)),
        ("weight_hh_l0", (16, 4)),
        ("bias_ih_l0", (16,)),
        ("bias_hh_l0", (16,)),
        ("weight_ih_l0_reverse", (16, 3)),
        ("weight_hh_l0_reverse", (16, 4)),
        ("bias_ih_l0_reverse", (16,)),
        ("bias_hh_l0_reverse", (16,)),
    ]
    bound = max(float(np.abs(array).max()) for array in layer.state_dict().values())
    assert 0.4 < bound <= 0.5
    assert repr(layer) == "LSTM(3, 4, bidirectional=True)"


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: nn.RNN(2, 3, nonlinearity="sin"), ArgumentError, "nonlinearity is 'sin'"),
        (lambda: nn.LSTM(2, 3, num_layers=0), ArgumentError, "num_layers is 0"),
        (lambda: nn.LSTM(2, 0), ArgumentError, "hidden_size is 0"),
        (lambda: nn.GRU(-2, 3), ArgumentError, "input_size is -2; expected at least 1"),
        (lambda: nn.GRU(2, 3.0), ArgumentError, "GRU: hidden_size is 3.0; expected an integer"),
        (
            lambda: nn.GRU(2, 3)(np.zeros((4, 1, 2), np.float32), np.zeros((1, 1, 3))),
            DTypeError,
            r"GRU: hx is f64\[1,1,3\], the input f32\[4,1,2\]",
        ),
        (lambda: nn.LSTM(2, 3, proj_size=3), ArgumentError, "expected 0 to hidden_size - 1 = 2"),
        (lambda: nn.GRU(2, 3, dropout=1.5), ArgumentError, "dropout is 1.5"),
        (lambda: nn.GRU(2, 3)(np.zeros((4, 1, 3))), ShapeError, r"expected \[T, N, 2\] or"),
        (
            lambda: nn.GRU(2, 3, batch_first=True)(np.zeros((4, 1, 3))),
            ShapeError,
            r"expected \[N, T, 2\] or \[T, 2\]",
        ),
        (
            lambda: nn.GRU(2, 3)(np.zeros((4, 1, 2)), np.zeros((1, 2, 3))),
            ShapeError,
            r"hx has shape \[1, 2, 3\]; expected \[1, 1, 3\]",
        ),
        (lambda: nn.GRUCell(2, -3), ArgumentError, "GRUCell: sizes are 2, -3"),
        (lambda: nn.GRUCell(2.0, 3), ArgumentError, "GRUCell: input_size is 2.0; expected an int"),
        (lambda: nn.GRUCell(2, 3)(np.zeros((4, 3))), ShapeError, r"expected \[N, 2\] or \[2\]"),
        (
            lambda: nn.LSTMCell(2, 3)(np.zeros((4, 2)), np.zeros((4, 3))),
            ShapeError,
            r"hx has shape \[4, 3\]; expected 2 of \[4, 3\]",
        ),
    ],
)
def test_wrong_arguments_are_named(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
