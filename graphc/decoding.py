"""From scores to text or labels, and error rates: ``from graphc import decoding``.

    labels = decoding.ctc_greedy(log_probs, lengths)
    decoding.character_error_rate(labels, meant)

This file only re-exports ``graphc.frontends.decoding``.
"""

from graphc.frontends.decoding.ctc import ctc_beam_search, ctc_greedy
from graphc.frontends.decoding.error_rates import (
    character_error_rate,
    edit_distance,
    word_error_rate,
)

__all__ = [
    "character_error_rate",
    "ctc_beam_search",
    "ctc_greedy",
    "edit_distance",
    "word_error_rate",
]
