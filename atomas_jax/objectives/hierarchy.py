"""The hierarchical adaptive alignment: tokens of text against tokens of SMILES, at every level (Atomas, section 3.3).

Letters: A part of the texts, B batch, T text tokens, D width; G groups of N SMILES tokens, R strings of a group
(`model.layout`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from atomas_jax.model.heads import Level, Side, unit
from atomas_jax.model.layout import Layout
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
    partner: jax.Array | None = None,
) -> HierarchyLoss:
    """L_haa = sum over levels of 1/2 [CE(kappa S, diagonal) + CE(kappa S^T, diagonal)], over all pairs of the batch.

    Args:
        text, smiles: of `Aligned`. kappa: its scalar. molecule: int32 [B], -1 for a row of padding (see `pairs`), as
            the texts lie.
        duplicates: whether other rows of the row's own molecule are left out or, as published, negatives.
        block_elements: the most cosines a device holds at once (4 bytes each); see `similarity`.
        partner: int32 [G, R], of each text of a group the place of its SMILES; None: the same place.
    """
    losses = []
    for below, above in zip(text.levels, smiles.levels):
        scores = similarity(below, above, block_elements)
        if partner is not None:
            groups, strings = partner.shape
            scores = scores[:, (jnp.arange(groups)[:, None] * strings + partner).reshape(-1)]
        losses.append(matching_loss(kappa * scores, molecule, duplicates))
    return HierarchyLoss(sum(losses), tuple(losses))


def similarity(text: Level, smiles: Level, block_elements: int = BLOCK_ELEMENTS) -> jax.Array:
    """Weighted token interaction (DRL, 2022) of every text with every SMILES: float32 [B, B'], text by SMILES.

    S_ab = 1/2 [sum_i omega_ai max_j R_abij + sum_j omega_bj max_i R_abij], R the cosines of their tokens.

    The cosines of B texts with B SMILES are never held at once: texts of one block after the other, parts of a block in
    turn, meet all SMILES, and the backward pass computes each part again, so memory grows with B (one text against all
    SMILES at least) and not with B^2. The rows of a part lie apart, and on a mesh that splits the batch every part has
    rows of all devices: each device compares its own texts with all SMILES, whose tokens it gathers once.
    """
    groups = text.mask.shape[0]
    smiles = jax.tree.map(whole, smiles._replace(tokens=unit(smiles.tokens), assignment=None))
    layout = text.layout or Layout.rectangle(text.mask.shape[1])
    blocks = zip(*(layout.cut(array) for array in (unit(text.tokens), text.mask, text.omega)))
    scores = []
    for block in blocks:
        tokens, mask, omega = (array.reshape(-1, *array.shape[2:]) for array in block)
        found = _in_parts(Level(tokens, mask, omega, None), smiles, block_elements)
        scores.append(found.reshape(groups, -1, found.shape[1]))
    return jnp.concatenate(scores, axis=1).reshape(-1, scores[0].shape[2])


def _in_parts(text: Level, smiles: Level, block_elements: int) -> jax.Array:
    """`interaction` of texts [B, T, D], a part of them after the other."""
    rows, length = text.mask.shape
    columns = smiles.mask.size
    shards = row_shards() if rows % row_shards() == 0 else 1
    most = rows // shards  # parts in which every device has a row
    divisors = (n for n in range(1, most + 1) if most % n == 0)
    count = next(n for n in divisors if n == most or rows // n * length * columns <= block_elements * shards)
    if count == 1:
        return interaction(text, smiles)

    def spread(x):
        return split_rows(x.reshape(rows // count, count, *x.shape[1:]).swapaxes(0, 1), axis=1)

    parts = jax.lax.map(jax.checkpoint(lambda part: interaction(part, smiles)), jax.tree.map(spread, text))
    return parts.swapaxes(0, 1).reshape(rows, -1)


def interaction(text: Level, smiles: Level) -> jax.Array:
    """`similarity` of unit tokens, texts [A, T, D] of one length and SMILES [G, N, D], all at once: float32 [A, B]."""
    # full float32: an accelerator's default leaves 1e-3, which kappa multiplies and the maxima choose by
    cosines = jnp.einsum("gnd,atd->gnat", smiles.tokens, text.tokens, precision=jax.lax.Precision.HIGHEST)
    best_atom = jnp.where(smiles.mask[:, :, None, None], cosines, BELOW_ALL)
    best_word = jnp.where(text.mask, cosines, BELOW_ALL).max(3)
    layout = smiles.layout or Layout.rectangle(smiles.mask.shape[1])
    of_words = [jnp.einsum("gnat,at->gna", block.max(2), text.omega) for block in layout.cut(best_atom)]
    of_atoms = [block.sum(2) for block in layout.cut(best_word * smiles.omega[:, :, None])]
    of_words, of_atoms = (jnp.concatenate(parts, axis=1).reshape(-1, len(text.mask)) for parts in (of_words, of_atoms))
    return 0.5 * (of_words + of_atoms).T
