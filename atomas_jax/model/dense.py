"""What acts on each token by itself: the dense layer and the dropout of the whole model."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from atomas_jax.model.layout import Layout


class Dense(nn.Dense):
    """`nn.Dense` that sees the tokens of all strings as the rows of one matrix.

    The gradient of its kernel is then a plain matrix product. Summing over batch and length as two dimensions, XLA's
    CPU backend takes nearly twice as long for a feed-forward block, forward and backward together.
    """

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B F"]:
        rows = super().__call__(x.reshape(-1, x.shape[-1]))
        return rows.reshape(*x.shape[:-1], self.features)


class StringDropout(nn.Module):
    """Dropout with one mask for all tokens of a string, as T5 draws it (Mesh TensorFlow broadcasts over the length)."""

    rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "G N D"], layout: Layout, deterministic: bool) -> Float[Array, "G N D"]:
        """`x` with a share `rate` of each string's dimensions set to 0 and the others scaled up."""
        if deterministic or self.rate == 0:
            return x
        shape = (x.shape[0], layout.strings, x.shape[-1])
        keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.rate, shape)
        return jnp.where(layout.spread(keep), x / (1 - self.rate), 0).astype(x.dtype)
