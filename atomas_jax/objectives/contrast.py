"""The global alignment: one vector a string, matched across the batch (and a queue). Letters: B batch, E embedding, Q
queue.

All embeddings are float32 unit vectors [B, E]; `molecule` is int32 [B] (see `pairs`). All losses are float32 scalars.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from atomas_jax.objectives.configuration import Duplicates
from atomas_jax.objectives.pairs import MASKED_LOGIT, compared, matching_loss, row_mean, soft_cross_entropy


class Queue(NamedTuple):
    """Past momentum features, a ring: the newest batch replaces the oldest entries. Part of the training state."""

    text: jax.Array
    """float32 [Q, E]."""
    smiles: jax.Array
    """float32 [Q, E]."""
    molecule: jax.Array
    """int32 [Q]; -1 where the random start still stands."""
    position: jax.Array
    """int32 scalar: the slot that is written next, the oldest."""


def start_queue(key: jax.Array, size: int, width: int) -> Queue:
    """A queue of random unit vectors, as published; they are negatives like any other until replaced."""

    def directions(key):
        x = jax.random.normal(key, (size, width), jnp.float32)
        return x / jnp.linalg.norm(x, axis=-1, keepdims=True)

    text, smiles = map(directions, jax.random.split(key))
    return Queue(text, smiles, jnp.full(size, -1, jnp.int32), jnp.zeros((), jnp.int32))


def enqueue(queue: Queue, text: jax.Array, smiles: jax.Array, molecule: jax.Array) -> Queue:
    """The queue after a batch of momentum features [B, E]: B of its oldest entries replaced, in order.

    Any B works: the ring wraps, and of a batch larger than the queue the last Q rows stay. A padding row (molecule -1)
    leaves the old entry in its slot.
    """
    size, batch = queue.molecule.size, molecule.size
    kept = slice(max(0, batch - size), None)
    slot = (queue.position + jnp.arange(batch, dtype=jnp.int32)[kept]) % size
    real = molecule[kept] >= 0

    def write(old, new):
        keep = real.reshape(-1, *[1] * (old.ndim - 1))
        new = jax.lax.stop_gradient(new[kept]).astype(old.dtype)
        return old.at[slot].set(jnp.where(keep, new, old[slot]))

    return Queue(
        write(queue.text, text),
        write(queue.smiles, smiles),
        write(queue.molecule, molecule),
        (queue.position + batch) % size,
    )


def momentum_contrast(
    text: jax.Array,
    smiles: jax.Array,
    momentum_text: jax.Array,
    momentum_smiles: jax.Array,
    queue: Queue,
    molecule: jax.Array,
    tau: jax.Array,
    soft_target: float = 0.4,
    duplicates: Duplicates = "mask",
) -> jax.Array:
    """Momentum contrast with soft targets (ALBEF, NeurIPS 2021; Atomas, section 3.2).

    For text to SMILES: logits = z_t . [momentum z_s of the batch ; queue] / tau; target = soft_target *
    softmax(momentum z_t . the same / tau) + (1 - soft_target) * one-hot; the other way alike; half the sum of both soft
    cross-entropies. With `duplicates="mask"` entries of the row's own molecule, stale ones in the queue and second
    captions in the batch, are left out of logits and targets. No gradient reaches targets, momentum features or queue.
    `queue` is that of *before* this batch.
    """
    columns = jnp.concatenate([molecule, queue.molecule])
    allowed = compared(molecule, columns, duplicates)
    one_hot = jnp.eye(molecule.size, columns.size)
    fixed_tau = jax.lax.stop_gradient(tau)

    def direction(query, momentum_query, momentum_key, past):
        keys = jax.lax.stop_gradient(jnp.concatenate([momentum_key, past]))
        scores = cosines(jax.lax.stop_gradient(momentum_query), keys) / fixed_tau
        soft = jax.nn.softmax(jnp.where(allowed, scores, MASKED_LOGIT))
        targets = soft_target * soft + (1 - soft_target) * one_hot
        return soft_cross_entropy(cosines(query, keys) / tau, targets, allowed, molecule)

    to_smiles = direction(text, momentum_text, momentum_smiles, queue.smiles)
    to_text = direction(smiles, momentum_smiles, momentum_text, queue.text)
    return 0.5 * (to_smiles + to_text)


def softmax_contrast(
    text: jax.Array, smiles: jax.Array, molecule: jax.Array, tau: jax.Array, duplicates: Duplicates = "mask"
) -> jax.Array:
    """In-batch InfoNCE both ways (CLIP, 2021): half the sum of the cross-entropies of z_t . z_s / tau."""
    return matching_loss(cosines(text, smiles) / tau, molecule, duplicates)


def sigmoid_contrast(
    text: jax.Array,
    smiles: jax.Array,
    molecule: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    duplicates: Duplicates = "mask",
) -> jax.Array:
    """Pairwise sigmoid loss (SigLIP, 2023): row mean of -sum log sigmoid(+-(scale z_t . z_s + bias)), + on the
    diagonal."""
    logits = cosines(text, smiles) * scale + bias
    sign = 2 * jnp.eye(molecule.size) - 1
    losses = jnp.where(compared(molecule, molecule, duplicates), -jax.nn.log_sigmoid(sign * logits), 0)
    return row_mean(losses.sum(-1), molecule)


def cosines(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """All products of unit vectors [B, E] and [N, E]: [B, N], in full float32 where a device's default is less."""
    return jnp.matmul(rows, columns.T, precision=jax.lax.Precision.HIGHEST)
