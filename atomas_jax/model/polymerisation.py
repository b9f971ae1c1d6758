"""From tokens to fragments, from fragments to molecules: one level of adaptive polymerisation (Atomas, section 3).

Letters: B strings, L tokens of the level below, C clusters, D width, H heads, K head width; G groups of N tokens, M
clusters of a group (`layout`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from atomas_jax.errors import UserError
from atomas_jax.model.clustering import CLUSTERINGS, cluster_count
from atomas_jax.model.configuration import AlignmentConfig
from atomas_jax.model.dense import Dense, repeated
from atomas_jax.model.layout import Layout, join
from atomas_jax.model.placement import split_rows, whole

LAYER_NORM_EPSILON = 1e-5
MERGE_EPSILON = 1e-6
# Finite, so that a string without any real token gives numbers (masked later) and not NaN.
MASKED_LOGIT = -1e30


class Polymerised(NamedTuple):
    """The tokens of a level and where they came from."""

    tokens: jax.Array
    """float32 [G, M, D]; zero where `mask` is False."""
    mask: jax.Array
    """bool [G, M]."""
    assignment: jax.Array
    """int32 [G, N]: the cluster of each token of the level below, counted in its string (0 for padding)."""
    layout: Layout
    """Of the clusters: the blocks of the tokens, some of them joined."""


class Polymerisation(nn.Module):
    """Cluster the tokens of each string, merge each cluster, and let the result attend to what it was made of.

    1. x <- LayerNorm(x + Conv3(x)); token score s = w.x + b.
    2. ceil(ratio * real tokens) clusters by `AlignmentConfig.clustering`, numbered by prominence.
    3. y_c = sum over c of exp(s_i) x_i / (sum exp(s_i) + 1e-6).
    4. y + W_o Attention(LayerNorm(y), LayerNorm(x)) with s_j added to the logits of token j.

    Padding is zeroed before the convolution and masked after it, so it changes nothing. Parameters are float32; the
    matrix products over D run in `dtype`, everything that is compared, exponentiated or normalised in float32.
    """

    config: AlignmentConfig
    ratio: float
    """Clusters per token."""
    blocks: int
    """At most so many blocks of lengths in which strings are clustered and attend, and in which the clusters lie: that
    is little work in many small steps, and more blocks would cost more to compile and load than they save."""
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array, layout: Layout) -> Polymerised:
        """x [G, N, D], mask bool [G, N]. Raises UserError if the heads do not divide D or the clustering has no such
        name."""
        if self.config.clustering not in CLUSTERINGS:
            raise UserError(f"no clustering {self.config.clustering!r}: choose one of {', '.join(CLUSTERINGS)}")
        x = jnp.where(mask[:, :, None], x, 0)
        x = LayerNorm(name="token_norm")(x.astype(jnp.float32) + NeighbourMix(self.dtype, name="conv")(x, layout))
        score = projection(1, ("embed", None), "float32", "token_score")(x)[:, :, 0]

        coarse = layout.coarser(self.blocks)
        above = Layout(tuple((rows, cluster_count(length, self.ratio)) for rows, length in coarse.blocks))

        def by_block(array) -> list[jax.Array]:
            return [strings(block) for block in coarse.cut(layout.joined(array, coarse))]

        masks, scores = by_block(mask), by_block(score)
        parts = [self._clustered(*part) for part in zip(by_block(x), masks, scores)]
        merged, here, assignment = (
            join([of_block.reshape(x.shape[0], -1, *of_block.shape[1:]) for of_block in of_blocks])
            for of_blocks in zip(*parts)
        )
        query, key_value = self._projected(merged, x)
        mixed = [mix(*part) for part in zip(map(strings, above.cut(query)), by_block(key_value), scores, masks)]
        mixed = join([block.reshape(x.shape[0], -1, *block.shape[1:]) for block in mixed]).reshape(merged.shape)
        out = projection(merged.shape[2], ("heads", "embed"), self.dtype, "attention_out")(mixed)
        tokens = jnp.where(here[:, :, None], merged + out.astype(jnp.float32), 0)
        return Polymerised(tokens, here, coarse.split(assignment, layout), above)

    def _clustered(self, x: jax.Array, mask: jax.Array, score: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Of strings of one length: merged tokens [B, C, D], which exist, and the cluster of each token below."""
        counts = cluster_count(mask.sum(1, dtype=jnp.int32), self.ratio)
        capacity = cluster_count(x.shape[1], self.ratio)
        clusters = CLUSTERINGS[self.config.clustering](x, mask, counts, self.config.neighbours, capacity)
        return merge(x, score, mask, clusters.assignment, capacity), clusters.mask, clusters.assignment

    def _projected(self, merged: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Queries [G, M, H, K] of the clusters; keys and values [G, N, 2, H, K] of the tokens."""
        width, heads = x.shape[-1], self.config.attention_heads
        if width % heads:
            raise UserError(f"alignment.attention_heads = {heads} does not divide the model's width {width}")
        norm = LayerNorm(name="attention_norm")
        query = projection(width, ("embed", "heads"), self.dtype, "query")(norm(merged))
        key_value = split_rows(projection(2 * width, ("embed", "heads"), self.dtype, "key_value")(norm(x)))
        return (
            query.reshape(*query.shape[:2], heads, width // heads),
            key_value.reshape(*x.shape[:2], 2, heads, width // heads),
        )


def mix(query: jax.Array, key_value: jax.Array, score: jax.Array, mask: jax.Array) -> jax.Array:
    """Attention of clusters [B, C, H, K] to tokens [B, L, 2, H, K] with their scores [B, L] on the logits."""
    key, value = jnp.moveaxis(key_value, 2, 0)
    logits = jnp.einsum("bchk,blhk->bhcl", query, key, preferred_element_type=jnp.float32)
    logits = logits * query.shape[-1] ** -0.5 + score[:, None, None, :]
    weights = nn.softmax(jnp.where(mask[:, None, None, :], logits, MASKED_LOGIT))
    return jnp.einsum("bhcl,blhk->bchk", weights.astype(value.dtype), value)


def strings(block: jax.Array) -> jax.Array:
    """[G, n, L, ...] -> [G * n, L, ...]."""
    return block.reshape(-1, *block.shape[2:])


class NeighbourMix(nn.Module):
    """A convolution of width 3 along the tokens, zero padded, no bias, as one matrix product (quick on every
    backend)."""

    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, layout: Layout) -> jax.Array:
        """[G, N, D] -> [G, N, D] in `dtype`; strings end where their blocks say."""
        width = x.shape[2]
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), (None, "embed", "mlp"))
        kernel = self.param("kernel", init, (3, width, width), jnp.float32)
        windows = _windows(x.astype(self.dtype), layout)
        # gathered before it is reshaped: splits of two dimensions would meet in one, which XLA's partitioner gets wrong
        kernel = whole(kernel.astype(self.dtype))
        return split_rows(windows @ kernel.reshape(3 * width, width))


def _windows(x: jax.Array, layout: Layout) -> jax.Array:
    """[G, N, D] -> [G, N, 3 D]: each token between its neighbours, zeros beyond the ends of its string."""
    first = np.concatenate([np.arange(rows * length) % length == 0 for rows, length in layout.blocks])
    is_first, is_last = first[:, None], np.roll(first, -1)[:, None]
    padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0)))
    before, after = jnp.where(is_first, 0, padded[:, :-2]), jnp.where(is_last, 0, padded[:, 2:])
    return jnp.concatenate([before, x, after], axis=-1)


def merge(x: jax.Array, score: jax.Array, mask: jax.Array, assignment: jax.Array, clusters: int) -> jax.Array:
    """y_c = sum exp(s_i) x_i / (sum exp(s_i) + 1e-6) over the tokens of each cluster: [B, L, D] -> float32 [B, C, D].

    The constant in the denominator makes the formula depend on the level of the scores, so the usual subtraction of the
    maximum would change it. It is applied to both parts alike, per cluster, and only for scores above 0: nothing
    overflows, and below 0 the arithmetic is the formula's own. An empty cluster gives 0.
    """
    member = (assignment[:, :, None] == jnp.arange(clusters)) & mask[:, :, None]
    shift = jnp.where(member, jax.lax.stop_gradient(score)[:, :, None], 0.0).max(1, initial=0.0)
    weight = jnp.exp(jnp.where(member, score[:, :, None] - shift[:, None, :], -jnp.inf))
    total = jnp.einsum("blc,bld->bcd", weight, x.astype(jnp.float32))
    return total / (weight.sum(1) + MERGE_EPSILON * jnp.exp(-shift))[:, :, None]


class LayerNorm(nn.Module):
    """Layer normalisation in float32 with the published epsilon; learned scale and bias."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[.., D] -> float32 [.., D]."""
        x = x.astype(jnp.float32)
        centred = x - x.mean(-1, keepdims=True)
        normed = centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + LAYER_NORM_EPSILON)

        def parameter(name: str, init) -> jax.Array:
            init = nn.with_logical_partitioning(init, ("embed",))
            return repeated(self.param(name, init, x.shape[-1:], jnp.float32), x.shape[:-1])

        scale = parameter("scale", nn.initializers.ones_init())
        return normed * scale + parameter("bias", nn.initializers.zeros_init())


def projection(
    features: int, axes: tuple[str | None, str | None], dtype: str, name: str, use_bias: bool = True
) -> Dense:
    """A dense layer [.., in] -> [.., features] computed in `dtype`, its kernel's logical axes named (in, out)."""
    return Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=nn.with_logical_partitioning(nn.initializers.lecun_normal(), axes),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), axes[1:]),
        name=name,
    )
