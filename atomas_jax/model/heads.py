"""What turns encoder states into aligned things: global embeddings, token weights, and the levels of the hierarchy.

Letters: B batch, L tokens, D width, E embedding width, N tokens of a level (level 0: L; above: its clusters).
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from atomas_jax.model.configuration import AlignmentConfig
from atomas_jax.model.polymerisation import MASKED_LOGIT, Polymerisation, projection

Modality = Literal["text", "smiles"]
TAU_BOUNDS = (0.001, 0.5)
TAU_START = 0.07


class Level(NamedTuple):
    """The tokens of one modality at one level: 0 words or atoms, 1 phrases or fragments, 2 paragraph or molecule."""

    tokens: jax.Array
    """[B, N, D], not normalised, zero where `mask` is False; float32, but at level 0 of the encoder's type."""
    mask: jax.Array
    """bool [B, N]."""
    omega: jax.Array
    """float32 [B, N]: what each token counts in the alignment; sums to 1 over real tokens, 0 on the others."""
    assignment: jax.Array | None
    """int32 [B, N]: the token of the level above that each token went into (0 for padding); None at the top."""


class Side(NamedTuple):
    """Everything the alignments need of one modality."""

    embedding: jax.Array
    """float32 [B, E], unit length: the global z."""
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
    def __call__(self, tokens: jax.Array, mask: jax.Array) -> jax.Array:
        """tokens [B, N, D], mask bool [B, N] -> float32 [B, N], all 0 for a string without real tokens."""
        hidden = nn.relu(projection(2 * tokens.shape[-1], ("embed", "mlp"), self.dtype, "hidden")(tokens))
        logits = projection(1, ("mlp", None), "float32", "out", use_bias=False)(hidden)[:, :, 0]
        return jnp.where(mask, nn.softmax(jnp.where(mask, logits, MASKED_LOGIT)), 0.0)


class GlobalHead(nn.Module):
    """z: the mean of a string's states, projected and scaled to unit length.

    The published head weighs by position, padding included, which ties a model to one padded length; the mean does not.
    """

    features: int

    @nn.compact
    def __call__(self, states: jax.Array, mask: jax.Array) -> jax.Array:
        """states [B, L, D], mask bool [B, L] -> float32 [B, E]."""
        total = jnp.where(mask[:, :, None], states.astype(jnp.float32), 0.0).sum(1)
        pooled = total / jnp.maximum(mask.sum(1), 1)[:, None]
        return unit(projection(self.features, ("embed", None), "float32", "projection")(pooled))


class SideHeads(nn.Module):
    """The heads of one modality. Nothing is shared between modalities or levels."""

    config: AlignmentConfig
    dtype: str = "float32"

    def setup(self):
        ratios = self.config.ratios
        self.global_head = GlobalHead(self.config.embedding_dim)
        self.polymerisation = [Polymerisation(self.config, ratio, self.dtype) for ratio in ratios]
        self.weight = [WeightHead(self.dtype) for _ in range(len(ratios) + 1)]

    def __call__(self, states: jax.Array, mask: jax.Array) -> Side:
        levels, tokens, here = [], jnp.where(mask[:, :, None], states, 0), mask
        for weight, polymerise in zip(self.weight, (*self.polymerisation, None)):
            omega = weight(tokens, here)
            above = polymerise(tokens, here) if polymerise else None
            levels.append(Level(tokens, here, omega, above.assignment if above else None))
            if above:
                tokens, here = above.tokens, above.mask
        return Side(self.embed(states, mask), tuple(levels))

    def embed(self, states: jax.Array, mask: jax.Array) -> jax.Array:
        return self.global_head(states, mask)


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

    def __call__(self, text: jax.Array, text_mask: jax.Array, smiles: jax.Array, smiles_mask: jax.Array) -> Aligned:
        """Encoder states [B, T, D] and [B, S, D] with bool masks [B, T] and [B, S]."""
        return Aligned(self.text(text, text_mask), self.smiles(smiles, smiles_mask), self.scalars())

    def embed(self, modality: Modality, states: jax.Array, mask: jax.Array) -> jax.Array:
        """The global embedding alone, unit float32 [B, E]: retrieval, and the momentum copy's features."""
        return {"text": self.text, "smiles": self.smiles}[modality].embed(states, mask)

    def side(self, modality: Modality, states: jax.Array, mask: jax.Array) -> Side:
        """The whole hierarchy of one modality: explaining and reranking."""
        return {"text": self.text, "smiles": self.smiles}[modality](states, mask)

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
