"""Which pairs make up the batch of a step, and where they lie in it: a pure function of (seed, step).

All batches of a run have one shape: blocks of SMILES and blocks of texts, each of its own length (`blocks`). An epoch
visits every row once. Rows are shuffled, ranked by length, and ranked rows fall into the blocks of the batches of the
epoch in the proportion those have of a batch: so each batch has a fair share of short and of long molecules and of
short and of long texts, and what a pair is compared with does not depend on its length. A few empty rows, counted among
the shortest, fill the epoch up to whole batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from atomas_jax.batching.blocks import Block, choose_blocks
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.shares import halving, share

EMPTY = -1
"""In place of a row: a string without tokens."""


class Lengths(NamedTuple):
    """Of the pairs of a split, in tokens, int [N] each."""

    smiles: np.ndarray
    text: np.ndarray


class Places(NamedTuple):
    """The rows of a group as they lie: int64 [R] each, `EMPTY` where there is none."""

    smiles: np.ndarray
    """Rows of the split whose SMILES lie there."""
    text: np.ndarray
    """Rows whose texts lie there: the same rows."""
    partner: np.ndarray
    """Of each text, the place of its SMILES."""


@dataclass(frozen=True)
class Epoch:
    """The rows of one epoch by the blocks their SMILES and their text fall into."""

    rows: np.ndarray
    """int64 [steps * pairs], rows of the split or `EMPTY`, those of a cell together."""
    cells: np.ndarray
    """int [A, B], how many rows have their SMILES in block i and their text in block j."""
    half: Callable
    """How `cells` are dealt out to steps, see `shares`."""


class Schedule:
    """Order and layout of the batches over some rows of a split.

    Raises:
      UserError: settings of which no batch can be made (`blocks.unit_of`).
    """

    def __init__(self, rows: np.ndarray, lengths: Lengths, config: BatchConfig, seed: int):
        self.rows, self.config, self._seed = np.asarray(rows, np.int64), config, seed
        self.steps_per_epoch = -(-len(rows) // config.pairs)
        self._empty = self.steps_per_epoch * config.pairs - len(rows)
        self._lengths = [np.concatenate([np.zeros(self._empty, int), side[self.rows]]) for side in lengths]
        self.smiles, self.text = (choose_blocks(side, config) for side in self._lengths)
        computed = sum(block.strings * block.length for block in (*self.smiles, *self.text)) * self.steps_per_epoch
        self.real_tokens = float(sum(side.sum() for side in self._lengths) / computed)
        """Share of the tokens computed in an epoch that are not padding, by the longest spelling of each molecule."""

    def batch(self, step: int, groups: int = 1, chosen: np.ndarray | None = None) -> list[Places]:
        """The rows of a step (from 0) as they lie in each group, or in the chosen ones. Which rows these are in all
        does not depend on the number of groups, which must divide every block (`blocks.check_groups`)."""
        number, position = divmod(step, self.steps_per_epoch)
        epoch = self._epoch(number)
        before, cells = share(epoch.cells, self.steps_per_epoch, position, epoch.half)
        starts = np.cumsum(epoch.cells).reshape(cells.shape) - epoch.cells + before
        half = halving(self._seed, number, position, 1)
        return [
            self._places(epoch.rows, *share(cells, groups, int(group), half), starts)
            for group in (range(groups) if chosen is None else chosen)
        ]

    def _places(self, rows: np.ndarray, before: np.ndarray, cells: np.ndarray, starts: np.ndarray) -> Places:
        counts = cells.ravel()
        first = np.repeat((starts + before).ravel() - (np.cumsum(counts) - counts), counts)
        smiles = rows[first + np.arange(len(first))]  # by SMILES block, then by text block
        text_block = np.repeat(np.tile(np.arange(cells.shape[1]), cells.shape[0]), counts)
        partner = np.argsort(text_block, kind="stable")
        return Places(smiles, smiles[partner], partner)

    @lru_cache(maxsize=2)  # noqa: B019  (a schedule lives as long as its run; two epochs meet at a boundary)
    def _epoch(self, number: int) -> Epoch:
        generator = np.random.default_rng([self._seed, number])
        order = generator.permutation(self.steps_per_epoch * self.config.pairs)
        of_smiles, of_text = (
            _block_of(lengths[order], blocks, self.steps_per_epoch)
            for lengths, blocks in zip(self._lengths, (self.smiles, self.text))
        )
        cell = of_smiles * len(self.text) + of_text
        rows = np.concatenate([np.full(self._empty, EMPTY), self.rows])[order[np.argsort(cell, kind="stable")]]
        cells = np.bincount(cell, minlength=len(self.smiles) * len(self.text))
        return Epoch(rows, cells.reshape(len(self.smiles), -1), halving(self._seed, number))


def _block_of(lengths: np.ndarray, blocks: tuple[Block, ...], steps: int) -> np.ndarray:
    """The block of each row of an epoch: the shortest in the first, as many as all its batches hold."""
    blocks_in_order = np.repeat(np.arange(len(blocks)), [block.strings * steps for block in blocks])
    found = np.empty(len(lengths), np.int64)
    found[np.argsort(lengths, kind="stable")] = blocks_in_order
    return found
