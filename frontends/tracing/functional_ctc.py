"""Connectionist temporal classification: the loss of all alignments of labels with steps.

Graves, Fernández, Gomez and Schmidhuber, 2006, in logarithms. The loop over time is `scan`; its
gradient is the reverse of the same loop.
"""

from __future__ import annotations

from graphc.dtypes import int64
from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.frontends.tracing.convert import ArrayLike, as_float, as_tensor, cast
from graphc.frontends.tracing.face import face
from graphc.frontends.tracing.functional_creation import arange, full
from graphc.frontends.tracing.functional_elementwise import (
    add,
    exp,
    log,
    maximum,
    minimum,
    negative,
    subtract,
)
from graphc.frontends.tracing.functional_indexing import take, take_along_axis
from graphc.frontends.tracing.functional_lengths import checked_lengths
from graphc.frontends.tracing.functional_logic import (
    equal,
    greater,
    less,
    logical_and,
    not_equal,
    stop_gradient,
    where,
)
from graphc.frontends.tracing.functional_reductions import cumsum, mean, sum
from graphc.frontends.tracing.functional_scan import scan
from graphc.frontends.tracing.functional_shapes import (
    broadcast_to,
    concatenate,
    expand_dims,
    reshape,
    squeeze,
    stack,
)
from graphc.frontends.tracing.tensor import Tensor

_NEVER = -1e30  # the logarithm of a probability that is as good as zero, and no infinity


