"""Vectors of whole strings in the shared space, batch by batch."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import numpy as np

from atomas_jax.model.atomas import Atomas
from atomas_jax.model.configuration import ModelConfig
from atomas_jax.model.heads import Modality
from atomas_jax.model.widths import fitting, padded
from atomas_jax.retrieval.devices import by_rows, rows_mesh, whole


def embed(
    params: dict,
    config: ModelConfig,
    modality: Modality,
    strings: Sequence[Sequence[int]],
    batch_size: int = 64,
    on_progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Unit vectors float32 [N, E] of N strings of token ids (end mark included), in input order.

    Longest first, so that a string shares its batch with others of its length; the rows of a batch are split over all
    devices, and come in powers of two, so that lists of any length share few programs. `on_progress` is called with
    the number of strings done since its last call.
    """
    vectors = np.zeros((len(strings), config.alignment.embedding_dim), np.float32)
    order = sorted(range(len(strings)), key=lambda i: -len(strings[i]))
    devices = rows_mesh().size
    each = -(-min(batch_size, max(len(strings), 1)) // devices)
    params = jax.device_put(params, whole())
    start = 0
    while start < len(order):
        width = padded(len(strings[order[start]]))
        rows = devices * fitting(each, width)
        chosen = order[start : start + rows]
        start += len(chosen)
        tokens = np.zeros((rows, width), np.int32)
        for row, i in enumerate(chosen):
            tokens[row, : len(strings[i])] = strings[i]
        done = _embed(params, jax.device_put(tokens, by_rows()), config=config, modality=modality)
        vectors[chosen] = np.asarray(done)[: len(chosen)]
        if on_progress:
            on_progress(len(chosen))
    return vectors


@partial(jax.jit, static_argnames=("config", "modality"))
def _embed(params, tokens, *, config: ModelConfig, modality: Modality):
    return Atomas(config).apply({"params": params}, modality, tokens, method="embed")
