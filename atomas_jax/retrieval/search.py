"""Exact nearest neighbours in the shared space, block by block over all devices.

Letters: Q queries, N rows of the library, E embedding width.
"""

from functools import partial
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from atomas_jax.model.widths import power_of_two
from atomas_jax.retrieval.devices import AXIS, by_rows, rows_mesh, whole

BLOCK = 16384
"""Library vectors a device compares at a time."""
QUERIES = 512
"""Queries compared at a time: with BLOCK it bounds a device's similarities to 32 MiB."""


class Hits(NamedTuple):
    """Nearest first: `index` int64 [Q, k] into the library, `score` float32 [Q, k], cosine similarities.

    Where fewer than k rows may be found, the rest are index -1 with score -inf.
    """

    index: np.ndarray
    score: np.ndarray


class Vectors(Protocol):
    """Unit vectors float32 [N, E]: an array, or something on disk that is read by slices."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> np.ndarray: ...


def nearest(queries: np.ndarray, library: Vectors, k: int, keep: np.ndarray | None = None) -> Hits:
    """The k library vectors most similar to each query; equal scores go to the lower index.

    Memory is bounded whatever the library: `BLOCK` rows a device are held at a time, split over the devices.

    Args:
      queries: float32 [Q, E], unit vectors.
      library: float32 [N, E], unit vectors.
      k: hits a query; at most N are given.
      keep: bool [N], the rows that may be found; None: all.
    """
    k = min(k, len(library))
    score = np.full((len(queries), k), -np.inf, np.float32)
    index = np.full((len(queries), k), -1, np.int64)
    devices = rows_mesh().size
    size = devices * min(BLOCK, power_of_two(-(-max(len(library), 1) // devices)))
    width = min(QUERIES, power_of_two(max(len(queries), 1)))
    batches = [slice(i, min(i + width, len(queries))) for i in range(0, len(queries), width)]
    held = [jax.device_put(_padded(queries[batch], width), whole()) for batch in batches]
    for start in range(0, len(library), size):
        rows = slice(start, min(start + size, len(library)))
        allowed = np.ones(rows.stop - rows.start, bool) if keep is None else keep[rows]
        if not allowed.any():
            continue
        block = jax.device_put(_padded(np.asarray(library[rows], np.float32), size), by_rows())
        mask = jax.device_put(_padded(allowed, size), by_rows())
        found = [_top(each, block, mask, k=min(k, size // devices), mesh=rows_mesh()) for each in held]
        for batch, (new_score, new_index) in zip(batches, found):
            count = batch.stop - batch.start
            merged = merge(
                Hits(index[batch], score[batch]),
                Hits(np.asarray(new_index)[:count].astype(np.int64) + start, np.asarray(new_score)[:count]),
                k,
            )
            index[batch], score[batch] = merged
    return Hits(index, score)


def merge(earlier: Hits, later: Hits, k: int) -> Hits:
    """The best k of two lists of hits, each ordered; of equal scores the earlier list's stand first."""
    # both lists have lower rows first and the sort is stable, so ties keep the lower index
    score = np.concatenate([earlier.score, later.score], axis=1)
    index = np.where(np.isneginf(score), -1, np.concatenate([earlier.index, later.index], axis=1))
    order = np.argsort(-score, axis=1, kind="stable")[:, :k]
    return Hits(np.take_along_axis(index, order, 1), np.take_along_axis(score, order, 1))


def _padded(array: np.ndarray, rows: int) -> np.ndarray:
    return np.pad(array, ((0, rows - len(array)), *((0, 0),) * (array.ndim - 1)))


@partial(jax.jit, static_argnames=("k", "mesh"))
def _top(queries, block, mask, *, k: int, mesh: Mesh):
    """Each device's best k of its rows, the devices' side by side in the order of their rows: [Q, devices * k]."""

    def local(queries, block, mask):
        similarity = jnp.matmul(queries, block.T, precision=jax.lax.Precision.HIGHEST)
        similarity = jnp.where(similarity == 0, 0.0, similarity)  # top_k puts -0 behind 0
        score, index = jax.lax.top_k(jnp.where(mask, similarity, -jnp.inf), k)
        return score, index + jax.lax.axis_index(AXIS) * len(block)

    rows, columns = PartitionSpec(AXIS), PartitionSpec(None, AXIS)
    split = jax.shard_map(local, mesh=mesh, in_specs=(PartitionSpec(), rows, rows), out_specs=(columns, columns))
    return split(queries, block, mask)
