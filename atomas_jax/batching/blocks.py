"""The blocks of padded lengths that every batch consists of, chosen so that little is padding."""

from typing import NamedTuple

import numpy as np

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.errors import UserError

STEP = 8
"""Padded lengths are multiples of this: what vector units like."""
FINEST = 32
"""Units a batch is made of unless told otherwise: more units waste less, and fewer spread over more devices."""


class Block(NamedTuple):
    """Strings of a batch that are padded to one length."""

    strings: int
    length: int


def unit_of(config: BatchConfig) -> int:
    """Strings in a unit: each block of a batch has a whole number of units.

    Raises:
      UserError: settings of which no batch can be made.
    """
    for name in ("pairs", "max_smiles", "max_text", "blocks"):
        if getattr(config, name) < 1:
            raise UserError(f"batches.{name} = {getattr(config, name)}: it must be at least 1")
    if config.workers < 0:
        raise UserError(f"batches.workers = {config.workers}: it must not be negative")
    pairs, unit = config.pairs, config.unit
    if not unit:
        return max((n for n in range(1, pairs // FINEST + 1) if pairs % n == 0), default=1)
    if unit < 0 or pairs % unit:
        raise UserError(f"batches.unit = {unit} does not divide batches.pairs = {pairs}")
    return unit


def check_groups(config: BatchConfig, shards: int, accumulate: int) -> int:
    """Groups that a batch is cut into: one for each of the shards (devices that split the pairs) and of the parts that
    gradients are accumulated over. Every block of every batch, of any corpus, can be dealt out to them.

    Raises:
      UserError: blocks that cannot be dealt out so, or no batch at all; says what to set.
    """
    if accumulate < 1:
        raise UserError(f"training.accumulate = {accumulate}: it must be at least 1")
    unit, groups = unit_of(config), accumulate * shards
    if config.pairs % groups:
        raise UserError(
            f"batches.pairs = {config.pairs} is not divisible by training.accumulate x devices that split the pairs = "
            f"{accumulate} x {shards}"
        )
    if unit % groups:
        raise UserError(
            f"blocks in units of {unit} do not split over training.accumulate x devices that split the pairs = "
            f"{accumulate} x {shards}: begin the run with --batches.unit {groups}; one already begun keeps its unit, "
            f"and needs fewer devices or a --training.mesh that splits the pairs less"
        )
    return groups


def choose_blocks(lengths: np.ndarray, config: BatchConfig) -> tuple[Block, ...]:
    """The blocks of a batch into which the strings of a corpus fit, each as often as the corpus has strings for it.

    If the corpus is sorted by length and cut into as many equal stretches as a batch has units, a batch takes one unit
    of each stretch. A block is some units of neighbouring stretches, as long as the longest string among them. Of all
    ways to cut at most `config.blocks` blocks, the one with least padding (dynamic programming over the cuts).

    Args:
      lengths: int [N], in tokens, of N >= 1 strings.
    """
    unit = unit_of(config)
    units = config.pairs // unit
    ends = -(-np.arange(1, units + 1) * len(lengths) // units)  # strings up to and including each stretch
    tops = np.sort(lengths)[ends - 1]
    tops = np.maximum(-(-tops // STEP) * STEP, STEP)
    least = np.full((min(config.blocks, units) + 1, units + 1), np.inf)
    cut = np.zeros(least.shape, int)
    least[0, 0] = 0
    for count in range(1, len(least)):
        for end in range(1, units + 1):
            prices = least[count - 1, :end] + (end - np.arange(end)) * tops[end - 1]
            cut[count, end] = prices.argmin()
            least[count, end] = prices[cut[count, end]]
    blocks, count, end = [], int(least[:, units].argmin()), units
    while count:
        start = int(cut[count, end])
        blocks.append(Block((end - start) * unit, int(tops[end - 1])))
        count, end = count - 1, start
    return tuple(reversed(blocks))
