"""One step of a recurrence: the gates' arithmetic, and the cells RNNCell, LSTMCell and GRUCell.

N rows of a batch, H elements of hidden state. Weights hold the gates' rows one after the other,
as torch's: i, f, g, o of an LSTM; r, z, n of a GRU.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphc.errors import ArgumentError, ShapeError
from graphc.frontends.nn import init
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.parameter import Parameter
from graphc.frontends.tracing import functional as F
from graphc.frontends.tracing.convert import as_tensor, whole_number
from graphc.frontends.tracing.recorder import current

State = tuple[Any, ...]  # (h,) or, of an LSTM, (h, c)


def lstm_step(from_input: Any, from_state: Any, state: State) -> State:
    """c' = sigmoid(f) c + sigmoid(i) tanh(g), h' = sigmoid(o) tanh(c').

    `from_input` and `from_state` [N, 4H] are the products with the weights, biases included.
    Hochreiter and Schmidhuber, 1997; the forget gate is Gers, Schmidhuber and Cummins', 2000.
    """
    gates, c = F.add(from_input, from_state), as_tensor(state[1])
    h, new = current().emit("lstm_cell", (gates, c), {"saved": False})
    return h, new


def gru_step(from_input: Any, from_state: Any, state: State) -> State:
    """r, z = sigmoid(…); n = tanh(x_n + r h_n); h' = (1 - z) n + z h.

    `from_input` and `from_state` [N, 3H]. Cho et al., 2014, with the reset gate after the product,
    as in cuDNN and torch.
    """
    operands = tuple(map(as_tensor, (from_input, from_state, state[0])))
    return current().emit("gru_cell", operands, {"saved": False})


def tanh_step(from_input: Any, from_state: Any, state: State) -> State:
    """h' = tanh(x + h), Elman, 1990."""
    return (F.tanh(from_input + from_state),)


def relu_step(from_input: Any, from_state: Any, state: State) -> State:
    """h' = max(0, x + h)."""
    return (F.relu(from_input + from_state),)


@dataclass(frozen=True)
class Recurrence:
    """A kind of recurrence.

    gates          rows of the weights, in multiples of H
    states         1, or 2 where there is a cell state c beside h
    step           (from input, from state, state) -> state
    joined_biases  the two biases are only ever added to one another
    """

    gates: int
    states: int
    step: Callable[[Any, Any, State], State]
    joined_biases: bool = True


LSTM_RECURRENCE = Recurrence(4, 2, lstm_step)
GRU_RECURRENCE = Recurrence(3, 1, gru_step, joined_biases=False)
RNN_RECURRENCES = {"tanh": Recurrence(1, 1, tanh_step), "relu": Recurrence(1, 1, relu_step)}


def rnn_recurrence(what: str, nonlinearity: str) -> Recurrence:
    """The recurrence of RNN and RNNCell. Raises ArgumentError for another nonlinearity."""
    if nonlinearity not in RNN_RECURRENCES:
        raise ArgumentError(f"{what}: nonlinearity is {nonlinearity!r}; expected 'tanh' or 'relu'")
    return RNN_RECURRENCES[nonlinearity]


def parts_of_state(given: Any) -> State:
    """The arrays of a state: a tuple or list of them, or one alone."""
    several = isinstance(given, tuple) or any(hasattr(part, "shape") for part in _list(given))
    return tuple(map(as_tensor, given if several else (given,)))


def _list(given: Any) -> list[Any]:
    return given if isinstance(given, list) else []


def uniform_parameter(shape: tuple[int, ...], hidden_size: int, dtype: Any) -> Parameter:
    """Uniform in ±1 / sqrt(H), as all weights and biases of torch's recurrent layers."""
    bound = 1 / math.sqrt(hidden_size) if hidden_size > 0 else 0.0
    return Parameter(shape, init.uniform(-bound, bound), dtype)


class _Cell(Module):
    """One step of a recurrence as a module."""

    def __init__(
        self, recurrence: Recurrence, input_size: int, hidden_size: int, bias: bool, dtype: Any
    ) -> None:
        super().__init__()
        self._recurrence = recurrence
        what = type(self).__name__
        self.input_size = whole_number(input_size, f"{what}: input_size")
        self.hidden_size = whole_number(hidden_size, f"{what}: hidden_size")
        if min(input_size, hidden_size) < 1:
            raise ArgumentError(
                f"{what}: sizes are {input_size}, {hidden_size}; expected 1 or more"
            )
        self.bias = bias
        rows = recurrence.gates * hidden_size
        self.weight_ih = uniform_parameter((rows, input_size), hidden_size, dtype)
        self.weight_hh = uniform_parameter((rows, hidden_size), hidden_size, dtype)
        for name in ("bias_ih", "bias_hh"):
            made = uniform_parameter((rows,), hidden_size, dtype) if bias else None
            self.register_parameter(name, made)

    def _step(self, input: Any, state: Any) -> State:
        """The state after one step from `state`, zeros where that is None."""
        input = as_tensor(input)
        if input.ndim not in (1, 2) or input.shape[-1] != self.input_size:
            raise ShapeError(
                f"{type(self).__name__}: input has shape {list(input.shape)}; "
                f"expected [N, {self.input_size}] or [{self.input_size}]"
            )
        shape = (*input.shape[:-1], self.hidden_size)
        given = self._given(state, shape, input.dtype)
        rows = [part.reshape((-1, self.hidden_size)) for part in given]
        from_input = F.linear(input.reshape((-1, self.input_size)), self.weight_ih, self.bias_ih)
        from_state = F.linear(rows[0], self.weight_hh, self.bias_hh)
        after = self._recurrence.step(from_input, from_state, tuple(rows))
        return tuple(part.reshape(shape) for part in after)

    def _given(self, state: Any, shape: tuple[int, ...], dtype: Any) -> State:
        if state is None:
            return (F.zeros(shape, dtype),) * self._recurrence.states
        parts = parts_of_state(state)
        if [part.shape for part in parts] != [shape] * self._recurrence.states:
            given = ", ".join(str(list(part.shape)) for part in parts)
            raise ShapeError(
                f"{type(self).__name__}: hx has shape {given}; "
                f"expected {self._recurrence.states} of {list(shape)}"
            )
        return parts

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}"


class RNNCell(_Cell):
    """h' = tanh or relu of (W_ih x + b_ih + W_hh h + b_hh); x[N, I] or x[I], h[N, H] or h[H]."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        dtype: Any = None,
    ) -> None:
        recurrence = rnn_recurrence("RNNCell", nonlinearity)
        super().__init__(recurrence, input_size, hidden_size, bias, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(input, hx)[0]


class LSTMCell(_Cell):
    """(h', c') from x[N, I] and hx = (h, c), each [N, H]; see `lstm_step`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = None
    ) -> None:
        super().__init__(LSTM_RECURRENCE, input_size, hidden_size, bias, dtype)

    def forward(self, input: Any, hx: Any = None) -> tuple[Any, Any]:
        h, c = self._step(input, hx)
        return h, c


class GRUCell(_Cell):
    """h' from x[N, I] and h[N, H]; see `gru_step`."""

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = None
    ) -> None:
        super().__init__(GRU_RECURRENCE, input_size, hidden_size, bias, dtype)

    def forward(self, input: Any, hx: Any = None) -> Any:
        return self._step(input, hx)[0]
