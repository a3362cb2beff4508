"""Any mixture of integers, slices, new axes, ellipsis and integer arrays indexes as NumPy does."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from traced import AtOnce, run_traced

X = np.arange(120, dtype=np.int64).reshape(4, 5, 6)


@st.composite
def axis_index(draw, extent):
    kind = draw(st.sampled_from(["integer", "slice", "array", "all"]))
    if kind == "integer":
        return draw(st.integers(-extent, extent - 1))
    if kind == "array":
        shape = draw(st.sampled_from([(), (2,), (1, 2), (2, 1)]))
        size = int(np.prod(shape))
        members = draw(st.lists(st.integers(-extent, extent - 1), min_size=size, max_size=size))
        return np.array(members, np.int64).reshape(shape)
    if kind == "all":
        return slice(None)
    bound = st.none() | st.integers(-extent - 2, extent + 2)
    step = st.none() | st.integers(-3, 3).filter(bool)
    return slice(draw(bound), draw(bound), draw(step))


@st.composite
def whole_index(draw):
    count = draw(st.integers(0, 3))
    items = [draw(axis_index(extent)) for extent in X.shape[:count]]
    for _ in range(draw(st.integers(0, 2))):
        items.insert(draw(st.integers(0, len(items))), None)
    if draw(st.booleans()):
        items.append(Ellipsis)
    return tuple(items)


@settings(max_examples=150, deadline=None)
@given(whole_index())
def test_index(index):
    expected = X[index]
    found = AtOnce(lambda x: x[index])(X)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


@settings(max_examples=60, deadline=None)
@given(whole_index())
def test_index_with_arrays_known_only_when_it_runs(index):
    arrays = [item for item in index if isinstance(item, np.ndarray)]

    def pick(x, *traced):
        rest = iter(traced)
        return x[tuple(next(rest) if isinstance(i, np.ndarray) else i for i in index)]

    np.testing.assert_array_equal(run_traced(pick, X, *arrays), X[index])
