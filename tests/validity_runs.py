"""Running the validity constraint over given strings, and drawing from it."""

import jax
import jax.numpy as jnp
import numpy as np

COLUMNS = 32
"""Tokens of a string looked at in one go: one program serves all lengths."""


@jax.jit
def _looked_at(constraint, state, refused, tokens, first, lengths, remaining):
    """Position of the first token refused in each row so far, -1 for none; tokens [B, COLUMNS] from `first` on."""

    def step(carried, column):
        state, refused = carried
        place, token = column
        allowed = constraint.allowed(state, remaining - place)
        wrong = ~jnp.take_along_axis(allowed, token[:, None], axis=1)[:, 0] & (first + place < lengths) & (refused < 0)
        return (constraint.advance(state, token), jnp.where(wrong, first + place, refused)), None

    return jax.lax.scan(step, (state, refused), (jnp.arange(COLUMNS), tokens.T))[0]


def refused(constraint, tokenizer, smiles, batch=512, slack=64, on_progress=None):
    """The strings the constraint forbids, with the position of the token."""
    encoded = sorted(((tokenizer.encode_smiles(string), string) for string in smiles), key=lambda pair: len(pair[0]))
    found = []
    for start in range(0, len(encoded), batch):
        part = encoded[start : start + batch]
        longest = -(-len(part[-1][0]) // COLUMNS) * COLUMNS
        tokens, lengths = np.zeros((batch, longest), np.int32), np.zeros(batch, np.int32)
        for row, (ids, _) in enumerate(part):
            tokens[row, : len(ids)], lengths[row] = ids, len(ids)
        state, at = constraint.start(batch), jnp.full(batch, -1)
        for first in range(0, longest, COLUMNS):
            columns, remaining = tokens[:, first : first + COLUMNS], longest + slack - first
            state, at = _looked_at(constraint, state, at, columns, first, lengths, remaining)
        found += [(string, position) for (_, string), position in zip(part, at.tolist()) if position >= 0]
        if on_progress:
            on_progress(len(part))
    return found


@jax.jit
def _written(constraint, state, done, key, logits, first, length):
    """Tokens [rows, COLUMNS] drawn from place `first` on."""

    def step(carried, position):
        state, done = carried
        allowed = constraint.allowed(state, length - position)[:, : logits.shape[-1]]
        possible = jnp.where(allowed, logits, -jnp.inf)
        token = jax.random.categorical(jax.random.fold_in(key, position), possible)
        token = jnp.where(done | (position >= length), 0, token)
        return (constraint.advance(state, token), done | (token == 1)), token

    (state, done), tokens = jax.lax.scan(step, (state, done), first + jnp.arange(COLUMNS))
    return state, done, tokens.T


def drawn(constraint, key, logits, length):
    """Token ids [rows, length] drawn from the same logits [rows, V] at every place, under the constraint."""
    state, done, parts = constraint.start(len(logits)), jnp.zeros(len(logits), bool), []
    for first in range(0, length, COLUMNS):
        state, done, tokens = _written(constraint, state, done, key, logits, first, length)
        parts.append(tokens)
    return np.concatenate(parts, axis=1)[:, :length]
