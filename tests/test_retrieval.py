"""Exact search against NumPy, on one device and on eight; embeddings on eight devices."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atomas_jax.model.widths import ATTENTION, fitting
from atomas_jax.retrieval import search


def signs(count: int, seed: int) -> np.ndarray:
    """Unit vectors [count, 4] whose similarities are exact in any order of summing, most of them ties."""
    return (np.random.default_rng(seed).choice([-1.0, 1.0], (count, 4)) / 2).astype(np.float32)


def by_sorting(queries, library, k, keep=None):
    similarity = queries @ library.T
    similarity = similarity if keep is None else np.where(keep, similarity, -np.inf)
    index = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    score = np.take_along_axis(similarity, index, 1)
    return np.where(np.isneginf(score), -1, index), score


@pytest.mark.parametrize("kept", [None, 0.5, 0.03])
def test_equals_a_full_sort_ties_and_blocks_included(monkeypatch, kept):
    monkeypatch.setattr(search, "BLOCK", 32)
    monkeypatch.setattr(search, "QUERIES", 4)
    library, queries = signs(150, 0), signs(9, 1)
    keep = None if kept is None else np.random.default_rng(2).random(150) < kept
    hits = search.nearest(queries, library, 60, keep)
    index, score = by_sorting(queries, library, 60, keep)
    np.testing.assert_array_equal(hits.index, index)
    np.testing.assert_array_equal(hits.score, score)


def test_a_library_smaller_than_k_gives_all_of_it():
    hits = search.nearest(np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32), 10)
    assert hits.index.shape == (1, 3)
    assert hits.index.tolist() == [[0, 1, 2]]


def test_long_strings_are_embedded_few_at_a_time():
    for rows in (1, 3, 64, 100):
        for width in (32, 512, 1024, 2048, 4096, 16384):
            fit = fitting(rows, width)
            assert fit == 1 or fit * width**2 <= ATTENTION
            assert 1 <= fit < 2 * rows and fit & (fit - 1) == 0
    assert fitting(64, 512) == 64


def test_nothing_kept_or_nothing_there_gives_no_hit():
    eye = np.eye(3, dtype=np.float32)
    assert search.nearest(eye, eye, 2, np.zeros(3, bool)).index.tolist() == [[-1, -1]] * 3
    assert search.nearest(eye, eye[:0], 2).index.shape == (3, 0)


ON_EIGHT = """
import sys
sys.path[:0] = {path!r}
import jax, numpy as np
from small_run import SMALL
from test_retrieval import by_sorting, signs
from atomas_jax.config import Experiment
from atomas_jax.model.atomas import initial_parameters
from atomas_jax.retrieval import search
from atomas_jax.retrieval.embeddings import _embed, embed

assert len(jax.devices()) == 8
search.BLOCK = 8
library, queries = signs(150, 0), signs(9, 1)
keep = np.random.default_rng(2).random(150) < 0.5
for k, kept in ((60, keep), (5, None)):
    for mine, want in zip(search.nearest(queries, library, k, kept), by_sorting(queries, library, k, kept)):
        np.testing.assert_array_equal(mine, want)

params = initial_parameters(SMALL.model, jax.random.key(0))
strings = [[3 + i, 4, 1] for i in range(11)]
together = embed(params, SMALL.model, "text", strings)
tokens = np.zeros((11, 32), np.int32)
tokens[:, :3] = strings
np.testing.assert_allclose(together, _embed(params, tokens, config=SMALL.model, modality="text"), atol=1e-6)
print("equal")
"""


@pytest.mark.multiprocess
def test_eight_devices_give_what_one_gives():
    here = Path(__file__).resolve().parent
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    program = ON_EIGHT.format(path=[str(here), str(here.parent)])
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "equal", done.stderr
