"""Strings in blocks: whatever the blocks, they stay the same strings."""

import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.model.layout import Layout

BLOCKS = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 5)), min_size=1, max_size=5)


@settings(deadline=None, max_examples=12)  # every shape is compiled
@given(blocks=BLOCKS, most=st.integers(1, 5), groups=st.integers(1, 2))
def test_joined_blocks_hold_the_same_strings_and_can_be_taken_apart(blocks, most, groups):
    fine = Layout(tuple(blocks))
    coarse = fine.coarser(most)
    assert len(coarse.blocks) == min(most, len(blocks)) and coarse.strings == fine.strings
    x = np.arange(groups * sum(rows * length for rows, length in blocks), dtype=np.float32).reshape(groups, -1)
    joined = fine.joined(jnp.asarray(x), coarse, fill=-1)
    np.testing.assert_array_equal(coarse.split(joined, fine), x)
    np.testing.assert_array_equal(fine.unpadded(fine.padded(jnp.asarray(x))), x)

    def by_string(layout: Layout, x) -> np.ndarray:
        padded = np.asarray(layout.padded(jnp.asarray(x), fill=-1))
        assert padded.shape == (groups, layout.strings, layout.longest)
        return padded

    np.testing.assert_array_equal(by_string(coarse, joined), by_string(fine, x))
    assert (np.asarray(joined) == -1).sum() == joined.size - x.size
