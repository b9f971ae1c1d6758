"""Which tokens belong together: clustering of the tokens of each string, without a gradient.

Every rule has the signature of `density_peaks` and is chosen by its name in `AlignmentConfig.clustering`; a new one is
a function here and a line in `CLUSTERINGS`. Shapes are static: strings of all lengths go through one compiled program,
the true lengths live in masks and counts. Letters: B batch, L tokens, D width, C clusters.
"""

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp

# Squared distances below this share of the two squared norms are the rounding of the Gram form, not a distance.
SAME_POINT = 4e-6


class Clusters(NamedTuple):
    """A partition of the tokens of each string; cluster 0 is the most prominent one."""

    assignment: jax.Array
    """int32 [B, L]: the cluster of each token; 0 for padding tokens, which belong to none."""
    centres: jax.Array
    """int32 [B, C]: the token at the centre of each cluster; meaningless where `mask` is False."""
    mask: jax.Array
    """bool [B, C]: which clusters exist."""


def cluster_count(length: jax.Array | int, ratio: float) -> jax.Array | int:
    """ceil(ratio * length) in integers, so that 0.1 * 30 is 3 although the float product is above it.

    Works on a Python int (a padded length gives the capacity C) and on int32 arrays (true lengths) alike.
    """
    share = Fraction(ratio).limit_denominator(1000)
    return -(-(length * share.numerator) // share.denominator)


def density_peaks(x: jax.Array, mask: jax.Array, clusters: jax.Array, k: int, max_clusters: int) -> Clusters:
    """Density-peak clustering over k nearest neighbours (Rodriguez & Laio 2014; Du et al. 2016; TCFormer, CVPR 2022).

    With D_ij = |x_i - x_j| / sqrt(D): density rho_i = exp(-mean of the k smallest D_ij^2), the token itself being one
    of the k; delta_i = the distance to the nearest denser token, or for the densest the largest distance in the string.
    Centres are the tokens of largest rho * delta, in descending order; every token joins its nearest centre, a centre
    itself.

    Ties: the published code adds 1e-6 U(0, 1) to rho. Here equals are ranked by position, the earlier token being the
    denser and the more prominent, which needs no random number and does not depend on padding or on the place in the
    batch. For that, tokens that are one point up to rounding must have *bitwise* equal distances: they take those of
    the first of them.

    Args:
        x: [B, L, D] tokens, any float type (computed in float32; no gradient).
        mask: bool [B, L], True for real tokens. Others have no density, bound no distance and are no centre.
        clusters: int32 [B], clusters to form, at most the real tokens and at most `max_clusters`.
        k: neighbours; in strings shorter than k, all tokens.
        max_clusters: C, static.
    """
    length = x.shape[1]
    squared = _squared_distances(jax.lax.stop_gradient(x).astype(jnp.float32), mask)
    pairs = mask[:, :, None] & mask[:, None, :]

    nearest = -jax.lax.top_k(jnp.where(pairs, -squared, -jnp.inf), min(k, length))[0]
    found = jnp.isfinite(nearest)
    # Ranking by the mean squared distance rather than by rho = exp(-it) keeps the order where exp would round it away.
    sparsity = jnp.where(found, nearest, 0).sum(-1) / jnp.maximum(found.sum(-1), 1)

    position = jnp.arange(length)
    tied_earlier = (sparsity[:, None, :] == sparsity[:, :, None]) & (position[None, :] < position[:, None])
    denser = ((sparsity[:, None, :] < sparsity[:, :, None]) | tied_earlier) & pairs
    distance = jnp.sqrt(squared)
    farthest = jnp.where(pairs, distance, 0).max((1, 2))
    delta = jnp.where(denser, distance, farthest[:, None, None]).min(-1)

    prominence = jnp.where(mask, jnp.exp(-sparsity) * delta, -1.0)
    centres = jax.lax.top_k(prominence, max_clusters)[1].astype(jnp.int32)  # stable: of equals, the earlier first
    exists = jnp.arange(max_clusters) < jnp.minimum(clusters, mask.sum(1))[:, None]

    to_centre = _rows(squared, centres).swapaxes(1, 2)
    itself = centres[:, None, :] == position[:, None]
    to_centre = jnp.where(exists[:, None, :], jnp.where(itself, -1.0, to_centre), jnp.inf)
    assignment = jnp.where(mask, to_centre.argmin(-1), 0).astype(jnp.int32)
    return Clusters(assignment, centres, exists)


def spans(x: jax.Array, mask: jax.Array, clusters: jax.Array, k: int, max_clusters: int) -> Clusters:
    """Contiguous spans of nearly equal length, in reading order: what clustering must beat. Arguments as
    `density_peaks`."""
    del x, k
    length = mask.sum(1, dtype=jnp.int32)[:, None]
    clusters = jnp.minimum(clusters[:, None], length)
    rank = jnp.cumsum(mask, 1, dtype=jnp.int32) - 1
    assignment = jnp.where(mask, rank * clusters // jnp.maximum(length, 1), 0)
    slot = jnp.arange(max_clusters, dtype=jnp.int32)
    exists = slot < clusters
    member = mask[:, None, :] & (assignment[:, None, :] == slot[:, None])
    return Clusters(assignment, member.argmax(-1).astype(jnp.int32), exists)


def _squared_distances(x: jax.Array, mask: jax.Array) -> jax.Array:
    """|x_i - x_j|^2 / D as float32 [B, L, L], symmetric; exactly 0, and with bitwise equal rows, for tokens of one
    point.

    The Gram form is a matrix product where the direct form is B L L D elementwise steps. It needs full float32 (a GPU's
    or TPU's default would lose all small distances), and what rounding leaves of equal tokens is cut to 0.
    """
    gram = jnp.einsum("bid,bjd->bij", x, x, precision=jax.lax.Precision.HIGHEST)
    norms = jnp.diagonal(gram, axis1=1, axis2=2)
    scale = norms[:, :, None] + norms[:, None, :]
    squared = scale - (gram + gram.swapaxes(1, 2))
    squared = jnp.where(squared <= SAME_POINT * scale, 0.0, squared) / x.shape[-1]
    same = (squared == 0) & mask[:, :, None] & mask[:, None, :]
    first = same.argmax(-1)
    return _rows(_rows(squared, first).swapaxes(1, 2), first)


def _rows(x: jax.Array, at: jax.Array) -> jax.Array:
    """x [B, L, M], places int32 [B, R] -> [B, R, M]. The places come from `argmax` and `top_k`, so they exist, and the
    checks of `take_along_axis`, a good part of the clustering's program, are left out."""
    return jax.vmap(lambda x, at: x.at[at].get(mode="promise_in_bounds", wrap_negative_indices=False))(x, at)


CLUSTERINGS: dict[str, Callable[[jax.Array, jax.Array, jax.Array, int, int], Clusters]] = {
    "density-peaks": density_peaks,
    "spans": spans,
}
"""The rules by name."""
