"""The sum of all terms, and each of them by itself for the log."""

import jax

from atomas_jax.model.heads import Aligned
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.objectives.contrast import Queue, momentum_contrast, sigmoid_contrast, softmax_contrast
from atomas_jax.objectives.hierarchy import hierarchical_alignment
from atomas_jax.objectives.language import TokenLoss


def joint_loss(
    config: ObjectiveConfig,
    molecule: jax.Array,
    aligned: Aligned | None = None,
    momentum: tuple[jax.Array, jax.Array] | None = None,
    queue: Queue | None = None,
    caption: TokenLoss | None = None,
    generation: TokenLoss | None = None,
    partner: jax.Array | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """L = w_ga L_ga + w_lm (w_c L_caption + w_g L_generation) + w_haa L_haa, and its terms, unweighted, by name.

    A term whose weight is 0 is not computed, does not appear among the terms, and needs none of its arguments.

    Args:
        molecule: int32 [B], which molecule each pair is of; -1 for a row of padding.
        aligned: what `AlignmentHeads` gives, for both alignments.
        momentum: text and SMILES embeddings [B, E] of the momentum copy, for the "momentum" form; `queue` likewise.
        caption, generation: `token_loss` of each direction, for the language loss.
        partner: int32 [G, R], where the SMILES of each text lies in its group; None: at the same place.
    """
    terms: dict[str, jax.Array] = {}
    total = 0.0
    if config.global_alignment:
        terms["global"] = global_alignment(config, molecule, aligned, momentum, queue)
        total += config.global_alignment * terms["global"]
    for name, weight, loss in (("caption", config.caption, caption), ("generation", config.generation, generation)):
        if config.language * weight:
            terms[name] = loss.mean
            total += config.language * weight * loss.mean
    if config.hierarchical:
        sides, kappa = (aligned.text, aligned.smiles), aligned.scalars.kappa
        parts = hierarchical_alignment(*sides, kappa, molecule, config.duplicates, partner=partner)
        terms["hierarchical"] = parts.total
        terms |= {f"hierarchical_{level}": loss for level, loss in enumerate(parts.levels)}
        total += config.hierarchical * parts.total
    return total, terms


def global_alignment(
    config: ObjectiveConfig,
    molecule: jax.Array,
    aligned: Aligned,
    momentum: tuple[jax.Array, jax.Array] | None,
    queue: Queue | None,
) -> jax.Array:
    """L_ga in the form the configuration names; arguments as `joint_loss`."""
    text, smiles, scalars = aligned.text.embedding, aligned.smiles.embedding, aligned.scalars
    match config.global_form:
        case "momentum":
            return momentum_contrast(
                text, smiles, *momentum, queue, molecule, scalars.tau, config.soft_target, config.duplicates
            )
        case "softmax":
            return softmax_contrast(text, smiles, molecule, scalars.tau, config.duplicates)
        case "sigmoid":
            return sigmoid_contrast(
                text, smiles, molecule, scalars.sigmoid_scale, scalars.sigmoid_bias, config.duplicates
            )
