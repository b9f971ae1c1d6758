"""The few padded lengths batches come in, chosen so that the fewest tokens are padding."""

from typing import NamedTuple

import numpy as np

STEP = 8
"""Padded lengths are multiples of this: what vector units like, and few enough to search them all."""


class Shape(NamedTuple):
    """Padded lengths of one batch, in tokens."""

    smiles: int
    text: int


def choose_edges(lengths: np.ndarray, count: int) -> tuple[int, ...]:
    """At most `count` padded lengths, ascending, with the least padding when each string takes the smallest that
    holds it.

    Dynamic programming over the distinct lengths rounded up to `STEP`: cost(e, j) = least padded tokens of all
    strings up to length j with e edges, the last of them j.

    Args:
      lengths: int [N], true lengths in tokens; N at least 1.
      count: how many edges may be used, at least 1.
    """
    rounded = -(-np.asarray(lengths, np.int64) // STEP) * STEP
    edges, strings = np.unique(rounded, return_counts=True)
    before = np.concatenate([[0], np.cumsum(strings)])
    cost = before[1:] * edges  # one edge: every string up to j is padded to j
    choice = []
    for _ in range(min(count, len(edges)) - 1):
        # [i, j]: the previous edge is i, the strings above it go to j
        extended = cost[:, None] + (before[None, 1:] - before[1:, None]) * edges[None, :]
        extended[np.tril_indices(len(edges))] = np.iinfo(np.int64).max
        previous = extended.argmin(0)
        better = extended.min(0) < cost
        choice.append(np.where(better, previous, -1))
        cost = np.where(better, extended.min(0), cost)
    chosen, j = [], len(edges) - 1
    for previous in reversed(choice):
        chosen.append(int(edges[j]))
        if previous[j] < 0:
            break
        j = previous[j]
    else:
        chosen.append(int(edges[j]))
    return tuple(sorted(set(chosen)))


def smallest_edge(lengths: np.ndarray, edges: tuple[int, ...]) -> np.ndarray:
    """Index of the smallest edge that holds each length: int [N] -> int [N]. Lengths above the last edge get the
    last."""
    return np.minimum(np.searchsorted(edges, lengths), len(edges) - 1)
