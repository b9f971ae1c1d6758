"""What turns encoder states into aligned things: global embeddings, token weights, and the levels of the hierarchy.

Letters: D width, E embedding width; G groups of R strings, N tokens of a group at a level (`layout`; a plain batch is B
groups of one string).
"""

import math
from itertools import chain, repeat
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from atomas_jax.model.configuration import AlignmentConfig
from atomas_jax.model.layout import Layout
from atomas_jax.model.polymerisation import MASKED_LOGIT, Polymerisation, projection

Modality = Literal["text", "smiles"]
TAU_BOUNDS = (0.001, 0.5)
TAU_START = 0.07
BLOCKS = (3, 2)
"""Of each step up from a level to the next, the most blocks of lengths in which strings are clustered and in which the
level above lies; one for further steps."""


class Level(NamedTuple):
    """The tokens of one modality at one level: 0 words or atoms, 1 phrases or fragments, 2 paragraph or molecule."""

    tokens: jax.Array
    """[G, N, D], not normalised, zero where `mask` is False; float32, but at level 0 of the encoder's type."""
    mask: jax.Array
    """bool [G, N]."""
    omega: jax.Array
    """float32 [G, N]: what each token counts in the alignment; sums to 1 over a string's tokens, 0 on padding."""
    assignment: jax.Array | None
    """int32 [G, N]: the token of the level above, counted in its string, that each token went into (0 for padding);
    None at the top."""
    layout: Layout | None = None
    """The batch's own at level 0, blocks of it joined above. None: every string is a group."""


class Side(NamedTuple):
    """Everything the alignments need of one modality."""

    embedding: jax.Array
    """float32 [G * R, E], unit length: the global z."""
    levels: tuple[Level, ...]
    """From tokens upwards, one more than `AlignmentConfig.ratios`."""


class Scalars(NamedTuple):
    """The learned scales of the losses, as used (not as stored); float32, no dimensions."""

    kappa: jax.Array
    """Scale of the hierarchical similarities, shared by the levels; starts at 1 / 0.07."""
    tau: jax.Array
    """Temperature of the global alignment ("momentum", "softmax"); starts at 0.07, within [0.001, 0.5]."""
    sigmoid_scale: jax.Array
    """Scale of the "sigmoid" form; starts at 10 (SigLIP)."""
    sigmoid_bias: jax.Array
    """Bias of the "sigmoid" form; starts at -10 (SigLIP)."""


class Aligned(NamedTuple):
    """What the alignment losses are computed from."""

    text: Side
    smiles: Side
    scalars: Scalars


