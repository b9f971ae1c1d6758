"""Batches: a function of (seed, step), all of one shape, fair shares of all lengths, every row once an epoch."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.batching.batches import (
    lengths_of,
    training_batch,
    training_batches,
    training_schedule,
    validation_batches,
)
from atomas_jax.batching.blocks import check_groups, choose_blocks
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import EMPTY
from atomas_jax.batching.shares import fraction, halving, share
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


CONFIG = BatchConfig(pairs=8, max_smiles=100, max_text=64, blocks=3)


def strings(blocks) -> list[list[np.ndarray]]:
    """The real tokens of every string, a list a group."""
    return [
        [row[row != 0] for block in blocks for row in block[group]] for group in range(len(blocks[0]))
    ]  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=40), st.integers(1, 6), st.sampled_from([0, 2, 4]))
def test_blocks_hold_their_share_of_the_corpus_with_least_padding(lengths, count, unit):
    lengths = np.array(lengths)
    config = BatchConfig(pairs=8, blocks=count, unit=unit)
    blocks = choose_blocks(lengths, config)
    assert 1 <= len(blocks) <= count
    assert sum(block.strings for block in blocks) == 8
    assert not any(block.length % 8 or block.strings % max(unit, 1) for block in blocks)
    held = np.repeat([block.length for block in blocks], [block.strings for block in blocks])
    assert (held == np.sort(held)).all()
    ranked = np.sort(lengths)
    assert (ranked <= held[np.arange(len(lengths)) * 8 // len(lengths)]).all()

    def padded(cuts):  # every way to cut the units into blocks
        edges = [0, *cuts, 8]
        tops = [-(-ranked[-(-end * len(ranked) // 8) - 1] // 8) * 8 for end in edges[1:]]
        return sum((end - start) * top for start, end, top in zip(edges, edges[1:], tops))

    units = range(max(unit, 1), 8, max(unit, 1))
    ways = [cuts for size in range(count) for cuts in itertools.combinations(units, size)]
    assert held.sum() == min(map(padded, ways))


def random_table(generator, parts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, and the sums of rows and columns of each part."""
    rows = generator.integers(1, 6, generator.integers(1, 7))
    columns = np.bincount(generator.integers(0, generator.integers(1, 7), rows.sum()))
    of_row, of_column = (np.repeat(np.arange(len(sums)), sums * parts) for sums in (rows, columns))
    counts = np.zeros((len(rows), len(columns)), int)
    np.add.at(counts, (of_row, generator.permutation(of_column)), 1)
    return counts, rows, columns


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_fair_shares_have_the_same_sums_and_add_up(seed, parts):
    counts, rows, columns = random_table(np.random.default_rng(seed), parts)
    half, total = halving(seed), np.zeros_like(counts)
    for part in range(parts):
        before, found = share(counts, parts, part, half)
        np.testing.assert_array_equal(before, total)
        assert (found >= 0).all() and (found.sum(1) == rows).all() and (found.sum(0) == columns).all()
        np.testing.assert_array_equal(share(counts, parts, part, halving(seed))[1], found)
        total += found
    np.testing.assert_array_equal(total, counts)


def test_a_share_is_fair_on_average():
    counts, _, _ = random_table(np.random.default_rng(5), 7)
    draws = [fraction(counts, 3, 7, np.random.default_rng([1, i])) for i in range(2000)]
    assert all((np.floor(counts * 3 / 7) <= draw).all() and (draw <= np.ceil(counts * 3 / 7)).all() for draw in draws)
    np.testing.assert_allclose(np.mean(draws, 0), counts * 3 / 7, atol=5 * 0.5 / np.sqrt(2000))


@pytest.mark.parametrize("rows", [200, 203])
def test_an_epoch_visits_every_usable_row_once(rows):
    split = MemorySplit(rows)
    schedule = training_schedule(split, CONFIG, seed=1)
    usable = np.flatnonzero(split.smiles_length <= 100)
    assert 0 < len(usable) < rows
    for epoch in range(2):
        steps = range(epoch * schedule.steps_per_epoch, (epoch + 1) * schedule.steps_per_epoch)
        seen = np.concatenate([group.text for step in steps for group in schedule.batch(step)])
        assert (seen == EMPTY).sum() < CONFIG.pairs
        assert sorted(seen[seen != EMPTY]) == list(usable)


