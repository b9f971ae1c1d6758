"""From tokens to fragments, from fragments to molecules: one level of adaptive polymerisation (Atomas, section 3).

Letters: B batch, L tokens of the level below, C clusters, D width, H heads, K head width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from atomas_jax.errors import UserError
from atomas_jax.model.clustering import CLUSTERINGS, cluster_count
from atomas_jax.model.configuration import AlignmentConfig
from atomas_jax.model.dense import Dense
from atomas_jax.model.placement import split_rows, whole

LAYER_NORM_EPSILON = 1e-5
MERGE_EPSILON = 1e-6
# Finite, so that a string without any real token gives numbers (masked later) and not NaN.
MASKED_LOGIT = -1e30


class Polymerised(NamedTuple):
    """The tokens of a level and where they came from."""

    tokens: jax.Array
    """float32 [B, C, D]; zero where `mask` is False."""
    mask: jax.Array
    """bool [B, C]."""
    assignment: jax.Array
    """int32 [B, L]: the cluster of each token of the level below (0 for its padding)."""


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
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array) -> Polymerised:
        """x [B, L, D], mask bool [B, L]. Raises UserError if the heads do not divide D or the clustering has no such
        name."""
        if self.config.clustering not in CLUSTERINGS:
            raise UserError(f"no clustering {self.config.clustering!r}: choose one of {', '.join(CLUSTERINGS)}")
        x = jnp.where(mask[:, :, None], x, 0)
        x = layer_norm("token_norm")(x.astype(jnp.float32) + NeighbourMix(self.dtype, name="conv")(x))
        score = projection(1, ("embed", None), "float32", "token_score")(x)[:, :, 0]

        counts = cluster_count(mask.sum(1, dtype=jnp.int32), self.ratio)
        capacity = cluster_count(x.shape[1], self.ratio)
        cluster = CLUSTERINGS[self.config.clustering]
        clusters = cluster(x, mask, counts, self.config.neighbours, capacity)

        merged = merge(x, score, mask, clusters.assignment, capacity)
        tokens = merged + self._attend(merged, x, score, mask)
        return Polymerised(jnp.where(clusters.mask[:, :, None], tokens, 0), clusters.mask, clusters.assignment)

    def _attend(self, merged: jax.Array, x: jax.Array, score: jax.Array, mask: jax.Array) -> jax.Array:
        width, heads = x.shape[-1], self.config.attention_heads
        if width % heads:
            raise UserError(f"alignment.attention_heads = {heads} does not divide the model's width {width}")
        head_width = width // heads
        norm = layer_norm("attention_norm")
        query = projection(width, ("embed", "heads"), self.dtype, "query")(norm(merged))
        key_value = split_rows(projection(2 * width, ("embed", "heads"), self.dtype, "key_value")(norm(x)))
        query = query.reshape(*query.shape[:2], heads, head_width)
        key, value = jnp.moveaxis(key_value.reshape(*x.shape[:2], 2, heads, head_width), 2, 0)

        logits = jnp.einsum("bchk,blhk->bhcl", query, key, preferred_element_type=jnp.float32)
        logits = logits * head_width**-0.5 + score[:, None, None, :]
        weights = nn.softmax(jnp.where(mask[:, None, None, :], logits, MASKED_LOGIT))
        mixed = jnp.einsum("bhcl,blhk->bchk", weights.astype(value.dtype), value)
        mixed = mixed.reshape(*merged.shape)
        return projection(width, ("heads", "embed"), self.dtype, "attention_out")(mixed).astype(jnp.float32)


class NeighbourMix(nn.Module):
    """A convolution of width 3 along the tokens, zero padded, no bias, as one matrix product (quick on every
    backend)."""

    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, L, D] -> [B, L, D] in `dtype`."""
        length, width = x.shape[1:]
        init = nn.with_logical_partitioning(nn.initializers.lecun_normal(), (None, "embed", "mlp"))
        kernel = self.param("kernel", init, (3, width, width), jnp.float32)
        padded = jnp.pad(x.astype(self.dtype), ((0, 0), (1, 1), (0, 0)))
        windows = jnp.concatenate([padded[:, shift : shift + length] for shift in range(3)], axis=-1)
        # gathered before it is reshaped: splits of two dimensions would meet in one, which XLA's partitioner gets wrong
        kernel = whole(kernel.astype(self.dtype))
        return split_rows(windows @ kernel.reshape(3 * width, width))


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


def layer_norm(name: str) -> nn.LayerNorm:
    """LayerNorm in float32 with the published epsilon."""
    return nn.LayerNorm(
        epsilon=LAYER_NORM_EPSILON,
        dtype=jnp.float32,
        use_fast_variance=False,
        scale_init=nn.with_logical_partitioning(nn.initializers.ones_init(), ("embed",)),
        bias_init=nn.with_logical_partitioning(nn.initializers.zeros_init(), ("embed",)),
        name=name,
    )


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
