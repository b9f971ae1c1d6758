"""The best few of many tokens, exactly, without sorting them all.

Dimension letters: B strings, N continuations of each, V vocabulary, C chunks of W tokens.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

_WIDTH = 128
"""Tokens of a chunk, about: their greatest are few, and chunks with any of the best are small."""


def greatest(
    values: Float[Array, "B N V"],
    count: int,
    offsets: Float[Array, "B N"] | None = None,
    allowed: Bool[Array, "#B #N V"] | None = None,
) -> tuple[Float[Array, "B count"], Int[Array, "B count"]]:
    """The `count` greatest of values + offsets, best first, and their places in N * V; of equals, the earlier first.

    What is not `allowed` counts as minus infinity. The same as `lax.top_k` of the sums, which are never made: of the
    best, each lies in one of the `count` chunks with the greatest maxima, for a chunk that is left out has `count`
    better or earlier elements before any of its own. One pass over the values finds the maxima.
    """
    strings, continuations, vocabulary = values.shape
    width = min((w for w in range(1, 2 * _WIDTH + 1) if vocabulary % w == 0), key=lambda w: abs(w - _WIDTH))
    chunks = (strings, continuations, vocabulary // width, width)
    cut = values.reshape(chunks)
    offsets = jnp.zeros((strings, continuations), values.dtype) if offsets is None else offsets
    allowed = jnp.ones((1, 1, vocabulary), bool) if allowed is None else allowed
    # added and not selected by: on CPU the maxima of a sum are taken as it is made
    hidden = jnp.where(allowed, 0.0, -jnp.inf).astype(values.dtype).reshape(*allowed.shape[:2], *chunks[2:])
    maxima = jnp.max(cut + hidden, axis=-1) + offsets[:, :, None]
    _, kept = jax.lax.top_k(maxima.reshape(strings, -1), min(count, continuations * chunks[2]))
    kept = jnp.sort(kept, axis=-1)  # in their order, so that of equals the earlier come first below
    string = jnp.arange(strings)[:, None]
    row, chunk = kept // chunks[2], kept % chunks[2]
    sums = cut[string, row, chunk] + hidden[string % len(hidden), row % hidden.shape[1], chunk]
    sums = sums + jnp.take_along_axis(offsets, row, axis=1)[:, :, None]
    best, at = jax.lax.top_k(sums.reshape(strings, -1), count)
    return best, jnp.take_along_axis(kept, at // width, axis=1) * width + at % width
