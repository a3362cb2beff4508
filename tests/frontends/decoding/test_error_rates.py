"""Edit distances and the error rates made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from graphc.decoding import character_error_rate, edit_distance, word_error_rate
from graphc.errors import ArgumentError

words = some.text("ab", max_size=5)


@given(words, words, words)
def test_edit_distance_is_a_distance(a: str, b: str, c: str) -> None:
    assert edit_distance(a, b) == edit_distance(b, a)
    assert (edit_distance(a, b) == 0) == (a == b)
    assert edit_distance(a, c) <= edit_distance(a, b) + edit_distance(b, c)
    assert abs(len(a) - len(b)) <= edit_distance(a, b) <= max(len(a), len(b))


def test_error_rates() -> None:
    assert character_error_rate(["abc", ""], ["abd", "e"]) == 0.5
    assert character_error_rate([[1, 2, 3]], [[2]]) == 2
    assert character_error_rate([[]], [[]]) == 0 and character_error_rate([[1]], [[]]) == 1
    with pytest.raises(ArgumentError, match="1 sequences for 2 references"):
        character_error_rate(["a"], ["a", "b"])


def test_words_are_what_white_space_parts() -> None:
    assert word_error_rate(["one  two three"], ["one two four"]) == pytest.approx(1 / 3)
    assert word_error_rate([""], ["a b"]) == 1
