"""Exact nearest neighbours in the shared space."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

BLOCK = 16384
"""Library vectors compared at a time: bounds memory to queries x BLOCK similarities."""


class Hits(NamedTuple):
    """Nearest first: `index` int [Q, k] into the library, `score` float32 [Q, k], cosine similarities."""

    index: np.ndarray
    score: np.ndarray


def nearest(queries: np.ndarray, library: np.ndarray, k: int) -> Hits:
    """The k library vectors most similar to each query; equal scores go to the lower index.

    Args:
      queries: float32 [Q, E], unit vectors.
      library: float32 [N, E], unit vectors.
      k: hits a query; at most N are given.
    """
    k = min(k, len(library))
    best_score = np.zeros((len(queries), 0), np.float32)
    best_index = np.zeros((len(queries), 0), np.int64)
    for start in range(0, len(library), BLOCK):
        block = library[start : start + BLOCK]
        score, index = _top(jnp.asarray(queries), jnp.asarray(block), min(k, len(block)))
        # earlier blocks stand first and the sort is stable, so ties keep the lower index
        score = np.concatenate([best_score, np.asarray(score)], axis=1)
        index = np.concatenate([best_index, np.asarray(index) + start], axis=1)
        order = np.argsort(-score, axis=1, kind="stable")[:, :k]
        best_score, best_index = np.take_along_axis(score, order, 1), np.take_along_axis(index, order, 1)
    return Hits(best_index, best_score)


@jax.jit(static_argnums=2)
def _top(queries, block, k: int):
    similarity = jnp.matmul(queries, block.T, precision=jax.lax.Precision.HIGHEST)
    return jax.lax.top_k(similarity, k)
