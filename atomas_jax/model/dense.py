"""The dense layer of the whole model."""

from flax import linen as nn
from jaxtyping import Array, Float


class Dense(nn.Dense):
    """`nn.Dense` that sees the tokens of all strings as the rows of one matrix.

    The gradient of its kernel is then a plain matrix product. Summing over batch and length as two dimensions, XLA's
    CPU backend takes nearly twice as long for a feed-forward block, forward and backward together.
    """

    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B F"]:
        rows = super().__call__(x.reshape(-1, x.shape[-1]))
        return rows.reshape(*x.shape[:-1], self.features)
