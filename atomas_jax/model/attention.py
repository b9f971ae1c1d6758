"""T5's attention: no biases in the projections, no scaling of the logits, one relative position bias for a whole stack.

Dimension letters: B batch, L length, D width, H heads, K head width, Q queries, S keys; G groups, N tokens of a group,
R strings of a group (`layout`).
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import repeat
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.model.configuration import T5Config
from atomas_jax.model.dense import Dense, repeated
from atomas_jax.model.layout import Layout, join, permuted

MASKED = -1e9
"""Added to the logits of hidden keys. Finite, so that a row with nothing to see gives a number and no NaN; in float32
`exp` of it is exactly zero beside any visible key."""


def mask_bias(mask: Bool[Array, "B S"]) -> Float[Array, "B 1 1 S"]:
    """Additive float32 bias that hides the keys where `mask` is False."""
    return jnp.where(mask, 0.0, MASKED)[:, None, None, :].astype(jnp.float32)


def causal_bias(length: int) -> Float[Array, "1 1 L L"]:
    """Additive float32 bias that hides from each query the keys after it."""
    visible = np.tril(np.ones((length, length), bool))
    return jnp.where(visible, 0.0, MASKED)[None, None].astype(jnp.float32)


def relative_buckets(distances: np.ndarray, buckets: int, max_distance: int, bidirectional: bool) -> np.ndarray:
    """Bucket of each relative position (key minus query) in tokens; int32, shape of `distances`.

    Half of the buckets are single positions, the rest grow logarithmically up to `max_distance` (Raffel et al. 2020,
    section 2.1). With `bidirectional` one half of the buckets is for keys after the query; else those keys share bucket
    0. The logarithm is taken in float32, as the published models did: at powers of two the rounding decides.
    """
    distances = np.asarray(distances)
    offset = np.zeros(distances.shape, np.int32)
    if bidirectional:
        buckets //= 2
        offset = np.where(distances > 0, buckets, 0).astype(np.int32)
        behind = np.abs(distances)
    else:
        behind = np.maximum(-distances, 0)
    exact = buckets // 2
    ratio = np.maximum(behind, 1).astype(np.float32) / np.float32(exact)
    steps = np.log(ratio) / np.float32(np.log(max_distance / exact)) * np.float32(buckets - exact)
    far = np.minimum(exact + steps.astype(np.int32), buckets - 1)
    return offset + np.where(behind < exact, behind, far).astype(np.int32)


class RelativeBias(nn.Module):
    """The learned bias of a key's distance from its query, one number a bucket and head."""

    config: T5Config
    bidirectional: bool

    def setup(self):
        config = self.config
        init = nn.with_logical_partitioning(
            nn.initializers.normal(config.d_model**-0.5), ("relative_buckets", "attention_heads")
        )
        shape = (config.relative_attention_buckets, config.num_heads)
        self.embedding = self.param("embedding", init, shape, jnp.float32)

    def __call__(self, queries: int, keys: int) -> Float[Array, "1 H Q S"]:
        """Bias of every key for every query, float32."""
        by_distance = distance_bias(self.embedding, self.config, 1 - queries, keys - 1, self.bidirectional)
        return _spread(by_distance, queries, keys)[None]


def distance_bias(
    embedding: Float[Array, "buckets H"], config: T5Config, first: int, last: int, bidirectional: bool
) -> Float[Array, "H distances"]:
    """Bias of the relative positions first, first + 1, ..., last."""
    buckets = relative_buckets(
        np.arange(first, last + 1),
        config.relative_attention_buckets,
        config.relative_attention_max_distance,
        bidirectional,
    )
    return jnp.take(embedding, buckets, axis=0).T


def _spread(by_distance: Float[Array, "H distances"], queries: int, keys: int) -> Float[Array, "H Q S"]:
    """Lay the bias of distances 1 - queries ... keys - 1 along the diagonals of a matrix.

    Repeating a row of width w + 1 and reading it in rows of width w shifts each row by one. Its gradient is a sum over
    the copies, where a gather of L x L buckets would scatter into 32 cells.
    """
    heads, width = by_distance.shape
    rows = jnp.pad(by_distance, ((0, 0), (0, 1)))
    rows = jnp.broadcast_to(rows[:, None], (heads, queries, width + 1)).reshape(heads, -1)
    rows = rows[:, queries - 1 : queries - 1 + queries * width]
    return rows.reshape(heads, queries, width)[:, :, :keys]


class Encoded(NamedTuple):
    """Encoded strings as another stack attends to them."""

    states: Float[Array, "G N D"]
    bias: Float[Array, "G R S"]
    """Float32, hides padding; strings as the attending ones have their partners, S the longest padded length."""
    order: Int[Array, "G R"] | None
    """Of each attending string, the place of its partner in the group; None: the same place."""
    layout: Layout


def encoded(states, mask: Bool[Array, "G N"], layout: Layout, order: Int[Array, "G R"] | None = None) -> Encoded:
    """States [G, N, D] with their mask, as a decoder of strings in that order of partners attends to them."""
    padded = layout.padded(mask)
    bias = jnp.where(padded if order is None else permuted(padded, order), 0.0, MASKED).astype(jnp.float32)
    return Encoded(states, bias, order, layout)


