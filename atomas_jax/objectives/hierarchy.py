"""The hierarchical adaptive alignment: tokens of text against tokens of SMILES, at every level (Atomas, section 3.3).

Letters: A block of texts, B batch, T text tokens, S SMILES tokens, D width.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from atomas_jax.model.heads import Level, Side, unit
from atomas_jax.model.placement import row_shards, split_rows, whole
from atomas_jax.objectives.configuration import Duplicates
from atomas_jax.objectives.pairs import matching_loss

BLOCK_ELEMENTS = 16 * 2**20
# Below every cosine, and finite: a string without tokens scores 0 (its omega is 0) and not NaN.
BELOW_ALL = -2.0


class HierarchyLoss(NamedTuple):
    """The loss and its parts."""

    total: jax.Array
    """float32 scalar, the sum over levels."""
    levels: tuple[jax.Array, ...]
    """float32 scalars, one a level, tokens first."""


def hierarchical_alignment(
    text: Side,
    smiles: Side,
    kappa: jax.Array,
    molecule: jax.Array,
    duplicates: Duplicates = "mask",
    block_elements: int = BLOCK_ELEMENTS,
) -> HierarchyLoss:
    """L_haa = sum over levels of 1/2 [CE(kappa S, diagonal) + CE(kappa S^T, diagonal)], over all pairs of the batch.

    Args:
        text, smiles: of `Aligned`. kappa: its scalar. molecule: int32 [B], -1 for a row of padding (see `pairs`).
        duplicates: whether other rows of the row's own molecule are left out or, as published, negatives.
        block_elements: the most cosines a device holds at once (4 bytes each); see `similarity`.
    """
    losses = tuple(
        matching_loss(kappa * similarity(below, above, block_elements), molecule, duplicates)
        for below, above in zip(text.levels, smiles.levels)
    )
    return HierarchyLoss(sum(losses), losses)


def similarity(text: Level, smiles: Level, block_elements: int = BLOCK_ELEMENTS) -> jax.Array:
    """Weighted token interaction (DRL, 2022) of every text with every SMILES: float32 [B, B'], text by SMILES.

    S_ab = 1/2 [sum_i omega_ai max_j R_abij + sum_j omega_bj max_i R_abij], R the cosines of their tokens.

    The cosines of B texts with B SMILES are never held at once: blocks of texts go through in turn, and the backward
    pass computes each block again, so memory grows with B (one text against all SMILES at least) and not with B^2. The
    rows of a block lie B / A apart, and on a mesh that splits the batch every block has rows of all devices: each
    device compares its own texts with all SMILES, whose tokens it gathers once.
    """
    rows, length = text.mask.shape
    columns = smiles.mask.size
    shards = row_shards() if rows % row_shards() == 0 else 1
    most = rows // shards  # blocks in which every device has a row
    divisors = (n for n in range(1, most + 1) if most % n == 0)
    blocks = next(n for n in divisors if n == most or rows // n * length * columns <= block_elements * shards)
    smiles = jax.tree.map(whole, smiles._replace(tokens=unit(smiles.tokens), assignment=None))
    text = text._replace(tokens=unit(text.tokens), assignment=None)
    if blocks == 1:
        return interaction(text, smiles)

    def spread(x):
        return split_rows(x.reshape(rows // blocks, blocks, *x.shape[1:]).swapaxes(0, 1), axis=1)

    parts = jax.lax.map(jax.checkpoint(lambda block: interaction(block, smiles)), jax.tree.map(spread, text))
    return parts.swapaxes(0, 1).reshape(rows, -1)


def interaction(text: Level, smiles: Level) -> jax.Array:
    """`similarity` of unit tokens [A, T, D] with [B, S, D], all at once: float32 [A, B]."""
    # full float32: an accelerator's default leaves 1e-3, which kappa multiplies and the maxima choose by
    cosines = jnp.einsum("atd,bsd->atbs", text.tokens, smiles.tokens, precision=jax.lax.Precision.HIGHEST)
    best_atom = jnp.where(smiles.mask, cosines, BELOW_ALL).max(3)
    best_word = jnp.where(text.mask[:, :, None, None], cosines, BELOW_ALL).max(1)
    of_words = jnp.einsum("at,atb->ab", text.omega, best_atom)
    of_atoms = jnp.einsum("bs,abs->ab", smiles.omega, best_word)
    return 0.5 * (of_words + of_atoms)
