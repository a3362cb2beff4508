"""The checker's map from bytes to owners, against a plain list of bytes."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.planning.check.owners import Owners, shared

SIZE = 40
PAINTS = st.lists(
    st.tuples(st.integers(0, SIZE), st.integers(0, SIZE), st.sampled_from("abc")), max_size=12
)


def painted(paints: list[tuple[int, int, str]]) -> tuple[Owners[str], list[str | None]]:
    """The map and the list after the same paints, compared after each."""
    owners = Owners[str]()
    plain: list[str | None] = [None] * SIZE
    for start, stop, owner in paints:
        taken = owners.paint(start, stop, owner)
        assert as_list(taken) == [
            who if start <= place < stop else None for place, who in enumerate(plain)
        ]
        plain[start:stop] = [owner] * max(0, stop - start)
        assert as_list(list(owners)) == plain
    return owners, plain


def as_list(ranges: list[tuple[int, int, str]]) -> list[str | None]:
    found: list[str | None] = [None] * SIZE
    for start, stop, owner in ranges:
        found[start:stop] = [owner] * (stop - start)
    return found


@settings(max_examples=300)
@given(PAINTS, st.integers(0, SIZE), st.integers(0, SIZE))
def test_a_map_answers_as_a_list_does(
    paints: list[tuple[int, int, str]], start: int, stop: int
) -> None:
    owners, plain = painted(paints)
    inside = plain[start:stop]
    for owner in "abc":
        assert owners.has(start, stop, owner) == all(who == owner for who in inside)
    found = owners.any_in(start, stop)
    assert found in inside if found else not any(inside)
    ranges = list(owners)
    assert ranges == sorted(ranges)
    for one, other in pairwise(ranges):
        assert one[1] < other[0] or (one[1] == other[0] and one[2] != other[2])


@settings(max_examples=200)
@given(PAINTS, PAINTS)
def test_what_two_maps_share(
    one: list[tuple[int, int, str]], other: list[tuple[int, int, str]]
) -> None:
    left, right = painted(one), painted(other)
    both = [a if a == b else None for a, b in zip(left[1], right[1], strict=True)]
    assert as_list(list(shared(left[0], right[0]))) == both


def test_a_copy_goes_its_own_way() -> None:
    owners = Owners[str]()
    owners.paint(0, 8, "a")
    copy = owners.copy()
    copy.paint(2, 4, "b")
    assert list(owners) == [(0, 8, "a")]
    assert copy.any_in(3, 4) == "b"
