"""What acts on each token by itself: the dense layer, parameters repeated for every token, the dropout."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from atomas_jax.model.layout import Layout


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def repeated(x: Float[Array, "*D"], rows: tuple[int, ...]) -> Float[Array, "..."]:
    """[*rows, *D]: `x` once for each of the rows, as all tokens see a parameter, or all strings a bias.

    The gradient is a sum over the rows. XLA's CPU backend joins it with what makes its summands and then goes down the
    columns, 11 ns a number where memory allows 0.5; as a product with ones it takes the time of reading once.
    """
    return jnp.broadcast_to(x, (*rows, *x.shape))


def _summed(rows: tuple[int, ...], _, slopes: Float[Array, "..."]) -> tuple[Float[Array, "*D"]]:
    def by_product(slopes):
        ones = jnp.ones(rows, slopes.dtype)
        every = tuple(range(len(rows)))
        product = partial(jax.lax.dot_general, precision="highest", preferred_element_type=jnp.float32)
        return product(ones, slopes, ((every, every), ((), ()))).astype(slopes.dtype)

    def by_sum(slopes):
        return slopes.sum(tuple(range(len(rows))))

    return (jax.lax.platform_dependent(slopes, cpu=by_product, default=by_sum),)


repeated.defvjp(lambda x, rows: (repeated(x, rows), None), _summed)


class Dense(nn.Module):
    """A linear layer that sees the tokens of all strings as the rows of one matrix; parameters float32.

    The gradient of its kernel is then a plain matrix product. Summing over batch and length as two dimensions, XLA's
    CPU backend takes nearly twice as long for a feed-forward block, forward and backward together.
    """

    features: int
    use_bias: bool
    dtype: Dtype
    """Of the product and the result."""
    kernel_init: Initializer
    bias_init: Initializer = nn.initializers.zeros_init()

    @nn.compact
    def __call__(self, x: Float[Array, "*B D"]) -> Float[Array, "*B F"]:
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), jnp.float32)
        rows = x.reshape(-1, x.shape[-1]).astype(self.dtype) @ kernel.astype(self.dtype)
        if self.use_bias:
            bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
            rows = rows + repeated(bias.astype(self.dtype), rows.shape[:-1])
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
