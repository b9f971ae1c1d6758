"""Exact search against NumPy."""

import numpy as np

from atomas_jax.retrieval import search


def test_equals_a_full_sort_ties_and_blocks_included(monkeypatch):
    monkeypatch.setattr(search, "BLOCK", 37)
    generator = np.random.default_rng(0)
    # signs over a power of two make equal scores exactly equal
    library = (generator.choice([-1.0, 1.0], (150, 4)) / 2).astype(np.float32)
    queries = (generator.choice([-1.0, 1.0], (9, 4)) / 2).astype(np.float32)
    hits = search.nearest(queries, library, 60)
    similarity = queries @ library.T
    expected = np.argsort(-similarity, axis=1, kind="stable")[:, :60]
    np.testing.assert_array_equal(hits.index, expected)
    np.testing.assert_array_equal(hits.score, np.take_along_axis(similarity, expected, 1))


def test_a_library_smaller_than_k_gives_all_of_it():
    hits = search.nearest(np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32), 10)
    assert hits.index.shape == (1, 3)
    assert hits.index[0, 0] == 0
