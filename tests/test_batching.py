"""Batches: a function of (seed, step), in few shapes, every row once an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.batching.batches import training_batch, training_batches, validation_batches
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import Schedule
from atomas_jax.batching.shapes import choose_edges, smallest_edge
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


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 4))
def test_edges_are_the_best_there_are(lengths, count):
    """Against trying every set of edges."""
    from itertools import combinations

    lengths = np.array(lengths)

    def cost(edges):
        return np.asarray(edges)[smallest_edge(lengths, edges)].sum()

    chosen = choose_edges(lengths, count)
    assert len(chosen) <= count
    assert chosen[-1] >= lengths.max()
    candidates = sorted({-(-int(length) // 8) * 8 for length in lengths})
    best = min(
        cost((*smaller, candidates[-1])) for size in range(count) for smaller in combinations(candidates[:-1], size)
    )
    assert cost(chosen) == best


def test_an_epoch_sees_every_usable_row_at_most_once_and_misses_less_than_a_batch():
    split = MemorySplit(203)
    schedule = Schedule(split, CONFIG, seed=1)
    usable = set(np.flatnonzero(split.smiles_length <= CONFIG.max_smiles))
    assert schedule.left_out == len(split) - len(usable)
    for epoch in range(3):
        steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
        seen = np.concatenate([schedule.batch_rows(step)[0] for step in steps])
        assert len(seen) == len(set(seen))
        assert set(seen) <= usable
        assert len(usable) - len(seen) < CONFIG.pairs


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
    assert any((other.batch_rows(step)[0] != first.batch_rows(step)[0]).any() for step in range(5))


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
    assert len(shapes) <= CONFIG.smiles_edges * CONFIG.text_edges


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
