"""One token at a time: the decoder with explicit caches, as pure functions of parameters and cache.

Dimension letters: B strings, N continuations of each (samples or beams), R = B * N rows, S length of the encoded
string, P places of the cache, H heads, K head width, D width, F feed-forward, V vocabulary.

A step does as little as it can. Cross-attention keys and values are computed once a string and shared by its N
continuations; self-attention keys and values are written in place. Matrices that read the same states are one matrix.
States are [D, R] and kernels stand on their left: the kernels, by far the larger side, are then read as they lie,
where on CPU the product with kernels on the right would first lay them out anew, for every token (a sixth of the
time at 64 rows). The layers are unrolled, not scanned: a scan would copy every layer's weights and caches out of their
stacks for every token, and reading them once is all that a decoding step costs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.model.attention import MASKED, attend, distance_bias, mask_bias
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import embed, output_logits


@struct.dataclass
class LayerWeights:
    """One layer's, in the activations' type; norm scales, which act in float32, stand at their kernels."""

    self_scale: Float[Array, " D"]
    self_projections: Float[Array, "3HK D"]
    """Queries, keys, values."""
    self_out: Float[Array, "D HK"]
    cross_scale: Float[Array, " D"]
    cross_query: Float[Array, "HK D"]
    cross_key: Float[Array, "HK D"]
    cross_value: Float[Array, "HK D"]
    cross_out: Float[Array, "D HK"]
    forward_scale: Float[Array, " D"]
    forward_in: Float[Array, "GF D"]
    """Gate and up (G = 2), or up alone (G = 1)."""
    forward_out: Float[Array, "D F"]


@struct.dataclass
class StepWeights:
    """The decoder's parameters as a step reads them."""

    embedding: Float[Array, "V D"]
    head: Float[Array, "D V"]
    relative_bias: Float[Array, "buckets H"]
    final_scale: Float[Array, " D"]
    layers: tuple[LayerWeights, ...]


@struct.dataclass
class Cache:
    """What the decoder remembers between tokens. Everything but `position` is one array a layer where it is a tuple."""

    position: Int[Array, ""]
    """Place of the next token, the same for all rows."""
    keys: tuple[Float[Array, "R H P K"], ...]
    values: tuple[Float[Array, "R H P K"], ...]
    cross_keys: tuple[Float[Array, "B H S K"], ...]
    cross_values: tuple[Float[Array, "B H S K"], ...]
    cross_bias: Float[Array, "B 1 1 S"]
    self_bias: Float[Array, "H 2P"]
    """Bias by distance, oldest key first; then as many places again that hide the keys not yet written."""

    @property
    def capacity(self) -> int:
        """Places P of the self-attention caches."""
        return self.keys[0].shape[2]


def step_weights(params: Any, config: T5Config) -> StepWeights:
    """The weights of `decode_step` from the parameters of `EncoderDecoder(config)`. Do it once, before the loop."""
    dtype = jnp.dtype(config.dtype)
    decoder = params["decoder"]
    inputs = ("gate", "up") if config.activation == "gated-gelu" else ("up",)

    def layer(index: int) -> LayerWeights:
        parts = jax.tree.map(lambda leaf: leaf[index], decoder["layers"])
        attention, cross, forward = parts["self_attention"], parts["cross_attention"], parts["feed_forward"]

        def turned(group, *names):
            return jnp.concatenate([group[name]["kernel"].astype(dtype).T for name in names])

        return LayerWeights(
            self_scale=parts["self_attention_norm"]["scale"],
            self_projections=turned(attention, "query", "key", "value"),
            self_out=turned(attention, "out"),
            cross_scale=parts["cross_attention_norm"]["scale"],
            cross_query=turned(cross, "query"),
            cross_key=turned(cross, "key"),
            cross_value=turned(cross, "value"),
            cross_out=turned(cross, "out"),
            forward_scale=parts["feed_forward_norm"]["scale"],
            forward_in=turned(forward, *inputs),
            forward_out=turned(forward, "down"),
        )

    embedding = params["embedding"].astype(dtype)
    head = embedding.T if config.tied_head else params["head"]["kernel"].astype(dtype)
    return StepWeights(
        embedding=embedding,
        head=head,
        relative_bias=decoder["relative_bias"]["embedding"],
        final_scale=decoder["final_norm"]["scale"],
        layers=tuple(layer(index) for index in range(config.decoder_layers)),
    )


