"""Greedy decoding and sampling: every row goes its own way."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.decoding import constraint
from atomas_jax.decoding.loop import EOS_ID, PAD_ID, Decoded, Request, capacities, row_keys, run
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.incremental import decode_step, init_cache, step_weights


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Rows:
    last: Int[Array, " R"]
    tokens: Int[Array, "R L"]
    lengths: Int[Array, " R"]
    done: Bool[Array, " R"]
    log_probability: Float[Array, " R"]
    remembered: Any
    """By the constraint."""


def sample(params: Any, config: T5Config, settings: DecodingConfig, request: Request) -> Decoded:
    """The greedy string or independent samples of each input; `params` are those of `EncoderDecoder(config)`."""
    count, length = settings.continuations, settings.max_length
    weights = step_weights(params, config)
    cache = init_cache(
        weights, config, request.encoded, request.encoded_mask, length, count, capacity=capacities(length)[0]
    )
    batch = request.start_ids.shape[0]
    keys = row_keys(request.key, request.row_ids, count)

    def body(rows: _Rows, cache):
        position = cache.position
        logits, cache = decode_step(weights, config, rows.last, cache)
        allowed = constraint.permitted(request, rows.remembered, position, length, count)
        possible = jnp.where(allowed, logits, -jnp.inf)
        if settings.method == "greedy":
            chosen = jnp.argmax(possible, axis=-1).astype(jnp.int32)
        else:
            chosen = draw(jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, position), possible, settings)
        chosen = jnp.where(rows.done, PAD_ID, chosen)
        gain = jnp.take_along_axis(logits, chosen[:, None], axis=-1)[:, 0] - jax.nn.logsumexp(logits, axis=-1)
        return _Rows(
            last=chosen,
            tokens=jax.lax.dynamic_update_slice_in_dim(rows.tokens, chosen[:, None], position, axis=1),
            lengths=rows.lengths + ~rows.done,
            done=rows.done | (chosen == EOS_ID),
            log_probability=rows.log_probability + jnp.where(rows.done, 0.0, gain),
            remembered=constraint.advance(request, rows.remembered, chosen),
        ), cache

    rows = _Rows(
        last=jnp.repeat(request.start_ids.astype(jnp.int32), count),
        tokens=jnp.full((batch * count, length), PAD_ID, jnp.int32),
        lengths=jnp.zeros(batch * count, jnp.int32),
        done=jnp.repeat(~request.active, count),
        log_probability=jnp.zeros(batch * count, jnp.float32),
        remembered=constraint.start(request, batch * count),
    )
    rows = run(body, lambda rows: ~jnp.all(rows.done), rows, cache, length)
    log_probability = rows.log_probability.reshape(batch, count)
    return Decoded(
        tokens=rows.tokens.reshape(batch, count, length),
        lengths=rows.lengths.reshape(batch, count),
        finished=rows.done.reshape(batch, count),
        log_probability=log_probability,
        score=log_probability,
    )


def draw(keys: Array, logits: Float[Array, "R V"], settings: DecodingConfig) -> Int[Array, " R"]:
    """One token a row from softmax(logits / temperature), cut to the `top_k` likeliest, then to those reaching `top_p`.

    The cuts come in the order of Hugging Face: temperature, top-k, top-p. A logit of minus infinity is never drawn.
    """
    logits = logits / settings.temperature
    vocabulary = logits.shape[-1]
    cut = 0 < settings.top_k < vocabulary
    if not cut and settings.top_p == 1.0:
        return _gumbel_argmax(keys, logits)
    logits, tokens = jax.lax.top_k(logits, settings.top_k if cut else vocabulary)
    if settings.top_p < 1.0:
        probability = jax.nn.softmax(logits, axis=-1)
        before = jnp.cumsum(probability, axis=-1) - probability
        # The likeliest token has nothing before it, so at least one stays.
        logits = jnp.where(before < settings.top_p, logits, -jnp.inf)
    return jnp.take_along_axis(tokens, _gumbel_argmax(keys, logits)[:, None], axis=-1)[:, 0]


def _gumbel_argmax(keys: Array, logits: Float[Array, "R V"]) -> Int[Array, " R"]:
    noise = jax.vmap(lambda key: jax.random.gumbel(key, logits.shape[1:]))(keys)
    return jnp.argmax(logits + noise, axis=-1).astype(jnp.int32)
