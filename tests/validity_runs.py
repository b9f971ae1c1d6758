"""Running the validity constraint over given strings, and drawing from it with uniform logits."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


@partial(jax.jit, static_argnames="slack")
def _refused_at(constraint, tokens, lengths, slack):
    """Position of the first token refused in each row, -1 for none; tokens [B, L]."""

    def step(carried, column):
        state, refused = carried
        position, token = column
        allowed = constraint.allowed(state, tokens.shape[1] + slack - position)
        wrong = ~jnp.take_along_axis(allowed, token[:, None], axis=1)[:, 0] & (position < lengths) & (refused < 0)
        return (constraint.advance(state, token), jnp.where(wrong, position, refused)), None

    start = (constraint.start(tokens.shape[0]), jnp.full(tokens.shape[0], -1))
    (_, refused), _ = jax.lax.scan(step, start, (jnp.arange(tokens.shape[1]), tokens.T))
    return refused


def refused(constraint, tokenizer, smiles, batch=256, slack=64):
    """The strings the constraint forbids, with the position of the token."""
    encoded = sorted((tokenizer.encode_smiles(string), string) for string in smiles)
    encoded.sort(key=lambda pair: len(pair[0]))
    found = []
    for first in range(0, len(encoded), batch):
        part = encoded[first : first + batch]
        longest = -(-len(part[-1][0]) // 32) * 32
        tokens = np.zeros((batch, longest), np.int32)
        for row, (ids, _) in enumerate(part):
            tokens[row, : len(ids)] = ids
        lengths = np.array([len(ids) for ids, _ in part] + [0] * (batch - len(part)))
        at = jax.device_get(_refused_at(constraint, tokens, lengths, slack))
        found += [(string, int(position)) for (_, string), position in zip(part, at) if position >= 0]
    return found


@partial(jax.jit, static_argnames=("rows", "length"))
def drawn(constraint, key, logits, rows, length):
    """Token ids [rows, length] drawn from the same logits [V] at every place, under the constraint."""

    def step(carried, position):
        state, done = carried
        allowed = constraint.allowed(state, length - position)
        possible = jnp.where(allowed, logits, -jnp.inf)
        token = jax.random.categorical(jax.random.fold_in(key, position), possible)
        token = jnp.where(done, 0, token)
        return (constraint.advance(state, token), done | (token == 1)), token

    start = (constraint.start(rows), jnp.zeros(rows, bool))
    _, tokens = jax.lax.scan(step, start, jnp.arange(length))
    return tokens.T
