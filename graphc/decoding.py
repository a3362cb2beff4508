"""From scores to text or labels, and error rates: ``from graphc import decoding``.

    labels = decoding.ctc_greedy(log_probs, lengths)
    tokens = decoding.generate(model, prompt, length=100, temperature=0.8, seed=1)
    hypotheses = decoding.beam_search(model, source, start=1, end=2, width=5)
    decoding.character_error_rate(labels, meant)

This file only re-exports ``graphc.frontends.decoding``.
"""

from graphc.frontends.decoding.beams import (
    BeamDecoder,
    Hypothesis,
    beam_search,
    length_penalty,
)
from graphc.frontends.decoding.ctc import ctc_beam_search, ctc_greedy
from graphc.frontends.decoding.decoder import Decoder
from graphc.frontends.decoding.error_rates import (
    character_error_rate,
    edit_distance,
    word_error_rate,
)
from graphc.frontends.decoding.generate import generate, stream
from graphc.frontends.decoding.sampling import Sampling

__all__ = [
    "BeamDecoder",
    "Decoder",
    "Hypothesis",
    "Sampling",
    "beam_search",
    "character_error_rate",
    "ctc_beam_search",
    "ctc_greedy",
    "edit_distance",
    "generate",
    "length_penalty",
    "stream",
    "word_error_rate",
]
