"""Batches: a function of (seed, step), in few shapes, every row once an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.batching.batches import training_batch, training_batches, validation_batches
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import Schedule
from atomas_jax.batching.shapes import choose_shapes, smallest_shape
from atomas_jax.errors import UserError


class MemorySplit:
    """Rows in memory with the face of `corpus.prepared.Split`."""

    def __init__(self, rows: int, seed: int = 0, longest: int = 120):
        generator = np.random.default_rng(seed)
        self.smiles = [
            [generator.integers(3, 50, generator.integers(2, longest)).astype(np.int32) for _ in range(2)]
            for _ in range(rows)
        ]
        self.text = [generator.integers(3, 50, generator.integers(2, longest)).astype(np.int32) for _ in range(rows)]
        self.molecule = (np.arange(rows) // 2).astype(np.int32)
        self.smiles_length = np.array([max(map(len, spellings)) for spellings in self.smiles], np.int32)
        self.text_length = np.array(list(map(len, self.text)), np.int32)
        self.spellings = np.full(rows, 2, np.int32)

    def __len__(self):
        return len(self.text)

    def smiles_tokens(self, row, spelling=0):
        return self.smiles[row][spelling]

    def text_tokens(self, row):
        return self.text[row]


CONFIG = BatchConfig(pairs=8, max_smiles=100, max_text=64)


LENGTHS = st.lists(st.tuples(st.integers(1, 200), st.integers(1, 200)), min_size=1, max_size=40)


@settings(deadline=None, max_examples=40)
@given(LENGTHS, st.integers(1, 5))
def test_shapes_hold_every_pair_and_pad_no_more_than_one_shape_or_two_halves(lengths, count):
    """Against one shape for all, and against the best cut of the texts in two."""
    smiles, text = np.array(lengths).T
    shapes = choose_shapes(smiles, text, count)
    assert 1 <= len(shapes) <= count
    assert list(shapes) == sorted(shapes, key=sum)
    chosen = np.array(shapes)[smallest_shape(smiles, text, shapes)]
    assert (chosen[:, 0] >= smiles).all() and (chosen[:, 1] >= text).all()
    assert not (np.array(shapes) % 8).any()

    def rounded(rows):
        return (-(-smiles[rows].max() // 8) * 8 + -(-text[rows].max() // 8) * 8) * rows.sum() if rows.any() else 0

    assert chosen.sum() <= rounded(np.ones(len(text), bool))
    if len({(-(-s // 8), -(-t // 8)) for s, t in lengths}) <= count:
        assert chosen.sum() == sum(-(-s // 8) * 8 + -(-t // 8) * 8 for s, t in lengths)


def test_two_kinds_of_pairs_get_a_shape_each():
    smiles, text = np.array([10] * 50 + [100] * 5), np.array([60] * 50 + [30] * 5)
    assert choose_shapes(smiles, text, 2) == ((16, 64), (104, 32))


def test_an_epoch_sees_every_usable_row_exactly_once():
    split = MemorySplit(203)
    schedule = Schedule(split, CONFIG, seed=1)
    usable = set(np.flatnonzero(split.smiles_length <= CONFIG.max_smiles))
    assert schedule.left_out == len(split) - len(usable)
    for epoch in range(3):
        steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
        batches = [schedule.batch_rows(step)[0] for step in steps]
        seen = np.concatenate(batches)
        assert len(seen) == len(set(seen))
        assert set(seen) == usable
        assert sum(len(rows) < CONFIG.pairs for rows in batches) <= CONFIG.shapes


def test_a_batch_short_of_rows_is_filled_with_empty_ones():
    split = MemorySplit(203)
    schedule = Schedule(split, CONFIG, seed=1)
    sizes = [len(schedule.batch_rows(step)[0]) for step in range(schedule.steps_per_epoch)]
    step = next(step for step, size in enumerate(sizes) if size < CONFIG.pairs)
    batch = training_batch(split, schedule, CONFIG, 1, step)
    assert batch.smiles.shape[0] == CONFIG.pairs
    assert (batch.molecule >= 0).sum() == sizes[step]
    assert not batch.text[sizes[step] :].any()


def test_a_batch_depends_on_seed_and_step_alone():
    split = MemorySplit(100)
    first, second = Schedule(split, CONFIG, seed=3), Schedule(split, CONFIG, seed=3)
    for step in (25, 0, 7, 25):
        expected = training_batch(split, first, CONFIG, 3, step)
        list(map(second.batch_rows, range(step)))
        np.testing.assert_array_equal(training_batch(split, second, CONFIG, 3, step).smiles, expected.smiles)
    streamed = list(training_batches(split, first, CONFIG, 3, 20, 26))
    assert len(streamed) == 6
    np.testing.assert_array_equal(streamed[5].text, training_batch(split, first, CONFIG, 3, 25).text)
    other = Schedule(split, CONFIG, seed=4)
    assert any(set(other.batch_rows(step)[0]) != set(first.batch_rows(step)[0]) for step in range(5))


def test_batches_hold_their_rows_whole_in_few_shapes():
    split = MemorySplit(300)
    schedule = Schedule(split, CONFIG, seed=0)
    shapes = set()
    for step in range(schedule.steps_per_epoch):
        rows, shape = schedule.batch_rows(step)
        batch = training_batch(split, schedule, CONFIG, 0, step)
        shapes.add(shape)
        assert batch.smiles.shape == batch.target_smiles.shape == (8, shape.smiles)
        assert batch.text.shape == (8, shape.text)
        for position, row in enumerate(rows):
            written = batch.smiles[position][batch.smiles[position] != 0]
            assert any(np.array_equal(written, spelling) for spelling in split.smiles[row])
            target = batch.target_smiles[position]
            np.testing.assert_array_equal(target[target != 0], split.smiles[row][0])
            text = batch.text[position]
            np.testing.assert_array_equal(text[text != 0], split.text[row][: CONFIG.max_text])
            assert batch.molecule[position] == split.molecule[row]
    assert len(shapes) <= CONFIG.shapes


def test_few_tokens_are_padding():
    assert Schedule(MemorySplit(2000), CONFIG, seed=0).real_tokens > 0.7


def test_validation_sees_every_row_once():
    split = MemorySplit(53)
    rows = np.arange(5, 50)
    seen = []
    for chosen, batch in validation_batches(split, CONFIG, rows):
        assert batch.smiles.shape[0] == CONFIG.pairs
        assert (batch.molecule[len(chosen) :] == -1).all()
        assert not batch.smiles[len(chosen) :].any()
        np.testing.assert_array_equal(
            (batch.smiles != 0).sum(1)[: len(chosen)], [len(split.smiles[i][0]) for i in chosen]
        )
        seen.extend(chosen)
    assert sorted(seen) == list(rows)


def test_too_few_rows_is_one_clear_line():
    with pytest.raises(UserError, match=r"5 usable pairs .* do not fill one batch of 8: lower batches\.pairs"):
        Schedule(MemorySplit(5, longest=20), CONFIG, seed=0)
