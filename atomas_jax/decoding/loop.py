"""What all ways of decoding share: the request, the result, and one compiled loop over tokens with growing caches.

Dimension letters: B strings, N continuations or results of each, R = B * N rows, L length, S length of the encoded
string, V vocabulary, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from atomas_jax.model.incremental import Cache, grow

PAD_ID = 0
EOS_ID = 1
_FIRST_CAPACITY = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Request:
    """What to continue: encoded strings and, for each, what may be written."""

    encoded: Float[Array, "B S D"]
    encoded_mask: Bool[Array, "B S"]
    start_ids: Int[Array, " B"]
    """The decoder's first token, which tells the direction."""
    allowed: Bool[Array, "#B V"]
    """Tokens that may be written; must hold the end token."""
    active: Bool[Array, " B"]
    """False for rows that only fill the batch: they count as done from the start."""
    row_ids: Int[Array, " B"]
    """Names the random numbers of a row, so that its samples do not depend on its place in a batch."""
    key: Array
    """Random key of the whole list; only sampling uses it."""
    constraint: Any = None
    """A `decoding.constraint.Constraint`; None is none."""
    prefix: Int[Array, " P"] | None = None
    """Tokens every string starts with, then zeros."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Decoded:
    """Strings written, for each input the best (beam) or the first drawn (sample) first."""

    tokens: Int[Array, "B N L"]
    """Without the start token, with the end token where there is one, then zeros."""
    lengths: Int[Array, "B N"]
    """Tokens written, the end token counted."""
    finished: Bool[Array, "B N"]
    """Whether the string ended by itself; False where it was cut at the greatest length."""
    log_probability: Float[Array, "B N"]
    """Natural logarithm of the string's probability under the model's whole vocabulary, before temperature, top-k,
    top-p and `allowed`: the value that a teacher-forced pass gives."""
    score: Float[Array, "B N"]
    """What beams are ranked by; elsewhere the log-probability."""


State = TypeVar("State")


def capacities(max_length: int) -> list[int]:
    """Cache sizes of the successive loops: doubled from 64 up to `max_length`.

    A token's cost grows with the places of the cache, read whether written or not; most strings end early.
    """
    sizes = []
    size = _FIRST_CAPACITY
    while size < max_length:
        sizes.append(size)
        size *= 2
    return [*sizes, max_length]


def run(
    body: Callable[[State, Cache], tuple[State, Cache]],
    unfinished: Callable[[State], Bool[Array, ""]],
    state: State,
    cache: Cache,
    max_length: int,
) -> State:
    """Repeat `body` until nothing is unfinished or `max_length` tokens are written.

    The cache comes with the first of `capacities(max_length)` places.
    """
    for capacity in capacities(max_length):
        cache = grow(cache, capacity)

        def more(carried, capacity=capacity):
            state, cache = carried
            return (cache.position < capacity) & unfinished(state)

        state, cache = jax.lax.while_loop(more, lambda carried: body(*carried), (state, cache))
    return state


def row_keys(key: Array, row_ids: Int[Array, " B"], continuations: int) -> Array:
    """One random key a row [R], a function of `key`, the row's id and the number of the continuation alone."""
    of_strings = jax.vmap(lambda row: jax.random.fold_in(key, row))(row_ids)
    each = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return jax.vmap(lambda key: each(key, jnp.arange(continuations)))(of_strings).reshape(-1)
