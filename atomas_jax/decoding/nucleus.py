"""The most probable tokens that together reach a probability, exactly, without sorting them all.

Dimension letters: R rows, V vocabulary.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def nucleus(logits: Float[Array, "R V"], mass: float) -> Bool[Array, "R V"]:
    """The tokens to which top-p sampling (Holtzman et al. 2020) is cut: those before which, the more probable first,
    lies less than `mass` of softmax(logits). The likeliest has nothing before it, so one stays at least; of equals the
    earlier come first.

    The same tokens as by sorting and adding up. Where the last of them is, is found by bisection: half of the
    distance between two bounds decides in one pass over the vocabulary which of them moves on to the token's logit
    nearest to the middle.
    """
    probability = jax.nn.softmax(logits, axis=-1)

    def before(bound):
        """Probability of the tokens over a bound."""
        return jnp.sum(jnp.where(logits > bound[:, None], probability, 0.0), axis=-1)

    def halve(interval):
        low, high = interval
        middle = low + (high - low) / 2
        middle = jnp.where(middle < high, middle, low)  # of neighbours the middle may be rounded up
        over, reached = logits > middle[:, None], before(middle) >= mass
        up = jnp.min(jnp.where(over, logits, jnp.inf), axis=-1)
        down = jnp.max(jnp.where(over, -jnp.inf, logits), axis=-1)
        open_ = low < high
        return jnp.where(open_ & reached, up, low), jnp.where(open_ & ~reached, jnp.maximum(down, low), high)

    # what is less probable than this makes up less than half of what may be left out
    highest = jnp.max(logits, axis=-1)
    least = jax.nn.logsumexp(logits, axis=-1) + jnp.log((1 - mass) / (2 * logits.shape[-1]))
    _, last = jax.lax.while_loop(
        lambda interval: jnp.any(interval[0] < interval[1]), halve, (jnp.minimum(least, highest), highest)
    )
    last = last[:, None]
    equal = logits == last
    # of those as probable as the last one as many as are needed: one at least, however small the mass is
    wanted = jnp.ceil((mass - before(last[:, 0])) / jnp.max(jnp.where(equal, probability, 0.0), axis=-1))
    wanted = jnp.maximum(wanted, 1)
    equals = jnp.sum(equal, axis=-1)
    first = jax.lax.cond(
        jnp.all(wanted >= equals),
        lambda: equal,
        lambda: equal & (jnp.cumsum(equal, axis=-1) <= wanted[:, None]),
    )
    return (logits > last) | first
