"""Beam search with Hugging Face's rules, so that published numbers can be compared.

Each string keeps N running beams and the N best ended ones. Of the 2N best continuations those that end (or reach the
greatest length) among the first N compete for the ended list by log-probability / length ** penalty; the best N that
do not end run on. The search of a string stops when its best running beam, at its present length, can no longer beat
the worst of N ended ones (or, with early stopping, when N have ended).
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.decoding import constraint
from atomas_jax.decoding.greatest import greatest
from atomas_jax.decoding.loop import EOS_ID, PAD_ID, Batch, Decoded, Rules
from atomas_jax.decoding.settings import DecodingConfig

_NEVER = -1e9
"""Score of a place not filled. Finite, as in Hugging Face, where it is added and compared."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Beams:
    last: Int[Array, " R"]
    running: Int[Array, "B N L"]
    running_score: Float[Array, "B N"]
    """Sums of log-probabilities."""
    ended: Int[Array, "B N L"]
    ended_score: Float[Array, "B N"]
    """Sums of log-probabilities over length ** penalty, best first."""
    ended_length: Int[Array, "B N"]
    has_ended: Bool[Array, "B N"]
    open: Bool[Array, " B"]
    """Strings whose ended list may still improve."""
    remembered: Any
    """By the constraint, of the running beams."""


class BeamSearch:
    """The best strings of each input, scored by log-probability / length ** penalty."""

    branching = True

    @staticmethod
    def start(batch: Batch, rules: Rules, settings: DecodingConfig) -> _Beams:
        strings, beams = len(batch.lengths), settings.beams
        nothing = jnp.full((strings, beams, settings.max_length), PAD_ID, jnp.int32)
        return _Beams(
            last=jnp.repeat(batch.start_ids.astype(jnp.int32), beams),
            running=nothing,
            # Only the first beam counts at the start, else all would write the same.
            running_score=jnp.tile(jnp.where(jnp.arange(beams) == 0, 0.0, _NEVER), (strings, 1)),
            ended=nothing,
            ended_score=jnp.full((strings, beams), _NEVER, jnp.float32),
            ended_length=jnp.zeros((strings, beams), jnp.int32),
            has_ended=jnp.zeros((strings, beams), bool),
            open=batch.lengths > 0,
            remembered=constraint.start(rules, strings * beams),
        )

    @staticmethod
    def last(state: _Beams) -> Int[Array, " R"]:
        return state.last

    @staticmethod
    def step(logits, state: _Beams, position, rules: Rules, settings: DecodingConfig):
        strings, beams, _ = state.running.shape
        written = position + 1
        allowed = constraint.permitted(rules, state.remembered, position, settings.max_length)
        vocabulary = logits.shape[-1]
        so_far = state.running_score - jax.nn.logsumexp(logits, axis=-1).reshape(strings, beams)
        allowed = allowed.reshape(-1, min(beams, len(allowed)), vocabulary)
        score, choice = greatest(logits.reshape(strings, beams, vocabulary), 2 * beams, so_far, allowed)
        parent, token = choice // vocabulary, choice % vocabulary
        continued = jnp.take_along_axis(state.running, parent[:, :, None], axis=1)
        continued = jax.lax.dynamic_update_slice_in_dim(continued, token[:, :, None], position, axis=2)
        ends = (token == EOS_ID) | (written >= settings.max_length)

        runs_on, survivors = jax.lax.top_k(score + jnp.where(ends, _NEVER, 0.0), beams)
        running = jnp.take_along_axis(continued, survivors[:, :, None], axis=1)
        last = jnp.take_along_axis(token, survivors, axis=1).reshape(-1)
        parents = jnp.take_along_axis(parent, survivors, axis=1)
        rows = (parents + beams * jnp.arange(strings)[:, None]).reshape(-1)

        possible = score > _NEVER / 2  # neither forbidden nor one of the copies a string starts with
        enters = ends & possible & (jnp.arange(2 * beams) < beams) & state.open[:, None]
        candidate = score / written.astype(jnp.float32) ** settings.length_penalty
        candidate = candidate + jnp.where(enters, 0.0, _NEVER)
        ended_score, kept = jax.lax.top_k(jnp.concatenate([state.ended_score, candidate], axis=1), beams)
        ended = jnp.concatenate([state.ended, continued], axis=1)
        lengths = jnp.concatenate([state.ended_length, jnp.broadcast_to(written, token.shape)], axis=1)
        has_ended = jnp.take_along_axis(jnp.concatenate([state.has_ended, enters], axis=1), kept, axis=1)
        lengths = jnp.where(has_ended, jnp.take_along_axis(lengths, kept, axis=1), 0)

        # By the present length; else a string that gains by length may still reach the greatest.
        best_length = written
        if settings.exhaustive and settings.length_penalty > 0:
            best_length = jnp.full_like(written, settings.max_length)
        best_to_come = runs_on[:, :1] / best_length.astype(jnp.float32) ** settings.length_penalty
        to_beat = jnp.where(has_ended, jnp.min(ended_score, axis=1, keepdims=True), _NEVER)
        still_open = state.open & jnp.any(best_to_come > to_beat, axis=1) & ~jnp.all(ends, axis=1)
        if settings.early_stopping:
            still_open = still_open & ~jnp.all(has_ended, axis=1)
        return _Beams(
            last=last,
            running=running,
            running_score=runs_on,
            ended=jnp.take_along_axis(ended, kept[:, :, None], axis=1),
            ended_score=ended_score,
            ended_length=lengths,
            has_ended=has_ended,
            open=still_open,
            remembered=constraint.advance(rules, constraint.reorder(state.remembered, rows), last),
        ), rows

    @staticmethod
    def unfinished(state: _Beams) -> Bool[Array, " B"]:
        return state.open

    @staticmethod
    def decoded(state: _Beams, settings: DecodingConfig) -> Decoded:
        count = settings.written
        tokens, lengths, score = state.ended[:, :count], state.ended_length[:, :count], state.ended_score[:, :count]
        final = jnp.take_along_axis(tokens, jnp.maximum(lengths - 1, 0)[:, :, None], axis=2)[:, :, 0]
        return Decoded(
            tokens=tokens,
            lengths=lengths,
            finished=(lengths > 0) & (final == EOS_ID),
            log_probability=score * jnp.maximum(lengths, 1).astype(jnp.float32) ** settings.length_penalty,
            score=score,
        )
