"""The best few of many tokens, beside a sort of them all."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.decoding.greatest import greatest

best = jax.jit(greatest, static_argnums=1)


@pytest.mark.parametrize("vocabulary", [521, 512, 384, 12])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), levels=st.sampled_from([2, 5, 1000]), density=st.sampled_from([0.02, 0.5, 1.0]))
def test_the_greatest_are_those_of_a_stable_sort(vocabulary, seed, levels, density):
    """With few levels nearly all are equal: the earlier come first, as in `lax.top_k`."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, levels, (3, 2, vocabulary)).astype(np.float32)
    offsets = rng.integers(0, 3, (3, 2)).astype(np.float32)
    for allowed in (rng.random((3, 2, vocabulary)) < density, rng.random((1, 1, vocabulary)) < density):
        sums = np.where(allowed, values + offsets[:, :, None], -np.inf).reshape(3, -1)
        order = np.argsort(-sums, axis=-1, kind="stable")[:, :6]
        score, place = best(values, 6, offsets, allowed)
        np.testing.assert_array_equal(score, np.take_along_axis(sums, order, axis=-1))
        np.testing.assert_array_equal(place, order)
    np.testing.assert_array_equal(best(values, 1)[1][:, 0], values.reshape(3, -1).argmax(-1))
