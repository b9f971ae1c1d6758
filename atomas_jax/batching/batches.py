"""From rows of a prepared corpus to arrays of fixed shape, assembled ahead of the step that needs them."""

from collections.abc import Iterator
from typing import NamedTuple

import grain
import numpy as np

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import Schedule
from atomas_jax.batching.shapes import Shape, choose_shapes, smallest_shape
from atomas_jax.corpus.prepared import Split


class Batch(NamedTuple):
    """One batch of pairs; strings end with the end mark and are padded with 0, so masks are `tokens != 0`.

    Attributes:
      smiles: int32 [B, S], what the encoder reads; any spelling of the molecule.
      target_smiles: int32 [B, S], what the decoder writes; the spelling of the corpus.
      text: int32 [B, T], both read and written.
      molecule: int32 [B], equal numbers mean the same molecule; -1 marks a row that is only padding.
    """

    smiles: np.ndarray
    target_smiles: np.ndarray
    text: np.ndarray
    molecule: np.ndarray


def pad(sequences: list[np.ndarray], length: int) -> np.ndarray:
    """int32 [B, length], each sequence cut or padded with 0 to `length`."""
    out = np.zeros((len(sequences), length), np.int32)
    for row, sequence in enumerate(sequences):
        out[row, : min(len(sequence), length)] = sequence[:length]
    return out


def assemble(
    split: Split, rows: np.ndarray, shape: Shape, spelling: np.ndarray, config: BatchConfig, part: np.ndarray | None
) -> Batch:
    """The batch of these rows, filled up with empty rows to `config.pairs`, or a part of it.

    Args:
      spelling: int [rows], picks each encoder input. part: places in the batch, all of it by itself: a process of
        several reads only its own rows.
    """
    places = np.arange(config.pairs) if part is None else part
    fill = [np.zeros(0, np.int32)] * int((places >= len(rows)).sum())
    places = places[places < len(rows)]
    rows, spelling = rows[places], spelling[places]
    return Batch(
        smiles=pad([split.smiles_tokens(int(i), int(k)) for i, k in zip(rows, spelling)] + fill, shape.smiles),
        target_smiles=pad([split.smiles_tokens(int(i), 0) for i in rows] + fill, shape.smiles),
        text=pad([split.text_tokens(int(i))[: config.max_text] for i in rows] + fill, shape.text),
        molecule=np.concatenate([split.molecule[rows], np.full(len(fill), -1)]).astype(np.int32),
    )


def training_batch(
    split: Split, schedule: Schedule, config: BatchConfig, seed: int, step: int, part: np.ndarray | None = None
) -> Batch:
    """The batch of a step, or the ascending places `part` of it: the same whatever ran before it."""
    rows, shape = schedule.batch_rows(step)
    generator = np.random.default_rng([seed, step, 1])
    other = generator.random(len(rows)) < config.random_spelling
    spelling = np.where(other, generator.integers(split.spellings[rows]), 0)
    return assemble(split, rows, shape, spelling, config, part)


def training_batches(
    split: Split, schedule: Schedule, config: BatchConfig, seed: int, start: int, stop: int,
    part: np.ndarray | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """The batches of steps `start` to `stop`, or a part of each, made by threads a few steps ahead."""
    steps = grain.MapDataset.range(start, stop).map(
        lambda step: training_batch(split, schedule, config, seed, int(step), part)
    )
    return iter(
        steps.to_iter_dataset(grain.ReadOptions(num_threads=config.workers, prefetch_buffer_size=4 * config.workers))
    )


def validation_batches(
    split: Split, config: BatchConfig, rows: np.ndarray, part: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Every row of `rows` once, in the given spelling, with the row indices of the whole batch; shortest first, the
    last batch filled with empty rows. `part` as in `assemble`."""
    smiles_length, text_length = split.smiles_length[rows], np.minimum(split.text_length[rows], config.max_text)
    shapes = choose_shapes(smiles_length, text_length, config.shapes)
    longest = Shape(max(shape.smiles for shape in shapes), max(shape.text for shape in shapes))
    order = np.lexsort((rows, text_length, smallest_shape(smiles_length, text_length, shapes)))
    for start in range(0, len(rows), config.pairs):
        chosen = order[start : start + config.pairs]
        needed = Shape(smiles_length[chosen].max(), text_length[chosen].max())
        shape = next((shape for shape in shapes if shape.holds(needed)), longest)
        spelling = np.zeros(len(chosen), np.int64)
        yield rows[chosen], assemble(split, rows[chosen], shape, spelling, config, part)