class WeightHead(nn.Module):
    """omega = softmax over the real tokens of an MLP D -> 2 D -> ReLU -> 1.

    The published output layer has a bias; a softmax does not see it, so it is left out: it could never receive a
    gradient.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array, layout: Layout) -> jax.Array:
        """tokens [G, N, D], mask bool [G, N] -> float32 [G, N], all 0 for a string without real tokens."""
        hidden = nn.relu(projection(2 * tokens.shape[-1], ("embed", "mlp"), self.dtype, "hidden")(tokens))
        logits = projection(1, ("mlp", None), "float32", "out", use_bias=False)(hidden)[:, :, 0]
        logits = jnp.where(mask, logits, MASKED_LOGIT)
        return jnp.where(mask, layout.unpadded(nn.softmax(layout.padded(logits, MASKED_LOGIT))), 0.0)


class GlobalHead(nn.Module):
    """z: the mean of a string's states, projected and scaled to unit length.

    The published head weighs by position, padding included, which ties a model to one padded length; the mean does not.
    """

    features: int

    @nn.compact
    def __call__(self, states: jax.Array, mask: jax.Array, layout: Layout) -> jax.Array:
        """states [G, N, D], mask bool [G, N] -> float32 [G * R, E]."""
        states = jnp.where(mask[:, :, None], states.astype(jnp.float32), 0.0)
        total = jnp.concatenate([block.sum(2) for block in layout.cut(states)], axis=1)
        count = jnp.concatenate([block.sum(2) for block in layout.cut(mask)], axis=1)
        pooled = (total / jnp.maximum(count, 1)[:, :, None]).reshape(-1, states.shape[2])
        return unit(projection(self.features, ("embed", None), "float32", "projection")(pooled))


class SideHeads(nn.Module):
    """The heads of one modality. Nothing is shared between modalities or levels."""

    config: AlignmentConfig
    dtype: str = "float32"

    def setup(self):
        ratios = self.config.ratios
        self.global_head = GlobalHead(self.config.embedding_dim)
        self.polymerisation = [
            Polymerisation(self.config, ratio, most, self.dtype)
            for ratio, most in zip(ratios, chain(BLOCKS, repeat(1)))
        ]
        self.weight = [WeightHead(self.dtype) for _ in range(len(ratios) + 1)]

    def __call__(self, states: jax.Array, mask: jax.Array, layout: Layout) -> Side:
        levels = []
        embedding = self.embed(states, mask, layout)
        states = jnp.where(mask[:, :, None], states, 0)
        for weight, polymerise in zip(self.weight, (*self.polymerisation, None)):
            omega = weight(states, mask, layout)
            above = polymerise(states, mask, layout) if polymerise else None
            levels.append(Level(states, mask, omega, above.assignment if above else None, layout))
            if above:
                states, mask, layout = above.tokens, above.mask, above.layout
        return Side(embedding, tuple(levels))

    def embed(self, states: jax.Array, mask: jax.Array, layout: Layout) -> jax.Array:
        return self.global_head(states, mask, layout)


class AlignmentHeads(nn.Module):
    """All alignment heads of both modalities and the learned scales of the losses.

    Parameters: `text` and `smiles`, each with `global_head`, `weight_{level}` and
    `polymerisation_{level}` (the step from that level to the next); and the scalars
    `log_kappa`, `tau`, `sigmoid_log_scale`, `sigmoid_bias`. The scalars of every form of the global loss are always
    there, so that a checkpoint can be trained on with another form; those of the forms not in use get no gradient.
    """

    config: AlignmentConfig
    dtype: str = "float32"

    def setup(self):
        self.text = SideHeads(self.config, self.dtype)
        self.smiles = SideHeads(self.config, self.dtype)
        self.log_kappa = self.param("log_kappa", nn.initializers.constant(math.log(1 / 0.07)), (), jnp.float32)
        self.tau = self.param("tau", nn.initializers.constant(TAU_START), (), jnp.float32)
        self.log_scale = self.param("sigmoid_log_scale", nn.initializers.constant(math.log(10)), (), jnp.float32)
        self.bias = self.param("sigmoid_bias", nn.initializers.constant(-10.0), (), jnp.float32)

    def __call__(
        self,
        text: jax.Array,
        text_mask: jax.Array,
        smiles: jax.Array,
        smiles_mask: jax.Array,
        text_layout: Layout | None = None,
        smiles_layout: Layout | None = None,
    ) -> Aligned:
        """Encoder states [G, N, D] of texts and of SMILES with bool masks [G, N]."""
        return Aligned(
            self.side("text", text, text_mask, text_layout),
            self.side("smiles", smiles, smiles_mask, smiles_layout),
            self.scalars(),
        )

    def embed(self, modality: Modality, states: jax.Array, mask: jax.Array, layout: Layout | None = None) -> jax.Array:
        """The global embedding alone, unit float32 [G * R, E]: retrieval, and the momentum copy's features."""
        layout = layout or Layout.rectangle(states.shape[1])
        return {"text": self.text, "smiles": self.smiles}[modality].embed(states, mask, layout)

    def side(self, modality: Modality, states: jax.Array, mask: jax.Array, layout: Layout | None = None) -> Side:
        """The whole hierarchy of one modality."""
        layout = layout or Layout.rectangle(states.shape[1])
        return {"text": self.text, "smiles": self.smiles}[modality](states, mask, layout)

    def scalars(self) -> Scalars:
        """The scales of the losses."""
        return Scalars(
            jnp.exp(self.log_kappa), bounded(self.tau, *TAU_BOUNDS), jnp.exp(self.log_scale), jnp.asarray(self.bias)
        )


def unit(x: jax.Array) -> jax.Array:
    """x / |x| along the last axis, in float32; a zero vector stays zero, with a finite gradient."""
    x = x.astype(jnp.float32)
    return x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))


@jax.custom_vjp
def bounded(value: jax.Array, low: float, high: float) -> jax.Array:
    """`value` clipped to [low, high], its gradient kept inside and wherever a descent step would lead back inside.

    A plain clip gives no gradient outside, so a temperature that one step threw over the edge would stay there for
    ever.
    """
    return jnp.clip(value, low, high)


def _bounded_forward(value, low, high):
    return bounded(value, low, high), (value, low, high)


def _bounded_backward(saved, gradient):
    value, low, high = saved
    outwards = ((value <= low) & (gradient > 0)) | ((value >= high) & (gradient < 0))
    return jnp.where(outwards, 0.0, gradient), None, None


bounded.defvjp(_bounded_forward, _bounded_backward)
