"""RNN, LSTM and GRU, as torch.nn's: arguments, defaults, parameter names, shapes, states.

The products of all T inputs with W_ih are one product before the loop; the loop itself (F.scan)
holds the product with W_hh and the gates, and stays a loop: its compile time does not depend on T.

Torch gives sequences of several lengths as a PackedSequence. Here they are padded to one length
and `lengths` [N] says how many steps of each count, 0 to T: after its end a sequence keeps its
state, and its outputs are zero. The outputs and final states are those of torch's packed sequences.

`checkpoint` is a number of steps: training keeps the states after so many of them alone, and runs
each such segment again for its gradients. It takes less memory and one forward more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.frontends.nn.module import Module
from graphc.frontends.nn.recurrent_cells import (
    GRU_RECURRENCE,
    LSTM_RECURRENCE,
    Recurrence,
    State,
    parts_of_state,
    rnn_recurrence,
    uniform_parameter,
)
from graphc.frontends.tracing import functional as F
from graphc.frontends.tracing.convert import whole_number
from graphc.frontends.tracing.functional_lengths import checked_lengths


class _Recurrent(Module):
    """Layers of one recurrence, in one direction or both.

    T steps, N rows of a batch, I features, H hidden elements, P of the projected state (H where
    there is no projection), D directions, L layers.
    """

    def __init__(
        self,
        recurrence: Recurrence,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        dtype: Any,
        checkpoint: int | None,
    ) -> None:
        super().__init__()
        what = type(self).__name__
        input_size = whole_number(input_size, f"{what}: input_size")
        hidden_size = whole_number(hidden_size, f"{what}: hidden_size")
        num_layers = whole_number(num_layers, f"{what}: num_layers")
        _check_sizes(what, input_size, hidden_size, num_layers, dropout, proj_size)
        self._recurrence = recurrence
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.checkpoint = checkpoint
        for layer in range(num_layers):
            features = input_size if layer == 0 else self._output_size * len(self._suffixes)
            for suffix in self._suffixes:
                self._register(f"l{layer}{suffix}", features, dtype)

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _register(self, name: str, features: int, dtype: Any) -> None:
        rows = self._recurrence.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            f"weight_ih_{name}": (rows, features),
            f"weight_hh_{name}": (rows, self._output_size),
        }
        if self.bias:
            shapes |= {f"bias_ih_{name}": (rows,), f"bias_hh_{name}": (rows,)}
        if self.proj_size:
            shapes[f"weight_hr_{name}"] = (self.proj_size, self.hidden_size)
        for full_name, shape in shapes.items():
            made = uniform_parameter(shape, self.hidden_size, dtype)
            self.register_parameter(full_name, made)

    # Forward

    def _run(self, input: Any, hx: Any, lengths: Any) -> tuple[Any, State]:
        """(outputs, final states), shaped as the input is."""
        input = F.asarray(input)
        self._check_input(input)
        batched = input.ndim == 3
        x = input if batched else F.expand_dims(input, 1)
        if batched and self.batch_first:
            x = F.transpose(x, (1, 0, 2))
        mask = self._mask(x, lengths)
        x, finals = self._layers(x, self._initial(hx, x, batched), mask)
        if not batched:
            return F.squeeze(x, 1), tuple(F.squeeze(part, 1) for part in finals)
        return (F.transpose(x, (1, 0, 2)) if self.batch_first else x), finals

    def _layers(self, x: Any, states: State, mask: Any) -> tuple[Any, State]:
        """x[T, N, I] through all layers: (outputs[T, N, D P], final states [L D, N, …])."""
        finals: list[State] = []
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            outputs = []
            for suffix in self._suffixes:
                start = tuple(part[len(finals)] for part in states)
                y, final = self._direction(f"l{layer}{suffix}", x, start, mask)
                outputs.append(y)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else F.concatenate(outputs, axis=2)
        return x, tuple(F.stack(parts, axis=0) for parts in zip(*finals, strict=True))

    def _direction(self, name: str, x: Any, start: State, mask: Any) -> tuple[Any, State]:
        """One layer in one direction: (outputs[T, N, P], final state)."""
        w_ih, w_hh = getattr(self, f"weight_ih_{name}"), getattr(self, f"weight_hh_{name}")
        b_ih, b_hh = self._biases(name)
        w_hr = getattr(self, f"weight_hr_{name}") if self.proj_size else None

        def body(state: State, step: tuple[Any, Any]) -> tuple[State, Any]:
            from_input, valid = step
            if self.checkpoint:
                from_input = F.linear(from_input, w_ih, b_ih)
            from_state = F.linear(state[0], w_hh, b_hh)
            new = self._recurrence.step(from_input, from_state, state)
            if w_hr is not None:
                new = (F.linear(new[0], w_hr), *new[1:])
            if valid is not None:
                new = tuple(F.where(valid, a, b) for a, b in zip(new, state, strict=True))
            return new, new[0]

        # In segments the product of the inputs is one for each of them: never of all steps.
        xs = (x if self.checkpoint else F.linear(x, w_ih, b_ih), mask)
        is_reverse = name.endswith("_reverse")
        final, outputs = F.scan(body, start, xs, reverse=is_reverse, checkpoint=self.checkpoint)
        return (outputs if mask is None else F.where(mask, outputs, 0.0)), final

    def _biases(self, name: str) -> tuple[Any, Any]:
        """(what is added to the inputs' product, what to the state's)."""
        if not self.bias:
            return None, None
        b_ih, b_hh = getattr(self, f"bias_ih_{name}"), getattr(self, f"bias_hh_{name}")
        return (b_ih + b_hh, None) if self._recurrence.joined_biases else (b_ih, b_hh)

    # Arguments

    def _check_input(self, input: Any) -> None:
        if input.ndim not in (2, 3) or input.shape[-1] != self.input_size:
            batched = "[N, T, {}]" if self.batch_first else "[T, N, {}]"
            raise ShapeError(
                f"{type(self).__name__}: input has shape {list(input.shape)}; expected "
                f"{batched.format(self.input_size)} or [T, {self.input_size}]"
            )

    def _mask(self, x: Any, lengths: Any) -> Any:
        """Which steps count, bool[T, N, 1]; None where all do."""
        if lengths is None:
            return None
        steps, rows, _ = x.shape
        known = checked_lengths(f"{type(self).__name__}: lengths", lengths, rows, steps)
        number = F.arange(steps, dtype="int64").reshape((-1, 1, 1))
        return F.broadcast_to(number < known.reshape((1, -1, 1)), (steps, rows, 1))

    def _initial(self, hx: Any, x: Any, batched: bool) -> State:
        """The states before the first step, each [L D, N, …]; zeros where none are given."""
        shapes = list(self._state_shapes(x.shape[1]))
        if hx is None:
            return tuple(F.zeros(shape, x.dtype) for shape in shapes)
        given = parts_of_state(hx)
        parts = given if batched else tuple(F.expand_dims(part, 1) for part in given)
        if [part.shape for part in parts] != shapes:
            wanted = ", ".join(str(list(shape if batched else shape[::2])) for shape in shapes)
            found = ", ".join(str(list(part.shape)) for part in given)
            raise ShapeError(f"{type(self).__name__}: hx has shape {found}; expected {wanted}")
        for part in parts:
            if part.dtype != x.dtype:
                raise DTypeError(f"{type(self).__name__}: hx is {part.type}, the input {x.type}")
        return parts

    def _state_shapes(self, rows: int) -> Iterator[tuple[int, ...]]:
        sizes = (self._output_size, self.hidden_size)[: self._recurrence.states]
        return ((self.num_layers * len(self._suffixes), rows, size) for size in sizes)

    def extra_repr(self) -> str:
        shown = {
            "proj_size": self.proj_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "checkpoint": self.checkpoint,
        }
        usual = {"proj_size": 0, "num_layers": 1, "bias": True, "dropout": 0.0, "checkpoint": None}
        parts = [f"{k}={v}" for k, v in shown.items() if v != usual.get(k, False)]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *parts])


def _check_sizes(
    what: str, input_size: int, hidden_size: int, num_layers: int, dropout: float, proj_size: int
) -> None:
    sizes = {"input_size": input_size, "hidden_size": hidden_size, "num_layers": num_layers}
    for name, size in sizes.items():
        if size < 1:
            raise ArgumentError(f"{what}: {name} is {size}; expected at least 1")
    if not 0 <= dropout <= 1:
        raise ArgumentError(f"{what}: dropout is {dropout}; expected 0 to 1")
    if not 0 <= proj_size < hidden_size:
        raise ArgumentError(
            f"{what}: proj_size is {proj_size}; expected 0 to hidden_size - 1 = {hidden_size - 1}"
        )


class RNN(_Recurrent):
    """Elman's recurrence: h' = tanh or relu of (W_ih x + b_ih + W_hh h + b_hh).

    input[T, N, I] (or [N, T, I] with batch_first, or [T, I]), hx[L D, N, H] to
    (outputs[T, N, D H], final states [L D, N, H]); `lengths` [N]: see the module's text.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = None,
        checkpoint: int | None = None,
    ) -> None:
        recurrence = rnn_recurrence("RNN", nonlinearity)
        super().__init__(
            recurrence,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            dtype,
            checkpoint,
        )
        self.nonlinearity = nonlinearity

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        outputs, (h,) = self._run(input, hx, lengths)
        return outputs, h


