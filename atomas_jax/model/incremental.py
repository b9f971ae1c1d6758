"""One token at a time: the decoder with explicit caches, as pure functions of parameters and cache.

Dimension letters: B strings, N continuations of each (samples or beams), R = B * N rows, S length of the encoded
string, P places of the cache, H heads, K head width, D width, V vocabulary.

Cross-attention keys and values are computed once a string and shared by its N continuations. Self-attention keys and
values are written in place. The layers are unrolled, not scanned: a scan would copy every layer's weights and caches
out of their stacks for every token, and reading them once is all that a decoding step costs.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.model.attention import MASKED, distance_bias, mask_bias
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import DecoderLayer, RMSNorm, embed, output_logits


@struct.dataclass
class StepWeights:
    """The decoder's parameters as a step reads them: layer by layer, matrices in the activations' type."""

    embedding: Float[Array, "V D"]
    head: Float[Array, "D V"]
    relative_bias: Float[Array, "buckets H"]
    final_norm: Any
    layers: tuple[Any, ...]


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

    def layer(index: int):
        return jax.tree.map(
            # Norm scales, the only vectors of a layer, act in float32.
            lambda leaf: leaf[index].astype(dtype) if leaf.ndim == 3 else leaf[index],
            decoder["layers"],
        )

    embedding = params["embedding"].astype(dtype)
    head = embedding.T if config.tied_head else params["head"]["kernel"].astype(dtype)
    return StepWeights(
        embedding=embedding,
        head=head,
        relative_bias=decoder["relative_bias"]["embedding"],
        final_norm=decoder["final_norm"],
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
    layer = DecoderLayer(config)
    crossed = [
        layer.apply({"params": layer_params}, encoded, method="cross_keys_values") for layer_params in weights.layers
    ]
    rows = encoded.shape[0] * continuations
    shape = (rows, config.num_heads, capacity or max_length, config.d_kv)
    empty = tuple(jnp.zeros(shape, config.dtype) for _ in weights.layers)
    past = distance_bias(weights.relative_bias, config, 1 - max_length, 0, bidirectional=False)
    return Cache(
        position=jnp.zeros((), jnp.int32),
        keys=empty,
        values=empty,
        cross_keys=tuple(keys for keys, _ in crossed),
        cross_values=tuple(values for _, values in crossed),
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
    layer = DecoderLayer(config)
    start = cache.self_bias.shape[1] // 2 - 1 - cache.position
    bias = jax.lax.dynamic_slice_in_dim(cache.self_bias, start, cache.capacity, axis=1)[None, :, None, :]
    x = embed(weights.embedding, tokens[:, None], config)
    keys, values = [], []
    for index, layer_params in enumerate(weights.layers):
        x, new_keys, new_values = layer.apply(
            {"params": layer_params},
            x,
            cache.keys[index],
            cache.values[index],
            cache.position,
            bias,
            cache.cross_keys[index],
            cache.cross_values[index],
            cache.cross_bias,
            method="step",
        )
        keys.append(new_keys)
        values.append(new_values)
    states = RMSNorm(config).apply({"params": weights.final_norm}, x[:, 0])
    cache = cache.replace(position=cache.position + 1, keys=tuple(keys), values=tuple(values))
    return output_logits(states, weights.head, config), cache
