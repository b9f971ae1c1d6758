"""Samples without replacement: the strings of one input are drawn from the model's distribution and all differ.

Stochastic beam search (Kool, van Hoof, Welling: Stochastic Beams and Where to Find Them, ICML 2019): every string has
a Gumbel-perturbed log-probability, a node of the tree of strings the greatest of its leaves'. A beam search for the
greatest of them finds exactly what N draws without replacement would, in their order: the first is a plain sample.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.decoding import constraint
from atomas_jax.decoding.greatest import greatest
from atomas_jax.decoding.loop import EOS_ID, PAD_ID, Batch, Decoded, Rules, string_keys
from atomas_jax.decoding.settings import DecodingConfig


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _Branches:
    last: Int[Array, " R"]
    keys: Array
    """Random keys [B]."""
    tokens: Int[Array, "B N L"]
    lengths: Int[Array, "B N"]
    done: Bool[Array, "B N"]
    drawn: Float[Array, "B N"]
    """Log-probability under the distribution that is drawn from: allowed tokens alone, at the temperature."""
    perturbed: Float[Array, "B N"]
    """`drawn` plus Gumbel noise, the greatest first; minus infinity where there is no further string."""
    log_probability: Float[Array, "B N"]
    remembered: Any
    """By the constraint."""


class DistinctSampling:
    """Different samples of each input, in the order drawn, scored by their perturbed log-probability."""

    branching = True

    @staticmethod
    def start(batch: Batch, rules: Rules, settings: DecodingConfig) -> _Branches:
        count, strings = settings.continuations, len(batch.lengths)
        zeros = jnp.zeros((strings, count), jnp.float32)
        return _Branches(
            last=jnp.repeat(batch.start_ids.astype(jnp.int32), count),
            keys=string_keys(rules.key, batch.row_ids),
            tokens=jnp.full((strings, count, settings.max_length), PAD_ID, jnp.int32),
            lengths=jnp.zeros((strings, count), jnp.int32),
            done=jnp.broadcast_to((batch.lengths == 0)[:, None], (strings, count)),
            drawn=zeros,
            # One root; its noise moves all strings of an input alike and may be left out.
            perturbed=jnp.broadcast_to(jnp.where(jnp.arange(count) == 0, 0.0, -jnp.inf), (strings, count)),
            log_probability=zeros,
            remembered=constraint.start(rules, strings * count),
        )

    @staticmethod
    def last(state: _Branches) -> Int[Array, " R"]:
        return state.last

    @staticmethod
    def step(logits, state: _Branches, position, rules: Rules, settings: DecodingConfig):
        strings, count, _ = state.tokens.shape
        vocabulary = logits.shape[-1]
        allowed = constraint.permitted(rules, state.remembered, position, settings.max_length)
        possible = jnp.where(allowed, logits / settings.temperature, -jnp.inf).reshape(strings, count, -1)
        drawn = state.drawn[:, :, None] + jax.nn.log_softmax(possible, axis=-1)

        keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(state.keys, position)
        noise = jax.vmap(lambda key: jax.random.gumbel(key, (count, vocabulary)))(keys)
        perturbed = _with_greatest(drawn + noise, state.perturbed[:, :, None])
        # What is done goes on as itself, by one continuation.
        itself = jnp.where(jnp.arange(vocabulary) == PAD_ID, state.perturbed[:, :, None], -jnp.inf)
        perturbed = jnp.where(state.done[:, :, None], itself, perturbed)
        drawn = jnp.where(state.done[:, :, None], state.drawn[:, :, None], drawn)

        kept, choice = greatest(perturbed, count)
        parent, token = choice // vocabulary, choice % vocabulary
        rows = (parent + count * jnp.arange(strings)[:, None]).reshape(-1)

        def of_parent(array):
            return array.reshape(strings * count, *array.shape[2:])[rows].reshape(array.shape)

        done = of_parent(state.done)
        gain = jax.nn.log_softmax(logits, axis=-1)[rows, token.reshape(-1)].reshape(strings, count)
        token = jnp.where(done, PAD_ID, token)
        return _Branches(
            last=token.reshape(-1),
            keys=state.keys,
            tokens=jax.lax.dynamic_update_slice_in_dim(of_parent(state.tokens), token[:, :, None], position, axis=2),
            lengths=of_parent(state.lengths) + ~done,
            # a place without a string of its own is taken by the next that becomes possible, so it is never done
            done=done | (token == EOS_ID) & (kept > -jnp.inf),
            drawn=jnp.take_along_axis(drawn.reshape(strings, -1), choice, axis=1),
            perturbed=kept,
            log_probability=of_parent(state.log_probability) + jnp.where(done, 0.0, gain),
            remembered=constraint.advance(rules, constraint.reorder(state.remembered, rows), token.reshape(-1)),
        ), rows

    @staticmethod
    def unfinished(state: _Branches) -> Bool[Array, " B"]:
        return jnp.any(~state.done & (state.perturbed > -jnp.inf), axis=1)

    @staticmethod
    def decoded(state: _Branches, settings: DecodingConfig) -> Decoded:
        return Decoded(
            state.tokens,
            jnp.where(state.perturbed > -jnp.inf, state.lengths, 0),
            state.done,
            state.log_probability,
            state.perturbed,
        )


def _with_greatest(values: Float[Array, "B N V"], greatest: Float[Array, "B N 1"]) -> Float[Array, "B N V"]:
    """Gumbel variables on condition that the greatest of the last axis is a given number (Kool et al., appendix B.3).

    Minus infinity where the given number is: a place without a string.
    """
    there = greatest > -jnp.inf
    target = jnp.where(there, greatest, 0.0)
    largest = jnp.max(values, axis=-1, keepdims=True)
    finite = jnp.isfinite(values)
    gap = jnp.where(finite, values - largest, -1.0)
    shift = target - jnp.where(finite, values, 0.0) + jnp.where(gap < 0, jnp.log1p(-jnp.exp(gap)), -jnp.inf)
    moved = target - jnp.maximum(0.0, shift) - jnp.log1p(jnp.exp(-jnp.abs(shift)))
    return jnp.where(there & finite, jnp.where(gap < 0, moved, target), -jnp.inf)