class LSTM(_Recurrent):
    """Long short-term memory; see `lstm_step`. With proj_size P, h is W_hr times the gated cell.

    input[T, N, I] (or [N, T, I] with batch_first, or [T, I]), hx = (h[L D, N, P], c[L D, N, H])
    to (outputs[T, N, D P], (h, c)); `lengths` [N]: see the module's text.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        dtype: Any = None,
        checkpoint: int | None = None,
    ) -> None:
        super().__init__(
            LSTM_RECURRENCE,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            dtype,
            checkpoint,
        )

    def forward(
        self, input: Any, hx: Any = None, lengths: Any = None
    ) -> tuple[Any, tuple[Any, Any]]:
        outputs, (h, c) = self._run(input, hx, lengths)
        return outputs, (h, c)


class GRU(_Recurrent):
    """Gated recurrent units; see `gru_step`.

    input[T, N, I] (or [N, T, I] with batch_first, or [T, I]), hx[L D, N, H] to
    (outputs[T, N, D H], final states [L D, N, H]); `lengths` [N]: see the module's text.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = None,
        checkpoint: int | None = None,
    ) -> None:
        super().__init__(
            GRU_RECURRENCE,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            dtype,
            checkpoint,
        )

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> tuple[Any, Any]:
        outputs, (h,) = self._run(input, hx, lengths)
        return outputs, h
