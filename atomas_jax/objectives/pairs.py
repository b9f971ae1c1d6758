"""Which columns a row of a contrastive loss is compared with, and the loss over them. Letters: B batch, N columns.

A molecule id (int32) says which molecule a row is; two rows of one id are two captions of one molecule. -1 is no
molecule: in a batch a row of padding, in a queue a slot still holding its random start.

One rule for duplicates, in every contrastive loss: a column of the row's own molecule that is not the row's own pair is
neither positive nor negative, it is left out. It is no negative, for it is true; it is no second positive either, since
one molecule's captions say different things, and a softmax asked to spread its mass evenly over them would never reach
0.
"""

import jax
import jax.numpy as jnp

from atomas_jax.objectives.configuration import Duplicates

MASKED_LOGIT = -1e30


def compared(rows: jax.Array, columns: jax.Array, duplicates: Duplicates) -> jax.Array:
    """bool [B, N]: which columns each row is compared with, the row's own pair (column i of row i) included.

    Args:
        rows: int32 [B], molecule ids of the batch.
        columns: int32 [N], N >= B; the first B are the batch again, any others past entries.
    """
    own = jnp.arange(rows.size)[:, None] == jnp.arange(columns.size)
    in_batch = jnp.arange(columns.size) < rows.size
    real = (columns >= 0) | ~in_batch  # a padding row of the batch is no negative; a queue's random start is one
    if duplicates == "mask":
        real = real & ((rows[:, None] != columns) | (rows[:, None] < 0))
    return real | own


def soft_cross_entropy(logits: jax.Array, targets: jax.Array, allowed: jax.Array, rows: jax.Array) -> jax.Array:
    """Mean over real rows of -sum targets * log softmax(logits over the allowed columns); float32 scalar.

    Args:
        logits, targets: float32 [B, N], targets 0 where not allowed. allowed: bool [B, N]. rows: int32 [B], -1 for
            padding.
    """
    log_p = jax.nn.log_softmax(jnp.where(allowed, logits, MASKED_LOGIT))
    return row_mean(-jnp.where(allowed, targets * log_p, 0).sum(-1), rows)


def matching_loss(logits: jax.Array, molecule: jax.Array, duplicates: Duplicates) -> jax.Array:
    """Half the sum of both directions' cross-entropies of logits [B, B] towards their diagonal; float32 scalar."""
    allowed = compared(molecule, molecule, duplicates)
    one_hot = jnp.eye(molecule.size)
    forward = soft_cross_entropy(logits, one_hot, allowed, molecule)
    backward = soft_cross_entropy(logits.T, one_hot, allowed, molecule)
    return 0.5 * (forward + backward)


def row_mean(losses: jax.Array, rows: jax.Array) -> jax.Array:
    """Mean of losses [B] over the rows that are pairs."""
    real = rows >= 0
    return jnp.where(real, losses, 0).sum() / jnp.maximum(real.sum(), 1)
