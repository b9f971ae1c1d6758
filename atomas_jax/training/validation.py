"""Validation during training: every loss on held-out pairs, and how well they find each other."""

from collections import defaultdict
from collections.abc import Callable

import jax
import numpy as np

from atomas_jax.batching.batches import usable_rows, validation_batches
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import EMPTY
from atomas_jax.corpus.prepared import Split
from atomas_jax.evaluation.ranking import rank_embeddings
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.training.partitioning import place_rows, rows_here


def metric_names(objectives: ObjectiveConfig, levels: int) -> list[str]:
    """Names of the metrics `Validation` gives for an objective with so many levels of hierarchy."""
    directions = [name for name in ("caption", "generation") if objectives.language * getattr(objectives, name)]
    names = [*directions, *(f"{name}_accuracy" for name in directions)] + ["language"] * bool(directions)
    if objectives.global_alignment:
        names.append("global")
    if objectives.hierarchical:
        names += ["hierarchical", *(f"hierarchical_{level}" for level in range(levels))]
    if objectives.global_alignment or objectives.hierarchical:
        names += [f"{way}_{rank}" for way in ("text_to_molecule", "molecule_to_text") for rank in ("R1", "MRR")]
    return names


class Validation:
    """Validation on the first `pairs` usable rows of a split, always the same ones."""

    def __init__(self, split: Split, step: Callable, config: BatchConfig, pairs: int, sharding, groups: int):
        self.rows = usable_rows(split, config)[:pairs]
        self._split, self._step, self._config = split, step, config
        self._sharding, self._groups = sharding, groups
        self._held = rows_here(sharding, groups)

    def __call__(self, params) -> dict[str, float]:
        """Metrics by name.

        `caption`, `generation`: nats a token, and their sum `language`; `*_accuracy`: share of tokens predicted right
        given those before; `global`, `hierarchical*`: in-batch losses; `text_to_molecule_*`, `molecule_to_text_*`:
        the rank of the partner among all validation rows (R1, MRR; rows of one molecule are all right; ties count as
        their mean).
        """
        sums, weights = defaultdict(float), defaultdict(float)
        rows, texts, molecules = [], [], []
        for chosen, batch in validation_batches(self._split, self._config, self.rows, self._groups, self._held):
            batch = place_rows(batch, self._sharding, self._groups, self._held)
            losses, embeddings = jax.device_get(self._step(params, batch))
            for name, (total, weight) in losses.items():
                sums[name] += float(total)
                weights[name] += float(weight)
            if embeddings is not None:
                real = chosen != EMPTY
                rows.extend(chosen[real])
                texts.append(embeddings[0][real])
                molecules.append(embeddings[1][real])
        metrics = {name: total / max(weights[name], 1.0) for name, total in sums.items()}
        if parts := [metrics[name] for name in ("caption", "generation") if name in metrics]:
            metrics["language"] = sum(parts)
        if texts:
            labels = self._split.molecule[rows]
            sides = {"text_to_molecule": (texts, molecules), "molecule_to_text": (molecules, texts)}
            for name, (queries, pool) in sides.items():
                ranks = rank_embeddings(np.concatenate(queries), np.concatenate(pool), positives=(labels, labels)).ranks
                metrics[f"{name}_R1"] = float((ranks == 1).mean())
                metrics[f"{name}_MRR"] = float((1 / ranks).mean())
        return metrics