Biases = tuple[tuple[jax.Array, ...], ...]
"""Of each block, float32 arrays that add up to the bias of its attention [n, H, L, L]."""


def attend(
    queries: Float[Array, "B H Q K"],
    keys: Float[Array, "B H S K"],
    values: Float[Array, "B H S K"],
    *biases: Float[Array, "#B #H #Q S"],
    dropout=lambda weights: weights,
) -> Float[Array, "B H Q K"]:
    """Softmax attention with additive biases: logits and softmax in float32, result in the type of `values`.

    Biases come apart, so that one of all strings and one of all heads are never held as their sum.
    """
    logits = jnp.einsum("bhqk,bhsk->bhqs", queries, keys, preferred_element_type=jnp.float32)
    for bias in biases:
        logits = logits + (repeated(bias[0], logits.shape[:1]) if bias.shape[0] == 1 else bias)
    weights = jax.nn.softmax(logits, axis=-1).astype(values.dtype)
    return jnp.einsum("bhqs,bhsk->bhqk", dropout(weights), values)


class Attention(nn.Module):
    """Multi-head attention with kernels [D, H*K]: two dimensions, so that Adafactor factors them and they shard simply.

    Activations in `config.dtype`, parameters float32.
    """

    config: T5Config

    def setup(self):
        config = self.config
        inner = config.num_heads * config.d_kv
        self.query = self._projection(inner, (config.d_model * config.d_kv) ** -0.5, ("embed", "heads"))
        self.key = self._projection(inner, config.d_model**-0.5, ("embed", "heads"))
        self.value = self._projection(inner, config.d_model**-0.5, ("embed", "heads"))
        self.out = self._projection(config.d_model, inner**-0.5, ("heads", "embed"))

    def _projection(self, features: int, deviation: float, axes: tuple[str, str]) -> Dense:
        init = nn.with_logical_partitioning(nn.initializers.normal(deviation), axes)
        return Dense(features, use_bias=False, dtype=jnp.dtype(self.config.dtype), kernel_init=init)

    def _split(self, projected: Float[Array, "*B L HK"]) -> Float[Array, "B H L K"]:
        """Heads apart; groups and strings, where both are there, become one dimension."""
        length = projected.shape[-2]
        return projected.reshape(-1, length, self.config.num_heads, self.config.d_kv).transpose(0, 2, 1, 3)

    def within(self, x: Float[Array, "G N D"], biases: Biases, layout: Layout, deterministic: bool = True):
        """The tokens of each string attend to one another; `biases` of each block. [G, N, D]."""
        drops = self._drops(x.shape[:2], layout.cut, deterministic)
        parts = zip(*(layout.cut(project(x)) for project in (self.query, self.key, self.value)), biases, drops)
        mixed = [
            self._mixed(queries, self._split(keys), self._split(values), bias, drop)
            for queries, keys, values, bias, drop in parts
        ]
        return self.out(join(mixed))

    def across(self, x: Float[Array, "G N D"], layout: Layout, other: "Encoded", deterministic: bool = True):
        """The tokens of each string attend to those of its partner. [G, N, D]."""

        def partners(projected):
            padded = other.layout.padded(projected)
            return layout.cut_strings(padded if other.order is None else permuted(padded, other.order))

        parts = zip(layout.cut(self.query(x)), partners(self.key(other.states)), partners(self.value(other.states)))
        hidden, drops = layout.cut_strings(other.bias), self._drops(other.bias.shape, layout.cut_strings, deterministic)
        mixed = [
            self._mixed(queries, self._split(keys), self._split(values), (bias.reshape(-1, 1, 1, bias.shape[2]),), drop)
            for (queries, keys, values), bias, drop in zip(parts, hidden, drops)
        ]
        return self.out(join(mixed))

    def _mixed(self, queries, keys, values, biases, drop):
        """Values [*B, Q, H*K] mixed for projected queries of that shape; keys and values [B, H, S, K]."""
        mixed = attend(self._split(queries), keys, values, *biases, dropout=drop)
        return mixed.transpose(0, 2, 1, 3).reshape(queries.shape)

    def _drops(self, keys: tuple[int, ...], cut, deterministic: bool) -> Iterable[Callable]:
        """What dropout does to the attention weights [B, H, Q, S] of each block, which `cut` takes from arrays
        [*keys, ...].

        T5 draws one mask for all queries (Mesh TensorFlow broadcasts over the length). Drawn for all blocks at once, it
        is a small part of the program, where the generator's many operations would be there for every block.
        """
        rate = self.config.dropout
        if deterministic or rate == 0:
            return repeat(lambda weights: weights)
        kept = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, (*keys, self.config.num_heads))

        def drop(block, weights):
            by_key = block.reshape(-1, *block.shape[-2:]).swapaxes(1, 2)[:, :, None]
            return jnp.where(by_key, weights / (1 - rate), 0)

        return [partial(drop, block) for block in cut(kept)]
