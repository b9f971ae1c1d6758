"""Which token may follow: a constraint on what is written, inside the compiled loop.

Dimension letters: B strings, N continuations of each, R = B * N rows, P tokens of a prefix, V vocabulary.
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from atomas_jax.decoding.loop import Rules

State = Any
"""A pytree whose leaves are arrays [R, ...]: what a constraint remembers of each row."""


class Constraint(Protocol):
    """Which tokens may follow. A pytree whose leaves are lookup tables: an argument of the compiled loop, so that
    another table needs no other program."""

    def start(self, rows: int) -> State:
        """Nothing written yet."""
        ...

    def allowed(self, state: State, remaining: Int[Array, ""]) -> Bool[Array, "R V"]:
        """Tokens that may come next, where `remaining` tokens may still be written, the end token counted. As many as
        the constraint knows of, the model's vocabulary or not."""
        ...

    def advance(self, state: State, tokens: Int[Array, " R"]) -> State:
        """One token more in every row. Rows that have ended are given the pad token and are not asked again."""
        ...


def start(rules: Rules, rows: int) -> State:
    """What the constraint remembers at the start; nothing without one."""
    return None if rules.constraint is None else rules.constraint.start(rows)


def permitted(rules: Rules, state: State, position: Int[Array, ""], max_length: int) -> Bool[Array, "#R V"]:
    """Tokens that may be written at a position by all rules: the vocabulary, the constraint, the prefix.

    The prefix goes before everything: what it demands is written whether another rule likes it or not.
    """
    allowed = rules.allowed[None]
    if rules.constraint is not None:
        known = rules.constraint.allowed(state, max_length - position)
        # a model's vocabulary may be rounded up beyond what a constraint knows, or less than that; padding by nothing
        # matters: on CPU a padded mask makes the drawing of tokens ten times slower
        if (missing := allowed.shape[-1] - known.shape[-1]) > 0:
            known = jnp.pad(known, ((0, 0), (0, missing)))
        allowed = allowed & known[:, : allowed.shape[-1]]
    if rules.prefix is not None:
        places = rules.prefix.shape[0]
        demanded = jax.lax.dynamic_index_in_dim(rules.prefix, jnp.minimum(position, places - 1), keepdims=False)
        demanded = jnp.where(position < places, demanded, 0)
        allowed = jnp.where(demanded > 0, jnp.arange(allowed.shape[-1]) == demanded, allowed)
    return allowed


def advance(rules: Rules, state: State, tokens: Int[Array, " R"]) -> State:
    """The constraint's memory after one token more."""
    return None if rules.constraint is None else rules.constraint.advance(state, tokens)


def reorder(state: State, rows: Int[Array, " R"]) -> State:
    """Row i remembers what row `rows[i]` did."""
    return jax.tree.map(lambda leaf: leaf[rows], state)
