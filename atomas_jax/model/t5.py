"""The T5 encoder-decoder, v1.0 and v1.1 (Raffel et al. 2020; Shazeer 2020), layers scanned.

Dimension letters: B batch, L length (of the decoder's side where both occur), S length of the encoded string, D width,
H heads, K head width, F feed-forward, V vocabulary. Strings may also come in blocks of their own lengths (`layout`): G
groups of N tokens, R strings of a group; a plain batch is B groups of one string. Parameters are float32, activations
`config.dtype`; norms, softmax and logits are computed in float32. Parameter tree (every leaf under `layers` has a
leading layer axis):

    embedding [V, D]                head/kernel [D, V] (v1.1 only)
    encoder | decoder /
        relative_bias/embedding [buckets, H]        final_norm/scale [D]
        layers/{self_attention, cross_attention (decoder), feed_forward}_norm/scale [D]
        layers/{self_attention, cross_attention}/{query, key, value, out}/kernel [D, H*K] or [H*K, D]
        layers/feed_forward/{gate (v1.1), up, down}/kernel [D, F] or [F, D]
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.model.attention import Attention, Biases, Encoded, RelativeBias, causal_bias, encoded, mask_bias
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.dense import Dense, StringDropout, repeated
from atomas_jax.model.layout import Layout
from atomas_jax.model.placement import split_rows, whole


class RMSNorm(nn.Module):
    """Division by the root mean square over the width, in float32, times a learned scale; no mean, no bias."""

    config: T5Config

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
        init = nn.with_logical_partitioning(nn.initializers.ones, ("embed",))
        scale = self.param("scale", init, (x.shape[-1],), jnp.float32)
        wide = x.astype(jnp.float32)
        variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(variance + self.config.layer_norm_epsilon)
        normed = normed * repeated(scale, x.shape[:-1])
        return normed.astype(self.config.dtype)


class FeedForward(nn.Module):
    """D -> F -> D: gelu(gate) * up for v1.1 (GELU by its tanh approximation), relu(up) for v1.0."""

    config: T5Config

    def setup(self):
        config = self.config
        self.gated = config.activation == "gated-gelu"
        self.up = self._dense(config.d_ff, config.d_model**-0.5, ("embed", "mlp"))
        if self.gated:
            self.gate = self._dense(config.d_ff, config.d_model**-0.5, ("embed", "mlp"))
        self.down = self._dense(config.d_model, config.d_ff**-0.5, ("mlp", "embed"))
        self.dropout = StringDropout(config.dropout)

    def _dense(self, features: int, deviation: float, axes: tuple[str, str]) -> Dense:
        init = nn.with_logical_partitioning(nn.initializers.normal(deviation), axes)
        return Dense(features, use_bias=False, dtype=jnp.dtype(self.config.dtype), kernel_init=init)

    def __call__(
        self, x: Float[Array, "G N D"], layout: Layout | None = None, deterministic: bool = True
    ) -> Float[Array, "G N D"]:
        hidden = nn.gelu(self.gate(x), approximate=True) * self.up(x) if self.gated else nn.relu(self.up(x))
        return self.down(self.dropout(hidden, layout, deterministic))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each on a normed copy of the residual stream."""

    config: T5Config

    def setup(self):
        self.self_attention_norm = RMSNorm(self.config)
        self.self_attention = Attention(self.config)
        self.feed_forward_norm = RMSNorm(self.config)
        self.feed_forward = FeedForward(self.config)
        self.dropout = StringDropout(self.config.dropout)

    def __call__(self, x, biases: Biases, layout: Layout, deterministic: bool):
        """One layer: states [G, N, D]. Returns (states, None): a step of `nn.scan`."""
        mixed = self.self_attention.within(self.self_attention_norm(x), biases, layout, deterministic)
        x = x + self.dropout(mixed, layout, deterministic)
        hidden = self.feed_forward(self.feed_forward_norm(x), layout, deterministic)
        return split_rows(x + self.dropout(hidden, layout, deterministic)), None


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoded string, feed-forward."""

    config: T5Config

    def setup(self):
        self.self_attention_norm = RMSNorm(self.config)
        self.self_attention = Attention(self.config)
        self.cross_attention_norm = RMSNorm(self.config)
        self.cross_attention = Attention(self.config)
        self.feed_forward_norm = RMSNorm(self.config)
        self.feed_forward = FeedForward(self.config)
        self.dropout = StringDropout(self.config.dropout)

    def __call__(self, x, biases: Biases, layout: Layout, other: Encoded, deterministic: bool):
        """One layer: states [G, N, D], which attend to themselves and to their partners among the encoded strings.

        Returns (states, None): a step of `nn.scan`.
        """
        mixed = self.self_attention.within(self.self_attention_norm(x), biases, layout, deterministic)
        x = x + self.dropout(mixed, layout, deterministic)
        mixed = self.cross_attention.across(self.cross_attention_norm(x), layout, other, deterministic)
        x = x + self.dropout(mixed, layout, deterministic)
        hidden = self.feed_forward(self.feed_forward_norm(x), layout, deterministic)
        return split_rows(x + self.dropout(hidden, layout, deterministic)), None


def _scanned(layer: type[nn.Module], config: T5Config, layers: int, inputs: int) -> nn.Module:
    """`layers` copies of a layer in one `lax.scan`: parameters stacked on a leading axis, compiled once.

    `inputs` counts the layer's arguments after the states; the last of them is the Python value `deterministic`.
    """
    if config.remat != "none":
        policy = jax.checkpoint_policies.dots_with_no_batch_dims_saveable if config.remat == "dots" else None
        layer = nn.remat(layer, policy=policy, prevent_cse=False, static_argnums=(inputs + 1,))
    return nn.scan(
        layer,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast,) * inputs,
        length=layers,
        metadata_params={nn.PARTITION_NAME: "layers"},
    )(config)


class Encoder(nn.Module):
    """The encoder's stack, from embedded tokens to states."""

    config: T5Config

    def setup(self):
        self.relative_bias = RelativeBias(self.config, bidirectional=True)
        self.layers = _scanned(EncoderLayer, self.config, self.config.encoder_layers, inputs=3)
        self.final_norm = RMSNorm(self.config)
        self.dropout = StringDropout(self.config.dropout)

    def __call__(self, x: Float[Array, "G N D"], mask: Bool[Array, "G N"], layout: Layout, deterministic: bool = True):
        biases = tuple(
            (self.relative_bias(length, length), mask_bias(part.reshape(-1, length)))
            for part, (_, length) in zip(layout.cut(mask), layout.blocks)
        )
        x, _ = self.layers(self.dropout(x, layout, deterministic), biases, layout, deterministic)
        return self.dropout(self.final_norm(x), layout, deterministic)