def init_cache(
    weights: StepWeights,
    config: T5Config,
    encoded: Float[Array, "B S D"],
    encoded_mask: Bool[Array, "B S"],
    max_length: int,
    continuations: int = 1,
    capacity: int | None = None,
) -> Cache:
    """An empty cache for up to `max_length` tokens of `continuations` rows a string.

    `capacity` (default `max_length`) places are made at first; `grow` makes more.
    """

    def heads(kernel):
        split = kernel.reshape(config.num_heads, config.d_kv, -1)
        return jnp.einsum("bsd,hkd->bhsk", encoded, split)

    rows = encoded.shape[0] * continuations
    shape = (rows, config.num_heads, capacity or max_length, config.d_kv)
    empty = tuple(jnp.zeros(shape, config.dtype) for _ in weights.layers)
    past = distance_bias(weights.relative_bias, config, 1 - max_length, 0, bidirectional=False)
    return Cache(
        position=jnp.zeros((), jnp.int32),
        keys=empty,
        values=empty,
        cross_keys=tuple(heads(layer.cross_key) for layer in weights.layers),
        cross_values=tuple(heads(layer.cross_value) for layer in weights.layers),
        cross_bias=mask_bias(encoded_mask),
        self_bias=jnp.pad(past, ((0, 0), (0, max_length)), constant_values=MASKED),
    )


def grow(cache: Cache, capacity: int) -> Cache:
    """The same cache with room for `capacity` tokens; it must not be less than it has."""
    more = ((0, 0), (0, 0), (0, capacity - cache.capacity), (0, 0))
    return cache.replace(
        keys=tuple(jnp.pad(keys, more) for keys in cache.keys),
        values=tuple(jnp.pad(values, more) for values in cache.values),
    )


def reorder(cache: Cache, rows: Int[Array, " R"]) -> Cache:
    """Row i continues what row `rows[i]` remembered; rows must stay with their string."""
    return cache.replace(
        keys=tuple(keys[rows] for keys in cache.keys), values=tuple(values[rows] for values in cache.values)
    )


def decode_step(
    weights: StepWeights, config: T5Config, tokens: Int[Array, " R"], cache: Cache
) -> tuple[Float[Array, "R V"], Cache]:
    """Float32 logits of the token after `tokens`, and the cache with them remembered.

    Row b * N + n is continuation n of string b. The same numbers as the last position of a teacher-forced pass.
    """
    strings, rows = cache.cross_bias.shape[0], tokens.shape[0]
    inner = config.num_heads * config.d_kv
    start = cache.self_bias.shape[1] // 2 - 1 - cache.position
    bias = jax.lax.dynamic_slice_in_dim(cache.self_bias, start, cache.capacity, axis=1)[None, :, None, :]
    at = (0, 0, cache.position, 0)

    def heads(projected: Float[Array, "HK R"], groups: int) -> Float[Array, "G H Q K"]:
        """The rows of each of `groups` groups, which see the same keys, as its queries."""
        split = projected.reshape(config.num_heads, config.d_kv, groups, rows // groups)
        return split.transpose(2, 0, 3, 1)

    def joined(kernel: Float[Array, "D HK"], mixed: Float[Array, "G H Q K"]) -> Float[Array, "D R"]:
        return jnp.einsum("di,ri->dr", kernel, mixed.transpose(0, 2, 1, 3).reshape(rows, inner))

    x = embed(weights.embedding, tokens, config).T
    keys, values = [], []
    for index, layer in enumerate(weights.layers):
        queries, new_keys, new_values = jnp.split(layer.self_projections @ _normed(x, layer.self_scale, config), 3)
        keys.append(jax.lax.dynamic_update_slice(cache.keys[index], heads(new_keys, rows), at))
        values.append(jax.lax.dynamic_update_slice(cache.values[index], heads(new_values, rows), at))
        x = x + joined(layer.self_out, attend(heads(queries, rows), keys[-1], values[-1], bias))

        queries = heads(layer.cross_query @ _normed(x, layer.cross_scale, config), strings)
        crossed = cache.cross_keys[index], cache.cross_values[index]
        x = x + joined(layer.cross_out, attend(queries, *crossed, cache.cross_bias))

        hidden = layer.forward_in @ _normed(x, layer.forward_scale, config)
        if config.activation == "gated-gelu":
            gate, up = jnp.split(hidden, 2)
            hidden = jax.nn.gelu(gate, approximate=True) * up
        else:
            hidden = jax.nn.relu(hidden)
        x = x + layer.forward_out @ hidden
    cache = cache.replace(position=cache.position + 1, keys=tuple(keys), values=tuple(values))
    # laid out anew, a small matter: the product with states in columns is slower on CPU, and would be taken
    states = jax.lax.optimization_barrier(_normed(x, weights.final_scale, config).T)
    return output_logits(states, weights.head, config), cache


def _normed(x: Float[Array, "D R"], scale: Float[Array, " D"], config: T5Config) -> Float[Array, "D R"]:
    """`RMSNorm` of states that stand in columns."""
    wide = x.astype(jnp.float32)
    variance = jnp.mean(jnp.square(wide), axis=0)
    return (wide * jax.lax.rsqrt(variance + config.layer_norm_epsilon) * scale[:, None]).astype(config.dtype)
