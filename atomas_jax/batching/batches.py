"""From rows of a prepared corpus to arrays of fixed shape, assembled ahead of the step that needs them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import grain
import numpy as np

from atomas_jax.batching.blocks import Block
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import EMPTY, Lengths, Places, Schedule
from atomas_jax.corpus.prepared import Split
from atomas_jax.errors import UserError

Blocks = tuple[np.ndarray, ...]
"""int32 [G, n, L] each: token ids of n strings of every group, padded with 0 to L."""


class Batch(NamedTuple):
    """One batch of pairs in G groups of R, laid out alike (`model.layout`).

    Strings end with the end mark and are padded with 0, so masks are `tokens != 0`.
    """

    smiles: Blocks
    """What the encoder reads; any spelling of the molecule."""
    target_smiles: Blocks
    """What the decoder writes; the spelling of the corpus. They lie as `smiles` do."""
    text: Blocks
    """Both read and written."""
    partner: np.ndarray
    """int32 [G, R], of each text the place of its SMILES in the group."""
    molecule: np.ndarray
    """int32 [G, R], as the texts lie: equal numbers mean the same molecule, -1 marks an empty row."""


def usable_rows(split: Split, config: BatchConfig) -> np.ndarray:
    """Rows whose SMILES are within the limit."""
    return np.flatnonzero(split.smiles_length <= config.max_smiles)


def lengths_of(split: Split, config: BatchConfig) -> Lengths:
    """Of all rows, texts as they will be cut."""
    return Lengths(split.smiles_length, np.minimum(split.text_length, config.max_text))


def training_schedule(split: Split, config: BatchConfig, seed: int) -> Schedule:
    """Of all usable rows. Raises as `training_rows` and `Schedule`."""
    return Schedule(training_rows(split, config), lengths_of(split, config), config, seed)


def training_rows(split: Split, config: BatchConfig) -> np.ndarray:
    """All usable rows. Raises UserError when they do not fill one batch."""
    rows = usable_rows(split, config)
    if len(rows) < config.pairs:
        raise UserError(
            f"{len(rows)} usable pairs ({len(split) - len(rows)} over {config.max_smiles} SMILES tokens) do not fill "
            f"one batch of {config.pairs}: lower batches.pairs or raise batches.max_smiles"
        )
    return rows


def padded(strings: Sequence[np.ndarray], blocks: Sequence[Block]) -> Blocks:
    """The strings of one group, in order, as blocks [1, n, L]; what is longer than its block is cut."""
    found, start = [], 0
    for block in blocks:
        tokens = np.zeros((1, block.strings, block.length), np.int32)
        for row, string in enumerate(strings[start : start + block.strings]):
            tokens[0, row, : min(len(string), block.length)] = string[: block.length]
        found.append(tokens)
        start += block.strings
    return tuple(found)


def assemble(split: Split, schedule: Schedule, groups: Sequence[Places], count: int, spelling: dict[int, int]) -> Batch:
    """The batch of these groups, of `count` in all.

    Args:
      spelling: of some rows, which spelling the encoder reads; of the others the first.
    """
    nothing = np.zeros(0, np.int32)
    cuts = [
        [Block(block.strings // count, block.length) for block in blocks] for blocks in (schedule.smiles, schedule.text)
    ]
    longest = schedule.config.max_text

    def one(places: Places) -> Batch:
        smiles, target = (
            [nothing if i == EMPTY else split.smiles_tokens(int(i), chosen.get(int(i), 0)) for i in places.smiles]
            for chosen in (spelling, {})
        )
        text = [nothing if i == EMPTY else split.text_tokens(int(i))[:longest] for i in places.text]
        molecule = np.where(places.text == EMPTY, -1, split.molecule[places.text])
        return Batch(
            padded(smiles, cuts[0]), padded(target, cuts[0]), padded(text, cuts[1]),
            places.partner.astype(np.int32)[None], molecule.astype(np.int32)[None],
        )  # fmt: skip

    made = [one(places) for places in groups]
    blocks = (tuple(map(np.concatenate, zip(*side))) for side in list(zip(*made))[:3])
    return Batch(*blocks, *(np.concatenate(side) for side in list(zip(*made))[3:]))


def training_batch(
    split: Split, schedule: Schedule, config: BatchConfig, seed: int, step: int, groups: int = 1,
    part: np.ndarray | None = None,
) -> Batch:  # fmt: skip
    """The batch of a step in `groups` groups, or the ascending groups `part` of it: the same whatever ran before it. A
    process of several reads only its own rows."""
    rows = np.sort(schedule.batch(step)[0].text)  # of all groups, so that how many there are changes nothing
    rows = rows[rows != EMPTY]
    generator = np.random.default_rng([seed, step, 1])
    other = generator.random(len(rows)) < config.random_spelling
    spelling = dict(zip(rows[other].tolist(), generator.integers(split.spellings[rows])[other].tolist()))
    return assemble(split, schedule, schedule.batch(step, groups, part), groups, spelling)


def training_batches(
    split: Split, schedule: Schedule, config: BatchConfig, seed: int, start: int, stop: int, groups: int = 1,
    part: np.ndarray | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """The batches of steps `start` to `stop`, or a part of each, made by threads a few steps ahead."""
    steps = grain.MapDataset.range(start, stop).map(
        lambda step: training_batch(split, schedule, config, seed, int(step), groups, part)
    )
    return iter(
        steps.to_iter_dataset(grain.ReadOptions(num_threads=config.workers, prefetch_buffer_size=4 * config.workers))
    )


def validation_batches(
    split: Split, config: BatchConfig, rows: np.ndarray, groups: int = 1, part: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every row of `rows` once, in the given spelling, with the rows of the whole batch as its texts lie (`EMPTY` where
    there is none). `part` as in `training_batch`."""
    schedule = Schedule(rows, lengths_of(split, config), config, seed=0)
    for step in range(schedule.steps_per_epoch):
        places = schedule.batch(step, groups)
        chosen = places if part is None else [places[group] for group in part]
        yield np.concatenate([group.text for group in places]), assemble(split, schedule, chosen, groups, {})
