"""Greedy decoding and sampling: every row goes its own way."""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.decoding import constraint
from atomas_jax.decoding.greatest import greatest
from atomas_jax.decoding.loop import EOS_ID, PAD_ID, Batch, Decoded, Rules, row_keys
from atomas_jax.decoding.nucleus import nucleus
from atomas_jax.decoding.settings import DecodingConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Rows:
    last: Int[Array, " R"]
    keys: Array
    """Random keys [R]."""
    tokens: Int[Array, "B N L"]
    lengths: Int[Array, "B N"]
    done: Bool[Array, "B N"]
    log_probability: Float[Array, "B N"]
    remembered: Any
    """By the constraint."""


class Sampling:
    """The greedy string or independent samples of each input, scored by their log-probability."""

    branching = False

    @staticmethod
    def start(batch: Batch, rules: Rules, settings: DecodingConfig) -> _Rows:
        count, strings = settings.continuations, len(batch.lengths)
        return _Rows(
            last=jnp.repeat(batch.start_ids.astype(jnp.int32), count),
            keys=row_keys(rules.key, batch, count),
            tokens=jnp.full((strings, count, settings.max_length), PAD_ID, jnp.int32),
            lengths=jnp.zeros((strings, count), jnp.int32),
            done=jnp.broadcast_to((batch.lengths == 0)[:, None], (strings, count)),
            log_probability=jnp.zeros((strings, count), jnp.float32),
            remembered=constraint.start(rules, strings * count),
        )

    @staticmethod
    def last(rows: _Rows) -> Int[Array, " R"]:
        return rows.last

    @staticmethod
    def step(logits, rows: _Rows, position, rules: Rules, settings: DecodingConfig) -> tuple[_Rows, None]:
        allowed = constraint.permitted(rules, rows.remembered, position, settings.max_length)
        if settings.method == "greedy":
            chosen = _greatest(logits, allowed)
        else:
            keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(rows.keys, position)
            chosen = draw(keys, jnp.where(allowed, logits, -jnp.inf), settings)
        chosen = jnp.where(rows.done.reshape(-1), PAD_ID, chosen)
        gain = jnp.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)
        token = chosen.reshape(rows.done.shape)
        return _Rows(
            last=chosen,
            keys=rows.keys,
            tokens=jax.lax.dynamic_update_slice_in_dim(rows.tokens, token[:, :, None], position, axis=2),
            lengths=rows.lengths + ~rows.done,
            done=rows.done | (token == EOS_ID),
            log_probability=rows.log_probability + jnp.where(rows.done, 0.0, gain.reshape(token.shape)),
            remembered=constraint.advance(rules, rows.remembered, chosen),
        ), None

    @staticmethod
    def unfinished(rows: _Rows) -> Bool[Array, " B"]:
        return ~jnp.all(rows.done, axis=1)

    @staticmethod
    def decoded(rows: _Rows, settings: DecodingConfig) -> Decoded:
        return Decoded(rows.tokens, rows.lengths, rows.done, rows.log_probability, rows.log_probability)


def draw(keys: Array, logits: Float[Array, "R V"], settings: DecodingConfig) -> Int[Array, " R"]:
    """One token a row from softmax(logits / temperature), cut by `top_k`, then `top_p`, then `min_p`.

    The cuts come in the order of Hugging Face: temperature, top-k, top-p, min-p. A logit of minus infinity is never
    drawn. Source of min-p: Nguyen et al. 2024.
    """
    logits, tokens = logits / settings.temperature, None
    if 0 < settings.top_k < logits.shape[-1]:
        logits, tokens = jax.lax.top_k(logits, settings.top_k)
    if settings.top_p < 1.0:
        logits = jnp.where(nucleus(logits, settings.top_p), logits, -jnp.inf)
    if settings.min_p > 0:
        least = jnp.max(logits, axis=-1, keepdims=True) + math.log(settings.min_p)
        logits = jnp.where(logits < least, -jnp.inf, logits)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:]))(keys)
    chosen = _greatest(logits + noise)
    return chosen if tokens is None else jnp.take_along_axis(tokens, chosen[:, None], axis=-1)[:, 0]


def _greatest(values: Float[Array, "R V"], allowed: Bool[Array, "#R V"] | None = None) -> Int[Array, " R"]:
    return greatest(values[:, None], 1, allowed=None if allowed is None else allowed[:, None])[1][:, 0]
