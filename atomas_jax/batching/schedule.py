"""Which rows make up the batch of a step: a pure function of (seed, step).

An epoch visits every row once, but for the fewer than `pairs` rows that the largest shape cannot fill; which rows
those are changes with the epoch. Rows are shuffled first and grouped by shape after, so a batch is a random draw
among the rows of its shape, and the order of the batches is shuffled again.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.shapes import Shape, choose_edges, smallest_edge
from atomas_jax.corpus.prepared import Split
from atomas_jax.errors import UserError


@dataclass(frozen=True)
class EpochPlan:
    """The batches of one epoch: `rows` int64 [batches, pairs] of the split, `cell` int [batches] into
    `Schedule.shapes`."""

    rows: np.ndarray
    cell: np.ndarray


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
        smiles_edges = choose_edges(smiles, config.smiles_edges)
        text_edges = choose_edges(text, config.text_edges)
        self.shapes = tuple(Shape(s, t) for s in smiles_edges for t in text_edges)
        self._columns = len(text_edges)
        self._cell = smallest_edge(smiles, smiles_edges) * self._columns + smallest_edge(text, text_edges)
        self.steps_per_epoch = len(self._plan(0).rows)
        real = int((smiles + text).sum())
        plan = self._plan(0)
        computed = sum(sum(self.shapes[cell]) for cell in plan.cell) * config.pairs
        self.real_tokens = real * plan.rows.size / len(self.rows) / computed
        """Share of the encoder tokens of an epoch that are not padding (rows cut short by an incomplete batch
        aside)."""

    def batch_rows(self, step: int) -> tuple[np.ndarray, Shape]:
        """Row indices int64 [pairs] and shape of the batch of this step (counted from 0)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        plan = self._plan(epoch)
        return plan.rows[position], self.shapes[plan.cell[position]]

    @lru_cache(maxsize=2)  # noqa: B019  (a schedule lives as long as its run; two epochs meet at a boundary)
    def _plan(self, epoch: int) -> EpochPlan:
        generator = np.random.default_rng([self._seed, epoch])
        shuffled = generator.permutation(len(self.rows))
        pairs, rows, cells = self._config.pairs, [], []
        waiting = [shuffled[self._cell[shuffled] == cell] for cell in range(len(self.shapes))]
        for cell, indices in enumerate(waiting):
            full = len(indices) // pairs * pairs
            rows.extend(indices[:full].reshape(-1, pairs))
            cells.extend([cell] * (full // pairs))
            above = self._next_larger(cell)
            if above is not None:  # what does not fill a batch rides with longer strings
                waiting[above] = np.concatenate([waiting[above], indices[full:]])
        order = generator.permutation(len(rows))
        return EpochPlan(self.rows[np.stack(rows)[order]], np.asarray(cells)[order])

    def _next_larger(self, cell: int) -> int | None:
        if (cell + 1) % self._columns:
            return cell + 1
        return cell + self._columns if cell + self._columns < len(self.shapes) else None
