"""Which rows make up the batch of a step: a pure function of (seed, step).

An epoch visits every row once. Rows are shuffled first and grouped by shape after, so a batch is a random draw among
the rows of its shape, and the order of the batches is shuffled again. What does not fill a batch of its shape rides
with longer strings; where no shape is longer, a batch stays short of rows.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.shapes import Shape, choose_shapes, smallest_shape
from atomas_jax.corpus.prepared import Split
from atomas_jax.errors import UserError


@dataclass(frozen=True)
class EpochPlan:
    """The batches of one epoch: rows of the split, at most `pairs` each, and where their shapes stand in
    `Schedule.shapes`."""

    rows: list[np.ndarray]
    shape: list[int]


class Schedule:
    """Order and shapes of the batches of a split.

    Raises:
      UserError: when fewer rows than one batch are within the length limits.
    """

    def __init__(self, split: Split, config: BatchConfig, seed: int):
        self._config, self._seed = config, seed
        smiles, text = split.smiles_length, np.minimum(split.text_length, config.max_text)
        self.rows = np.flatnonzero(smiles <= config.max_smiles)
        self.left_out = len(split) - len(self.rows)
        if len(self.rows) < config.pairs:
            raise UserError(
                f"{len(self.rows)} usable pairs ({self.left_out} over {config.max_smiles} SMILES tokens) do not fill "
                f"one batch of {config.pairs}: lower batches.pairs or raise batches.max_smiles"
            )
        smiles, text = smiles[self.rows], text[self.rows]
        self.shapes = choose_shapes(smiles, text, config.shapes)
        self._shape = smallest_shape(smiles, text, self.shapes)
        self.steps_per_epoch = len(self._plan(0).rows)
        computed = sum(sum(self.shapes[shape]) for shape in self._plan(0).shape) * config.pairs
        self.real_tokens = int((smiles + text).sum()) / computed
        """Share of the tokens computed in an epoch that are not padding, by the longest spelling of each molecule."""

    def batch_rows(self, step: int) -> tuple[np.ndarray, Shape]:
        """Row indices int64 [pairs], fewer in a few batches of an epoch, and shape of this step's batch (from 0)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        plan = self._plan(epoch)
        return plan.rows[position], self.shapes[plan.shape[position]]

    @lru_cache(maxsize=2)  # noqa: B019  (a schedule lives as long as its run; two epochs meet at a boundary)
    def _plan(self, epoch: int) -> EpochPlan:
        generator = np.random.default_rng([self._seed, epoch])
        shuffled = generator.permutation(len(self.rows))
        pairs, rows, shapes = self._config.pairs, [], []
        waiting = [shuffled[self._shape[shuffled] == shape] for shape in range(len(self.shapes))]
        for shape, indices in enumerate(waiting):
            full = len(indices) // pairs * pairs
            batches = list(indices[:full].reshape(-1, pairs))
            longer = self._longer(shape)
            if longer is not None:
                waiting[longer] = np.concatenate([waiting[longer], indices[full:]])
            elif full < len(indices):
                batches.append(indices[full:])
            rows.extend(batches)
            shapes.extend([shape] * len(batches))
        order = generator.permutation(len(rows))
        return EpochPlan([self.rows[rows[i]] for i in order], [shapes[i] for i in order])

    def _longer(self, shape: int) -> int | None:
        """The cheapest shape after this one that holds it."""
        after = range(shape + 1, len(self.shapes))
        return next((other for other in after if self.shapes[other].holds(self.shapes[shape])), None)
