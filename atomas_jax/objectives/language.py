"""The language loss: cross-entropy of the next token. Letters: B batch, L target tokens, D width, V vocabulary."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from atomas_jax.model.placement import row_shards

BLOCK_ELEMENTS = 32 * 2**20


class TokenLoss(NamedTuple):
    """Sums over real tokens, float32 scalars. Sums of micro-batches add up, so accumulation can be exact."""

    total: jax.Array
    """What is minimised: smoothed cross-entropy plus the z-loss, in nats."""
    cross_entropy: jax.Array
    """-log p of the targets alone, in nats; exp(cross_entropy / count) is the perplexity."""
    correct: jax.Array
    """Tokens whose most probable prediction is the target."""
    count: jax.Array
    """Real tokens."""

    @property
    def mean(self) -> jax.Array:
        """Token mean of `total`; 0 if there is no token."""
        return self.total / jnp.maximum(self.count, 1)


def token_loss(
    logits: jax.Array, targets: jax.Array, mask: jax.Array, label_smoothing: float = 0.0, z_loss: float = 0.0
) -> TokenLoss:
    """Cross-entropy of each real target token, computed in float32.

    With label smoothing e the target is (1 - e) one-hot + e / V; the z-loss adds z_loss * log(Z)^2 (PaLM, T5X).

    Args:
        logits: [B, L, V]. targets: int32 [B, L], the token each position should predict. mask: bool [B, L], real
            targets.
    """
    logits = logits.astype(jnp.float32)
    log_z = jax.nn.logsumexp(logits, axis=-1)
    entropy = log_z - jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    loss = entropy
    if label_smoothing:
        loss = (1 - label_smoothing) * entropy + label_smoothing * (log_z - logits.mean(-1))
    if z_loss:
        loss = loss + z_loss * jnp.square(log_z)
    correct = (logits.argmax(-1) == targets) & mask
    return TokenLoss(
        total=jnp.where(mask, loss, 0).sum(),
        cross_entropy=jnp.where(mask, entropy, 0).sum(),
        correct=correct.sum(dtype=jnp.float32),
        count=mask.sum(dtype=jnp.float32),
    )


def token_loss_of_states(
    head: Callable[[jax.Array, jax.Array], jax.Array],
    kernel: jax.Array,
    states: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    block_elements: int = BLOCK_ELEMENTS,
) -> TokenLoss:
    """`token_loss` of the logits `head(kernel, states)`, which are never held at once.

    Blocks of positions go through in turn. Where a gradient is wanted, each block's is taken as soon as its loss is
    known, so its logits are computed once and dropped; what is kept is the gradient of `kernel` and of `states`. Only
    `total` has a gradient: the other sums are for the log.

    Args:
        head: gives logits [B, l, V] of states [B, l, D]. kernel: array that is its parameter. states: [B, L, D].
        block_elements: the most logits a device holds at once (4 bytes each; one position of all strings at least).
    """
    batch, length, _ = states.shape
    vocabulary = jax.eval_shape(head, kernel, states).shape[-1]
    room = block_elements * row_shards()
    divisors = (n for n in range(1, length + 1) if length % n == 0)
    blocks = next(n for n in divisors if n == length or batch * length // n * vocabulary <= room)

    def block_loss(kernel, part):
        states, targets, mask = part
        return token_loss(head(kernel, states), targets, mask, label_smoothing, z_loss)

    if blocks == 1:
        return block_loss(kernel, (states, targets, mask))

    def cut(x):  # [B, L, ..] -> [blocks, B, l, ..]: positions are cut, not rows, which live on different devices
        return x.reshape(batch, blocks, length // blocks, *x.shape[2:]).swapaxes(0, 1)

    total, rest = _summed(block_loss, kernel, cut(states), (cut(targets), cut(mask)))
    return TokenLoss(total, *rest)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _summed(block_loss, kernel, states, rest):
    """(total, the other sums) over the leading axis of `states` and `rest`."""
    sums = jax.lax.map(lambda part: block_loss(kernel, (part[0], *part[1])), (states, rest))
    total, *others = jax.tree.map(lambda x: x.sum(0), sums)
    return total, tuple(others)


def _summed_forward(block_loss, kernel, states, rest):
    def one(slope, part):
        def loss(kernel, states):
            found = block_loss(kernel, (states, *part[1]))
            return found.total, found

        (_, found), (of_kernel, of_states) = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(kernel, part[0])
        return slope + of_kernel, (found, of_states)

    slope, (sums, slopes) = jax.lax.scan(one, jnp.zeros_like(kernel), (states, rest))
    total, *others = jax.tree.map(lambda x: x.sum(0), sums)
    return (total, tuple(others)), (slope, slopes)


def _summed_backward(block_loss, saved, gradients):
    of_total, _ = gradients
    of_kernel, of_states = jax.tree.map(lambda slope: (slope * of_total).astype(slope.dtype), saved)
    return of_kernel, of_states, None


_summed.defvjp(_summed_forward, _summed_backward)
