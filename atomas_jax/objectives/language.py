"""The language loss: cross-entropy of the next token. Letters: B batch, L target tokens, V vocabulary."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


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
