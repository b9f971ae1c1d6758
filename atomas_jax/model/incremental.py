"""One token at a time: the decoder with explicit caches, as pure functions of parameters and cache.

Dimension letters: B strings, N continuations of each (samples or beams), R = B * N rows, S length of the encoded
string, P places of the cache, G groups of M rows that read one another's keys (samples: R groups of one row; beams: B
groups of N), H heads, K head width, D width, F feed-forward, V vocabulary.

A step does as little as it can. Cross-attention keys and values are computed once a string and shared by its N
continuations; self-attention keys and values are written in place and never moved. A beam that continues another takes
over its list of who wrote which place, and each beam's query sees all that the beams of its string wrote, less what
others wrote: M times the products, which are small, for caches that are read once, where moving them would read and
write them all, for every token. Matrices that read the same states are one matrix.
States are [D, R] and kernels stand on their left: the kernels, by far the larger side, are then read as they lie,
where on CPU the product with kernels on the right would first lay them out anew, for every token (a sixth of the
time at 64 rows). The layers are unrolled, not scanned: a scan would copy every layer's weights and caches out of their
stacks for every token, and reading them once is all that a decoding step costs.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.model.attention import MASKED, attend, distance_bias, mask_bias
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import embed, output_logits

_MANY_GROUPS = 16
"""Groups from which on attention by sums was seen to be quicker on CPU (equal at 8, slower at 1)."""
PARTS = 8
"""Parts, at most, that its sums are taken in; a dimension that they do not divide has fewer, and gains less."""


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
    keys: tuple[Float[Array, "G H PM K"], ...]
    values: tuple[Float[Array, "G H PM K"], ...]
    """A place's M rows beside one another, in one dimension."""
    writers: Int[Array, "G M P"] | None
    """Which row of its group wrote each place that a row continues; None where every row continues itself."""
    cross_keys: tuple[Float[Array, "B H S K"], ...]
    cross_values: tuple[Float[Array, "B H S K"], ...]
    cross_bias: Float[Array, "B 1 1 S"]
    self_bias: Float[Array, "H 2P"]
    """Bias by distance, oldest key first; then as many places again that hide the keys not yet written."""

    @property
    def capacity(self) -> int:
        """Places P of the self-attention caches."""
        return self.values[0].shape[2] // self.group

    @property
    def group(self) -> int:
        """Rows M that read one another's keys."""
        return 1 if self.writers is None else self.writers.shape[1]


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
    branching: bool = False,
) -> Cache:
    """An empty cache for up to `max_length` tokens of `continuations` rows a string.

    `capacity` (default `max_length`) places are made at first; `grow` makes more. With `branching` the rows of a string
    may come to continue one another (`reorder`).
    """

    def split(kernel):
        return kernel.reshape(config.num_heads, config.d_kv, -1)

    group = continuations if branching else 1
    groups, places = encoded.shape[0] * continuations // group, capacity or max_length

    def empty(*shape):
        return tuple(jnp.zeros((groups, config.num_heads, *shape), config.dtype) for _ in weights.layers)

    past = distance_bias(weights.relative_bias, config, 1 - max_length, 0, bidirectional=False)
    return Cache(
        position=jnp.zeros((), jnp.int32),
        keys=empty(places * group, config.d_kv),
        values=empty(places * group, config.d_kv),
        writers=jnp.zeros((groups, group, places), jnp.int32) if branching else None,
        cross_keys=tuple(jnp.einsum("bsd,hkd->bhsk", encoded, split(layer.cross_key)) for layer in weights.layers),
        cross_values=tuple(jnp.einsum("bsd,hkd->bhsk", encoded, split(layer.cross_value)) for layer in weights.layers),
        cross_bias=mask_bias(encoded_mask),
        self_bias=jnp.pad(past, ((0, 0), (0, max_length)), constant_values=MASKED),
    )


def grow(cache: Cache, capacity: int) -> Cache:
    """The same cache with room for `capacity` tokens; it must not be less than it has."""
    more = capacity - cache.capacity

    def longer(array, axis, times=cache.group):
        return jnp.pad(array, [(0, more * times if at == axis else 0) for at in range(array.ndim)])

    return cache.replace(
        keys=tuple(longer(keys, 2) for keys in cache.keys),
        values=tuple(longer(values, 2) for values in cache.values),
        writers=None if cache.writers is None else longer(cache.writers, 2, 1),
    )


def reorder(cache: Cache, rows: Int[Array, " R"]) -> Cache:
    """Row i continues what row `rows[i]` remembered; rows must stay with their string."""
    within = rows.reshape(-1, cache.group, 1) % cache.group
    return cache.replace(writers=jnp.take_along_axis(cache.writers, within, axis=1))