def test_a_batch_depends_on_seed_and_step_alone():
    split = MemorySplit(100)
    first, second = training_schedule(split, CONFIG, 3), training_schedule(split, CONFIG, 3)
    for step in (25, 0, 7, 25):
        expected = training_batch(split, first, CONFIG, 3, step)
        list(map(second.batch, range(step)))
        for one, other in zip(training_batch(split, second, CONFIG, 3, step).smiles, expected.smiles):
            np.testing.assert_array_equal(one, other)
    streamed = list(training_batches(split, first, CONFIG, 3, 20, 26))
    assert len(streamed) == 6
    np.testing.assert_array_equal(streamed[5].text[0], training_batch(split, first, CONFIG, 3, 25).text[0])
    other = training_schedule(split, CONFIG, 4)
    assert any(set(other.batch(step)[0].text) != set(first.batch(step)[0].text) for step in range(5))


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_batches_hold_their_rows_whole_in_one_shape(groups):
    split = MemorySplit(300)
    config = BatchConfig(pairs=8, max_smiles=100, max_text=60, blocks=2, unit=groups)
    schedule = training_schedule(split, config, seed=0)
    shapes = set()
    for step in range(schedule.steps_per_epoch):
        batch = training_batch(split, schedule, config, 0, step, groups)
        places = schedule.batch(step, groups)
        shapes.add(tuple(block.shape for side in batch[:3] for block in side))
        assert len(batch.molecule) == groups == len(places)
        for group, smiles, target, text in zip(range(groups), *map(strings, batch[:3])):
            assert sorted(batch.partner[group]) == list(range(8 // groups))
            for position, partner in enumerate(batch.partner[group]):
                row = places[group].text[position]
                assert places[group].smiles[partner] == row
                if row == EMPTY:
                    assert batch.molecule[group, position] == -1 and not len(text[position])
                    continue
                assert any(np.array_equal(smiles[partner], spelling) for spelling in split.smiles[row])
                np.testing.assert_array_equal(target[partner], split.smiles[row][0])
                np.testing.assert_array_equal(text[position], split.text[row][:60])
                assert batch.molecule[group, position] == split.molecule[row]
    assert len(shapes) == 1


def test_how_many_groups_there_are_changes_no_pair_of_a_batch():
    split = MemorySplit(100)
    config = BatchConfig(pairs=16, max_smiles=100, max_text=64, blocks=3, unit=4)
    schedule = training_schedule(split, config, seed=2)

    def pairs(batch):
        found = []
        for smiles, text, partner in zip(strings(batch.smiles), strings(batch.text), batch.partner):
            found += [(*smiles[place], 0, *text[at]) for at, place in enumerate(partner)]
        return sorted(found)

    for step in (0, 3, 9):
        whole = training_batch(split, schedule, config, 2, step)
        assert pairs(training_batch(split, schedule, config, 2, step, 4)) == pairs(whole)
        part = training_batch(split, schedule, config, 2, step, 4, np.array([1, 3]))
        for one, other in zip(part.text, training_batch(split, schedule, config, 2, step, 4).text):
            np.testing.assert_array_equal(one, other[[1, 3]])


@pytest.mark.parametrize(
    ("changes", "shards", "accumulate", "told"),
    [
        ({}, 8, 1, r"units of 1 do not split over .* = 1 x 8: begin the run with --batches\.unit 8;"),
        ({"unit": 8}, 8, 2, r"units of 8 do not split over .* = 2 x 8: begin the run with --batches\.unit 16;"),
        ({}, 3, 1, r"batches\.pairs = 16 is not divisible by training\.accumulate x .* = 1 x 3"),
        ({}, 1, 0, r"training\.accumulate = 0: it must be at least 1"),
        ({"unit": 3}, 1, 1, r"batches\.unit = 3 does not divide batches\.pairs = 16"),
        ({"pairs": 0}, 1, 1, r"batches\.pairs = 0: it must be at least 1"),
        ({"blocks": 0}, 1, 1, r"batches\.blocks = 0: it must be at least 1"),
        ({"workers": -1}, 1, 1, r"batches\.workers = -1: it must not be negative"),
    ],
)
def test_batches_that_cannot_be_are_one_clear_line(changes, shards, accumulate, told):
    with pytest.raises(UserError, match=told):
        check_groups(BatchConfig(**{"pairs": 16, **changes}), shards, accumulate)


def test_what_the_unit_allows_no_split_of_any_corpus_refuses():
    config = BatchConfig(pairs=16, max_smiles=100, max_text=64, blocks=3, unit=4)
    groups = check_groups(config, shards=2, accumulate=2)
    for count in (1, 5, 23):  # as few rows as a validation split may have
        split = MemorySplit(count, longest=60)
        batches = list(validation_batches(split, config, np.arange(count), groups))
        assert sorted(row for rows, _ in batches for row in rows if row != EMPTY) == list(range(count))
        assert {len(batch.molecule) for _, batch in batches} == {4}


def test_few_tokens_are_padding_and_no_batch_is_of_one_length():
    """Within a batch lengths spread as they do in the corpus: what a pair is compared with does not tell its length."""
    split = MemorySplit(2000)
    config = BatchConfig(pairs=32, max_smiles=100, max_text=100)
    schedule = training_schedule(split, config, seed=0)
    assert schedule.real_tokens > 0.88
    for smiles, lengths in ((True, lengths_of(split, config).smiles), (False, lengths_of(split, config).text)):
        rows = [schedule.batch(step)[0].smiles if smiles else schedule.batch(step)[0].text for step in range(40)]
        spread = np.mean([lengths[chosen[chosen != EMPTY]].std() for chosen in rows])
        assert 0.95 < spread / lengths[schedule.rows].std() < 1.05


def test_validation_sees_every_row_once():
    split = MemorySplit(53)
    rows = np.arange(5, 50)
    seen, shapes = [], set()
    for chosen, batch in validation_batches(split, CONFIG, rows):
        shapes.add(tuple(block.shape for side in batch[:3] for block in side))
        np.testing.assert_array_equal(chosen == EMPTY, batch.molecule[0] == -1)
        smiles = strings(batch.smiles)[0]
        for position, row in enumerate(chosen):
            expected = 0 if row == EMPTY else len(split.smiles[row][0])
            assert len(smiles[batch.partner[0, position]]) == expected
        seen.extend(chosen[chosen != EMPTY])
    assert sorted(seen) == list(rows)
    assert len(shapes) == 1


def test_too_few_rows_is_one_clear_line():
    with pytest.raises(UserError, match=r"5 usable pairs .* do not fill one batch of 8: lower batches\.pairs"):
        training_schedule(MemorySplit(5, longest=20), CONFIG, seed=0)
