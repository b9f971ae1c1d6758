"""Top-p: the tokens kept are those of sorting and adding up, and Hugging Face's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.decoding.nucleus import nucleus

kept = jax.jit(nucleus, static_argnames="mass")


def by_sorting(row: np.ndarray, mass: float) -> np.ndarray:
    order = np.argsort(-row, kind="stable")
    probability = np.exp(np.float64(row) - np.float64(row).max())
    probability = (probability / probability.sum())[order]
    stays = np.empty(len(row), bool)
    stays[order] = np.cumsum(probability) - probability < mass
    return stays


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**31),
    spread=st.sampled_from([0.01, 1.0, 10.0]),
    step=st.sampled_from([0.0, 0.25, 2.0]),
    hidden=st.floats(0, 0.9),
    mass=st.sampled_from([0.001, 0.31, 0.9, 0.9999]),
)
def test_the_tokens_are_those_of_sorting_and_adding_up(seed, spread, step, hidden, mass):
    random = np.random.default_rng(seed)
    logits = random.normal(0, spread, (3, 200)).astype(np.float32)
    if step:
        logits = np.round(logits / step) * step  # many are equal
    logits[random.random(logits.shape) < hidden] = -np.inf
    logits[:, 7] = 0.5
    found = np.asarray(kept(jnp.asarray(logits), mass=mass))
    for row, ours in zip(logits, found, strict=True):
        known = by_sorting(row, mass)
        # float32 sums may differ in the last token
        assert np.sum(ours != known) <= (1 if mass < 0.99 else 2)
        assert ours[np.isfinite(row)].any() and np.all(row[ours].min() >= row[~ours & np.isfinite(row)])


def test_neighbours_among_numbers_and_rows_of_one_token_end():
    near = np.nextafter(np.float32(1), np.float32(2))
    logits = np.full((4, 128), -np.inf, np.float32)
    logits[0, :2] = 1, near
    logits[1, 5] = -1e30
    logits[2] = 0
    logits[3, :3] = 3e38, -3e38, 0
    found = np.asarray(kept(jnp.asarray(logits), mass=0.5))
    assert np.flatnonzero(found[0]).tolist() == [1] and np.flatnonzero(found[1]).tolist() == [5]
    assert np.flatnonzero(found[2]).tolist() == list(range(64)) and np.flatnonzero(found[3]).tolist() == [0]
    # a mass that float32 has no number for
    assert np.sum(kept(jnp.asarray(logits), mass=1e-46), axis=1).tolist() == [1] * 4


@pytest.mark.torch
@pytest.mark.parametrize("step", [0.0, 0.5])
def test_as_many_as_hugging_face_keeps(step):
    torch = pytest.importorskip("torch")
    warper = pytest.importorskip("transformers").TopPLogitsWarper
    random = np.random.default_rng(3)
    logits = random.normal(0, 3, (16, 4096)).astype(np.float32)
    logits[:, random.random(4096) < 0.3] = -np.inf
    logits[8:] *= 3
    if step:
        logits = np.round(logits / step) * step
    for mass in (1e-6, 0.1, 0.5, 0.9, 0.95):
        theirs = warper(mass)(None, torch.tensor(logits)).numpy()
        ours = np.where(kept(jnp.asarray(logits), mass=mass), logits, -np.inf)
        # of equals they keep the last, we the first
        np.testing.assert_array_equal(np.sort(ours), np.sort(theirs))
        if not step:
            np.testing.assert_array_equal(ours, theirs)
