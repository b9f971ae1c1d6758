"""How well a molecule and a text agree, by the model's own alignment: candidates are ranked by it.

Letters: P pairs, S SMILES tokens, T text tokens.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from atomas_jax.model.atomas import Atomas
from atomas_jax.model.configuration import ModelConfig
from atomas_jax.model.heads import unit
from atomas_jax.model.widths import fitting, padded
from atomas_jax.objectives.hierarchy import interaction


def agreement(
    params: dict,
    config: ModelConfig,
    smiles: Sequence[Sequence[int]],
    texts: Sequence[Sequence[int]],
    by: Literal["global", "tokens"],
    batch_size: int = 64,
) -> Float[np.ndarray, " P"]:
    """Of each molecule with the text at the same place, float32 [P]; token ids end with the end token.

    `global`: the cosine of the whole strings. `tokens`: the weighted token interaction (see `objectives.hierarchy`),
    the mean over the levels of the hierarchy.
    """
    scores = np.zeros(len(smiles), np.float32)
    longer = [max(map(len, pair)) for pair in zip(smiles, texts, strict=True)]
    order = sorted(range(len(smiles)), key=lambda i: -longer[i])
    rows = min(batch_size, 1 << max(len(order) - 1, 0).bit_length())
    start = 0
    while start < len(order):
        each = min(rows, fitting(rows, padded(longer[order[start]])))
        chosen = order[start : start + each]
        start += each
        sides = (_padded([side[i] for i in chosen], each) for side in (smiles, texts))
        scores[chosen] = np.asarray(_agreement(params, *sides, config=config, by=by))[: len(chosen)]
    return scores


def _padded(strings: list[Sequence[int]], rows: int) -> Int[np.ndarray, "P L"]:
    tokens = np.zeros((rows, padded(max(map(len, strings)))), np.int32)
    for row, string in enumerate(strings):
        tokens[row, : len(string)] = string
    return tokens


@partial(jax.jit, static_argnames=("config", "by"))
def _agreement(params, smiles, texts, *, config: ModelConfig, by: str) -> Float[Array, " P"]:
    model = Atomas(config)
    if by == "global":
        molecule, text = (
            model.apply({"params": params}, modality, tokens, method="embed")
            for modality, tokens in (("smiles", smiles), ("text", texts))
        )
        return jnp.sum(molecule * text, axis=-1)

    def hierarchy(module: Atomas, modality: str, tokens):
        mask = tokens != 0
        return module.alignment.side(modality, module.transformer.encode(tokens, mask), mask).levels

    molecule, text = (
        model.apply({"params": params}, modality, tokens, method=hierarchy)
        for modality, tokens in (("smiles", smiles), ("text", texts))
    )
    levels = []
    for below, above in zip(text, molecule, strict=True):
        pair = [level._replace(tokens=unit(level.tokens), assignment=None) for level in (below, above)]
        alone = jax.vmap(lambda *pair: interaction(*jax.tree.map(lambda leaf: leaf[None], pair))[0, 0])
        levels.append(alone(*pair))
    return sum(levels) / len(levels)