def decode_step(
    weights: StepWeights, config: T5Config, tokens: Int[Array, " R"], cache: Cache
) -> tuple[Float[Array, "R V"], Cache]:
    """Float32 logits of the token after `tokens`, and the cache with them remembered.

    Row b * N + n is continuation n of string b. The same numbers as the last position of a teacher-forced pass.
    """
    strings, rows = cache.cross_bias.shape[0], tokens.shape[0]
    group, groups = cache.group, rows // cache.group
    at = cache.position * group
    inner = config.num_heads * config.d_kv
    start = cache.self_bias.shape[1] // 2 - 1 - cache.position
    by_distance = jax.lax.dynamic_slice_in_dim(cache.self_bias, start, cache.capacity, axis=1)
    biases = (jnp.repeat(by_distance, group, axis=1)[None, :, None],)
    if cache.writers is not None:
        itself = jnp.broadcast_to(jnp.arange(group)[:, None], (groups, group, 1))
        writers = jax.lax.dynamic_update_slice(cache.writers, itself, (0, 0, cache.position))
        cache = cache.replace(writers=writers)
        own = writers[..., None] == jnp.arange(group)
        biases = (*biases, jnp.where(own, 0.0, MASKED).reshape(groups, 1, group, -1))

    def heads(projected: Float[Array, "HK R"], groups: int) -> Float[Array, "G H Q K"]:
        """The rows of each of `groups` groups, which see the same keys."""
        return projected.reshape(config.num_heads, config.d_kv, groups, rows // groups).transpose(2, 0, 3, 1)

    def joined(kernel: Float[Array, "D HK"], mixed: Float[Array, "G H Q K"]) -> Float[Array, "D R"]:
        return jnp.einsum("di,ri->dr", kernel, mixed.transpose(0, 2, 1, 3).reshape(rows, inner))

    x = embed(weights.embedding, tokens, config).T
    keys, values = [], []
    for index, layer in enumerate(weights.layers):
        queries, new_keys, new_values = jnp.split(layer.self_projections @ _normed(x, layer.self_scale, config), 3)
        keys.append(jax.lax.dynamic_update_slice_in_dim(cache.keys[index], heads(new_keys, groups), at, axis=2))
        values.append(jax.lax.dynamic_update_slice_in_dim(cache.values[index], heads(new_values, groups), at, axis=2))
        x = x + joined(layer.self_out, _attend(heads(queries, groups), keys[-1], values[-1], *biases))

        queries = heads(layer.cross_query @ _normed(x, layer.cross_scale, config), strings)
        crossed = cache.cross_keys[index], cache.cross_values[index]
        x = x + joined(layer.cross_out, _attend(queries, *crossed, cache.cross_bias))

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


def _attend(
    queries: Float[Array, "G H Q K"],
    keys: Float[Array, "G H S K"],
    values: Float[Array, "G H S K"],
    *biases: Float[Array, "#G #H #Q S"],
) -> Float[Array, "G H Q K"]:
    """`attend`; on CPU, for many groups, by sums."""
    if len(keys) < _MANY_GROUPS:
        return attend(queries, keys, values, *biases)
    return jax.lax.platform_dependent(queries, keys, values, *biases, cpu=_attend_by_sums, default=attend)


def _attend_by_sums(queries, keys, values, *biases):
    """`attend` in a form that XLA shares out among CPU cores.

    It leaves a product of a batch of small matrices to one core (of one query always, of several up to jax 0.10), but
    not what a sum or a maximum is taken of. So one query's products are multiplied out and added up, parts first: in
    one go takes longer than the product did. Several queries' logits go into the softmax's maximum as they are; their
    values are products of parts, added up. Of the whole of decoding, 64 strings by `small` on two cores: 3 % with one
    query, 6 % with five.
    """
    one_query = queries.shape[2] == 1
    if one_query:
        parts = math.gcd(keys.shape[3], PARTS)
        products = _cut(queries, 3, parts).astype(jnp.float32) * _cut(keys, 3, parts)
        logits = jnp.sum(products, axis=(3, 4))[:, :, None]
    else:
        logits = jnp.einsum("ghqk,ghsk->ghqs", queries, keys, preferred_element_type=jnp.float32)
    for bias in biases:
        logits = logits + bias
    parts = math.gcd(keys.shape[2], PARTS)
    weights = _cut(jax.nn.softmax(logits, axis=-1).astype(values.dtype), 3, parts)
    apart = _cut(values, 2, parts)
    if one_query:
        mixed = jnp.sum(weights[:, :, 0, ..., None].astype(jnp.float32) * apart, axis=(2, 3))[:, :, None]
    else:
        products = jnp.einsum("ghqps,ghpsk->ghpqk", weights, apart, preferred_element_type=jnp.float32)
        mixed = jnp.sum(products, axis=2)
    return mixed.astype(values.dtype)


def _cut(x: Array, axis: int, parts: int) -> Array:
    """An axis as two: parts and what is in each."""
    return x.reshape(*x.shape[:axis], parts, -1, *x.shape[axis + 1 :])


def _normed(x: Float[Array, "D R"], scale: Float[Array, " D"], config: T5Config) -> Float[Array, "D R"]:
    """`RMSNorm` of states that stand in columns."""
    wide = x.astype(jnp.float32)
    variance = jnp.mean(jnp.square(wide), axis=0)
    return (wide * jax.lax.rsqrt(variance + config.layer_norm_epsilon) * scale[:, None]).astype(config.dtype)
