"""The hierarchical adaptive alignment: tokens of text against tokens of SMILES, at every level (Atomas, section 3.3).

Letters: A part of the texts, B batch, T text tokens, D width; G groups of N SMILES tokens, R strings of a group
(`model.layout`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from atomas_jax.model.heads import Level, Side, unit
from atomas_jax.model.layout import Layout, join
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
    turn, meet all SMILES. Kept for the backward pass are the maxima and their places, B numbers a token. The rows of a
    part lie apart, and on a mesh that splits the batch every part has rows of all devices: each device compares its own
    texts with all SMILES, whose tokens it gathers once.
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
    shards = row_shards() if rows % row_shards() == 0 else 1
    most = rows // shards  # parts in which every device has a row
    divisors = (n for n in range(1, most + 1) if most % n == 0)
    room = block_elements * shards
    count = next(n for n in divisors if n == most or rows // n * length * smiles.mask.size <= room)

    def spread(x):
        return split_rows(x.reshape(rows // count, count, *x.shape[1:]).swapaxes(0, 1), axis=1)

    def gathered(x):
        return x.swapaxes(0, 1).reshape(rows, *x.shape[2:])

    @jax.custom_vjp
    def scores(text: Level, smiles: Level) -> jax.Array:
        return forward(text, smiles)[0]

    def forward(text: Level, smiles: Level):
        parts = jax.tree.map(spread, text)
        found, best = jax.lax.map(lambda part: _scores(part, smiles), parts)
        return gathered(found), (parts, smiles, best)

    def backward(kept, gradient):
        parts, smiles, best = kept

        def one(of_smiles, part):
            of_text, more = _slopes(*part, smiles)
            return jax.tree.map(jnp.add, of_smiles, more), of_text

        nothing = jnp.zeros_like(smiles.tokens), jnp.zeros_like(smiles.omega)
        of_smiles, of_text = jax.lax.scan(one, nothing, (spread(gradient), parts, best))
        tokens, omega = map(gathered, of_text)
        return (
            Level(tokens, None, omega, None, text.layout),
            Level(of_smiles[0], None, of_smiles[1], None, smiles.layout),
        )

    scores.defvjp(forward, backward)
    return scores(text, smiles)


class Best(NamedTuple):
    """The greatest cosines of a part and where they are: all that the backward pass needs of it."""

    atom: jax.Array
    """float32 [G, R, A, T]: of each word in each SMILES."""
    atom_at: jax.Array
    """int32 [G, R, A, T]: the atom's place in its SMILES; of equals the first."""
    word: jax.Array
    """float32 [G, N, A]: of each atom in each text."""
    word_at: jax.Array
    """int32 [G, N, A]: the word's place in its text."""


def interaction(text: Level, smiles: Level) -> jax.Array:
    """`similarity` of unit tokens, texts [A, T, D] of one length and SMILES [G, N, D], all at once: float32 [A, B]."""
    return _scores(text, smiles)[0]


def _scores(text: Level, smiles: Level) -> tuple[jax.Array, Best]:
    # full float32: an accelerator's default leaves 1e-3, which kappa multiplies and the maxima choose by
    cosines = jnp.einsum("gnd,atd->gnat", smiles.tokens, text.tokens, precision=jax.lax.Precision.HIGHEST)
    layout = smiles.layout or Layout.rectangle(smiles.mask.shape[1])
    blocks = layout.cut(jnp.where(smiles.mask[:, :, None, None], cosines, BELOW_ALL))
    words = jnp.where(text.mask, cosines, BELOW_ALL)
    best = Best(
        jnp.concatenate([block.max(2) for block in blocks], axis=1),
        jnp.concatenate([block.argmax(2).astype(jnp.int32) for block in blocks], axis=1),
        words.max(3),
        words.argmax(3).astype(jnp.int32),
    )
    of_words = jnp.einsum("grat,at->gra", best.atom, text.omega)
    weighed = layout.cut(best.word * smiles.omega[:, :, None])
    of_atoms = jnp.concatenate([block.sum(2) for block in weighed], axis=1)
    return 0.5 * (of_words + of_atoms).reshape(-1, len(text.mask)).T, best


def _slopes(gradient: jax.Array, text: Level, best: Best, smiles: Level):
    """Gradients by (text tokens, text omega), and by (SMILES tokens, SMILES omega), of scores [A, B]."""
    layout = smiles.layout or Layout.rectangle(smiles.mask.shape[1])
    slope = 0.5 * gradient.T.reshape(best.atom.shape[0], -1, len(text.mask))  # [G, R, A]
    at_tokens = layout.spread(slope)  # [G, N, A]
    by_word = slope[:, :, :, None] * text.omega  # [G, R, A, T]
    parts = zip(layout.blocks, layout.cut_strings(best.atom_at), layout.cut_strings(by_word))
    place = [
        jnp.where(jnp.arange(length)[:, None, None] == at[:, :, None], by[:, :, None], 0.0)
        for (_, length), at, by in parts
    ]
    by_atom = at_tokens * smiles.omega[:, :, None]
    chosen = jnp.arange(text.mask.shape[1]) == best.word_at[:, :, :, None]
    cosines = join(place) + jnp.where(chosen, by_atom[:, :, :, None], 0.0)  # [G, N, A, T]
    # These two products choose nothing, so the default precision, as of the layers' gradients, is enough. The first
    # gives [D, A, T] and not [A, T, D]: so only its result has to be transposed, and not `cosines`.
    width_first = jnp.einsum("gnd,gnat->dat", smiles.tokens, cosines)
    of_text = (
        width_first.transpose(1, 2, 0),
        jnp.einsum("gra,grat->at", slope, best.atom),
    )
    of_smiles = (
        jnp.einsum("gnat,atd->gnd", cosines, text.tokens),
        jnp.einsum("gna,gna->gn", at_tokens, best.word),
    )
    return of_text, of_smiles