class Decoder(nn.Module):
    """The decoder's stack, from embedded tokens and encoded strings to states."""

    config: T5Config

    def setup(self):
        self.relative_bias = RelativeBias(self.config, bidirectional=False)
        self.layers = _scanned(DecoderLayer, self.config, self.config.decoder_layers, inputs=4)
        self.final_norm = RMSNorm(self.config)
        self.dropout = StringDropout(self.config.dropout)

    def __call__(self, x, other: Encoded, layout: Layout, mask=None, deterministic: bool = True):
        biases = tuple((self.relative_bias(length, length) + causal_bias(length),) for _, length in layout.blocks)
        if mask is not None:
            hidden = (mask_bias(part.reshape(-1, part.shape[2])) for part in layout.cut(mask))
            biases = tuple((*bias, more) for bias, more in zip(biases, hidden))
        x, _ = self.layers(self.dropout(x, layout, deterministic), biases, layout, other, deterministic)
        return self.dropout(self.final_norm(x), layout, deterministic)


class EncoderDecoder(nn.Module):
    """One encoder, one decoder and their vocabulary. Call its methods through `apply(variables, ..., method="encode")`.

    Dropout needs `rngs={"dropout": key}` wherever `deterministic` is False.
    """

    config: T5Config

    def setup(self):
        config = self.config
        embedding_init = nn.with_logical_partitioning(nn.initializers.normal(1.0), ("vocab", "embed"))
        self.embedding = self.param("embedding", embedding_init, (config.vocab_size, config.d_model), jnp.float32)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        if not config.tied_head:
            self.head = OutputHead(config)

    def encode(
        self,
        tokens: Int[Array, "G N"],
        mask: Bool[Array, "G N"],
        deterministic: bool = True,
        layout: Layout | None = None,
    ) -> Float[Array, "G N D"]:
        """States of every token; those where `mask` is False mean nothing and influence nothing.

        Without a layout these are [B, L] tokens of B strings.
        """
        layout = layout or Layout.rectangle(tokens.shape[1])
        return self.encoder(embed(self.embedding, tokens, self.config), mask, layout, deterministic)

    def decode_blocks(
        self, tokens: Int[Array, "G N"], other: Encoded, layout: Layout, mask=None, deterministic: bool = True
    ) -> Float[Array, "G N D"]:
        """`decode_states` of strings in blocks, each beside its partner among the encoded ones."""
        return self.decoder(embed(self.embedding, tokens, self.config), other, layout, mask, deterministic)

    def decode_states(
        self,
        tokens: Int[Array, "B L"],
        states: Float[Array, "B S D"],
        states_mask: Bool[Array, "B S"],
        mask: Bool[Array, "B L"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B L D"]:
        """Teacher-forced decoder states. `tokens` are already shifted (`shift_right`): position i predicts token i.

        `mask` marks the real decoder tokens; it is not needed where the padding is on the right, which no earlier
        position sees.
        """
        other = encoded(states, states_mask, Layout.rectangle(states.shape[1]))
        return self.decode_blocks(tokens, other, Layout.rectangle(tokens.shape[1]), mask, deterministic)

    def logits(self, states: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        """Unnormalised log-probabilities of the next token, float32, from decoder states."""
        if self.config.tied_head:
            return output_logits(states, self.embedding.T, self.config)
        return self.head(states)

    def decode(
        self,
        tokens: Int[Array, "B L"],
        states: Float[Array, "B S D"],
        states_mask: Bool[Array, "B S"],
        mask: Bool[Array, "B L"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B L V"]:
        """`logits` of `decode_states`."""
        return self.logits(self.decode_states(tokens, states, states_mask, mask, deterministic))

    def __call__(self, source, source_mask, target, deterministic: bool = True) -> Float[Array, "B L V"]:
        """Encode `source` [B, S] and decode the shifted `target` [B, L]; touches every parameter, for `init`."""
        states = self.encode(source, source_mask, deterministic)
        return self.decode(target, states, source_mask, deterministic=deterministic)


class OutputHead(nn.Module):
    """The output head of v1.1, a kernel of its own [D, V]."""

    config: T5Config

    @nn.compact
    def __call__(self, states: Float[Array, "*B D"]) -> Float[Array, "*B V"]:
        config = self.config
        init = nn.with_logical_partitioning(nn.initializers.normal(config.d_model**-0.5), ("embed", "vocab"))
        kernel = self.param("kernel", init, (config.d_model, config.vocab_size), jnp.float32)
        return output_logits(states, kernel, config)


def embed(table: Float[Array, "V D"], tokens: Int[Array, "*B"], config: T5Config) -> Float[Array, "*B D"]:
    """Rows of the embedding in the activations' type; T5 does not scale them."""
    return split_rows(jnp.take(whole(table.astype(config.dtype)), tokens, axis=0))


def output_logits(states: Float[Array, "*B D"], kernel: Float[Array, "D V"], config: T5Config) -> Float[Array, "*B V"]:
    """Product with the head in the activations' type, summed in float32; v1.0 scales the states by D ** -0.5 first."""
    if config.tied_head:
        states = states * config.d_model**-0.5
    rows = states.astype(config.dtype).reshape(-1, states.shape[-1])  # one matrix: see `Dense`
    logits = jnp.matmul(rows, kernel.astype(config.dtype), preferred_element_type=jnp.float32)
    return logits.reshape(*states.shape[:-1], kernel.shape[-1])


def shift_right(tokens: Int[Array, "*B L"], start_id: int | Int[Array, "*B"]) -> Int[Array, "*B L"]:
    """Decoder input of a target: the start token (one for all, or one a row), then the target less its last token."""
    tokens = jnp.asarray(tokens)
    start = jnp.broadcast_to(jnp.asarray(start_id, tokens.dtype), tokens.shape[:-1])
    return jnp.concatenate([start[..., None], tokens[..., :-1]], axis=-1)


def parameter_count(config: T5Config) -> int:
    """Number of parameters of `EncoderDecoder(config)`, without making any of them."""
    token = jax.ShapeDtypeStruct((1, 2), jnp.int32)
    mask = jax.ShapeDtypeStruct((1, 2), jnp.bool_)
    shapes = jax.eval_shape(EncoderDecoder(config).init, jax.random.key(0), token, mask, token)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