@face()
def ctc_loss(
    log_probs: ArrayLike,
    targets: ArrayLike,
    input_lengths: ArrayLike,
    target_lengths: ArrayLike,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """-log of the probability that log_probs[T, N, C] give to the labels, over all alignments.

    targets    labels [N, S], or those of all rows one after the other; log_probs may also be
               [T, C], with targets [S] and lengths that are numbers
    reduction  "mean" divides each row's loss by its target length (at least 1) before the mean

    A row too short for its labels has the loss infinity, or zero with `zero_infinity`; its gradient
    is zero either way (torch's is NaN without). Else the gradient is that of log_probs themselves;
    torch's is the same once it has passed through log_softmax.

    Raises ShapeError or DTypeError for arguments that do not fit one another, ArgumentError for
    lengths outside log_probs or targets (IndexFault for those known when the program runs).
    """
    if reduction not in ("mean", "sum", "none"):
        raise ArgumentError(f"ctc_loss: reduction is {reduction!r}; expected mean, sum or none")
    batch = _Batch(log_probs, targets, input_lengths, target_lengths, blank)
    likelihood = batch.log_likelihood()
    # Half of the bound: what it was added to does not make it likely. NaN stays NaN.
    is_lost = less(likelihood, _NEVER / 2)
    of_lost = 0.0 if zero_infinity else float("inf")
    loss = where(is_lost, of_lost, negative(where(is_lost, 0.0, likelihood)))
    if reduction == "mean":
        counts = cast(maximum(batch.target_lengths, 1), loss.dtype)
        return mean(loss / counts)
    if reduction == "sum":
        return sum(loss)
    return loss if batch.is_batched else squeeze(loss, 0)


class _Batch:
    """The arguments, all with a batch: log_probs[T, N, C], labels[N, S], lengths[N]."""

    def __init__(
        self,
        log_probs: ArrayLike,
        targets: ArrayLike,
        input_lengths: ArrayLike,
        target_lengths: ArrayLike,
        blank: int,
    ) -> None:
        given, labels = as_float(log_probs), _whole("targets", targets)
        self.is_batched = given.ndim == 3
        if given.ndim not in (2, 3):
            raise ShapeError(f"ctc_loss: log_probs is {given.type}; expected [T, N, C] or [T, C]")
        if not 0 <= blank < given.shape[-1]:
            raise ArgumentError(f"ctc_loss: blank is {blank}, of {given.shape[-1]} classes")
        self.blank = blank
        self.log_probs = given if self.is_batched else expand_dims(given, 1)
        rows = self.log_probs.shape[1]
        steps, most = self.log_probs.shape[0], labels.shape[-1] if labels.ndim else 0
        self.input_lengths = checked_lengths("ctc_loss: input_lengths", input_lengths, rows, steps)
        self.target_lengths = checked_lengths(
            "ctc_loss: target_lengths", target_lengths, rows, most
        )
        self.labels = self._padded(labels, rows)

    def _padded(self, labels: Tensor, rows: int) -> Tensor:
        """Labels [N, S]; blanks beyond the length of each row."""
        if labels.ndim == 1 and not self.is_batched:
            labels = expand_dims(labels, 0)
        if labels.ndim not in (1, 2) or (labels.ndim == 2 and labels.shape[0] != rows):
            raise ShapeError(f"ctc_loss: targets is {labels.type}, for {rows} rows")
        position = expand_dims(arange(labels.shape[-1], dtype="int64"), 0)
        counted = less(position, expand_dims(self.target_lengths, 1))
        if labels.ndim == 1:
            total = cumsum(self.target_lengths, 0)
            ends = checked_lengths("ctc_loss: ends of targets", total, rows, labels.shape[0])
            starts = subtract(ends, self.target_lengths)
            place = add(expand_dims(starts, 1), position)
            labels = take(labels, minimum(place, max(labels.shape[0] - 1, 0)), 0)
        return where(counted, labels, self.blank)

    def log_likelihood(self) -> Tensor:
        """The logarithm of each row's probability, [N]; `_NEVER` or less where there is no way."""
        labels = self._with_blanks()
        steps, rows, _ = self.log_probs.shape
        width = labels.shape[1]
        index = broadcast_to(expand_dims(labels, 0), (steps, rows, width))
        scores = maximum(take_along_axis(self.log_probs, index, 2), _NEVER)
        # A label may follow another label directly, if it is another one.
        before = _shifted(labels, 2, self.blank)
        skips = logical_and(not_equal(labels, self.blank), not_equal(labels, before))
        counts = less(
            reshape(arange(steps, dtype="int64"), (steps, 1, 1)),
            reshape(self.input_lengths, (1, rows, 1)),
        )
        start = where(equal(arange(width, dtype="int64"), 0), 0.0, _NEVER)
        first = broadcast_to(cast(start, scores.dtype), (rows, width))

        def step(alpha: Tensor, x: tuple[Tensor, Tensor]) -> tuple[Tensor, None]:
            score, counted = x
            skipped = where(skips, _shifted(alpha, 2, _NEVER), _NEVER)
            paths = _log_sum(alpha, _shifted(alpha, 1, _NEVER), skipped)
            return where(counted, add(paths, score), alpha), None

        last, _ = scan(step, first, (scores, broadcast_to(counts, (steps, rows, 1))))
        return self._ends(last)

    def _with_blanks(self) -> Tensor:
        """Blanks before, between and after the labels, [N, 2 S + 1]."""
        rows, count = self.labels.shape
        blanks = full((rows, count), self.blank, "int64")
        pairs = reshape(stack([blanks, self.labels], 2), (rows, 2 * count))
        return concatenate([pairs, full((rows, 1), self.blank, "int64")], 1)

    def _ends(self, alpha: Tensor) -> Tensor:
        """Paths end in the last label or in the blank after it."""
        end = expand_dims(self.target_lengths * 2, 1)
        blank = take_along_axis(alpha, end, 1)
        label = take_along_axis(alpha, maximum(subtract(end, 1), 0), 1)
        label = where(greater(end, 0), label, _NEVER)
        return squeeze(_log_sum(blank, label), 1)


def _whole(name: str, given: ArrayLike) -> Tensor:
    tensor = as_tensor(given)
    if not tensor.dtype.is_integer:
        raise DTypeError(f"ctc_loss: {name} is {tensor.type}; expected whole numbers")
    return cast(tensor, int64)


def _shifted(x: Tensor, count: int, fill: float) -> Tensor:
    """x[N, W] moved to the right, with `fill` in front."""
    rows, width = x.shape
    front = full((rows, min(count, width)), fill, x.dtype)
    return concatenate([front, x[:, : max(width - count, 0)]], 1)


def _log_sum(*terms: Tensor) -> Tensor:
    """log of the sum of exp; the greatest term taken out, so that nothing overflows."""
    top = terms[0]
    for term in terms[1:]:
        top = maximum(top, term)
    top = stop_gradient(top)
    total = exp(subtract(terms[0], top))
    for term in terms[1:]:
        total = add(total, exp(subtract(term, top)))
    return add(log(total), top)
