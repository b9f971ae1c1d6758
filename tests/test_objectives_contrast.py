"""The global alignment against its formulas in float64; the queue; molecules that come twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atomas_jax.objectives.contrast import enqueue, momentum_contrast, sigmoid_contrast, softmax_contrast, start_queue

TAU, ALPHA = 0.3, 0.4
DISTINCT = np.arange(4, dtype=np.int32)

momentum_contrast = jax.jit(momentum_contrast, static_argnums=(7, 8))
softmax_contrast = jax.jit(softmax_contrast, static_argnums=4)
sigmoid_contrast = jax.jit(sigmoid_contrast, static_argnums=5)
enqueue = jax.jit(enqueue)


def units(rng, rows: int, width: int = 6) -> np.ndarray:
    x = rng.normal(size=(rows, width)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def made():
    """Online and momentum features of four pairs, and a queue of five whose entries hold molecules -1 -1 2 7 2."""
    rng = np.random.default_rng(0)
    queue = start_queue(jax.random.key(0), 5, 6)._replace(molecule=jnp.array([-1, -1, 2, 7, 2], jnp.int32))
    return [units(rng, 4) for _ in range(4)], queue


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def momentum_by_the_book(features, queue, molecule, mask_duplicates: bool) -> float:
    text, smiles, text_m, smiles_m = (x.astype(np.float64) for x in features)
    queued = {"text": np.asarray(queue.text, np.float64), "smiles": np.asarray(queue.smiles, np.float64)}
    ids = [*molecule, *np.asarray(queue.molecule)]
    losses = []
    for query, query_m, keys in (
        (text, text_m, np.concatenate([smiles_m, queued["smiles"]])),
        (smiles, smiles_m, np.concatenate([text_m, queued["text"]])),
    ):
        for i in range(len(molecule)):
            kept = [j for j in range(len(keys)) if j == i or not (mask_duplicates and ids[j] == molecule[i])]
            target = ALPHA * softmax(keys[kept] @ query_m[i] / TAU)
            target[kept.index(i)] += 1 - ALPHA
            losses.append(-target @ np.log(softmax(keys[kept] @ query[i] / TAU)))
    return sum(losses) / len(molecule) / 2


@pytest.mark.parametrize("duplicates", ["mask", "negatives"])
@pytest.mark.parametrize("molecule", [(0, 1, 2, 3), (2, 1, 2, 3)])
def test_momentum_contrast_is_the_formula(made, molecule, duplicates):
    """(0, 1, 2, 3) has two stale entries of 2 in the queue, (2, 1, 2, 3) one molecule twice in the batch as well."""
    features, queue = made
    found = momentum_contrast(*features, queue, np.array(molecule, np.int32), TAU, ALPHA, duplicates)
    expected = momentum_by_the_book(features, queue, molecule, duplicates == "mask")
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_stale_positive_does_not_matter_and_a_random_start_does(made):
    features, queue = made

    def loss(slot):
        moved = queue._replace(smiles=queue.smiles.at[slot].multiply(-1.0))
        return momentum_contrast(*features, moved, np.full(4, 2, np.int32), TAU, ALPHA, "mask").item()

    assert loss(2) == loss(4) == momentum_contrast(*features, queue, np.full(4, 2, np.int32), TAU, ALPHA, "mask")
    assert loss(0) != loss(2) and loss(3) != loss(2)


def test_gradients_reach_the_online_features_and_tau_only(made):
    features, queue = made

    @jax.jit
    def slopes(*args):
        return jax.grad(lambda *a: momentum_contrast(*a[:4], queue, DISTINCT, a[4], ALPHA, "mask"), range(5))(*args)

    text, smiles, text_m, smiles_m, tau = slopes(*features, TAU)
    assert np.abs(text).min() > 0 and np.abs(smiles).min() > 0 and tau != 0
    assert not np.any(text_m) and not np.any(smiles_m)


def test_softmax_and_sigmoid_contrast_are_their_formulas(made):
    (text, smiles, *_), _ = made
    cosines = text.astype(np.float64) @ smiles.T
    rows = [-np.log(softmax(c / TAU)[i]) for x in (cosines, cosines.T) for i, c in enumerate(x)]
    np.testing.assert_allclose(softmax_contrast(text, smiles, DISTINCT, TAU, "mask"), sum(rows) / 8, rtol=1e-5)

    sign = 2 * np.eye(4) - 1
    expected = np.log1p(np.exp(-sign * (10 * cosines - 3))).sum() / 4
    np.testing.assert_allclose(sigmoid_contrast(text, smiles, DISTINCT, 10.0, -3.0, "mask"), expected, rtol=1e-5)


def test_a_second_caption_is_no_negative(made):
    """Rows 1 and 3 are one molecule, spelled alike: pushing them apart would be asking for the impossible."""
    (text, smiles, *_), _ = made
    smiles = smiles.copy()
    smiles[3] = smiles[1]
    twins = np.array([0, 1, 2, 1], np.int32)
    for loss in (
        lambda ids, rule: softmax_contrast(text, smiles, ids, TAU, rule),
        lambda ids, rule: sigmoid_contrast(text, smiles, ids, 10.0, -3.0, rule),
    ):
        assert loss(twins, "mask") < loss(twins, "negatives")
        assert loss(twins, "negatives") == loss(DISTINCT, "mask") == loss(DISTINCT, "negatives")
    perfect = np.eye(6, dtype=np.float32)[[0, 1, 2, 1]]
    assert softmax_contrast(perfect, perfect, twins, 0.01, "mask") < 1e-6
    assert softmax_contrast(perfect, perfect, twins, 0.01, "negatives") > 0.3


def test_the_queue_starts_as_unit_vectors_without_molecules():
    queue = start_queue(jax.random.key(1), 7, 6)
    np.testing.assert_allclose(np.linalg.norm(queue.text, axis=1), 1, rtol=1e-5)
    assert not np.allclose(queue.text, queue.smiles)
    assert queue.molecule.tolist() == [-1] * 7 and queue.position == 0


@pytest.mark.parametrize("batch", [2, 3, 7, 10])
def test_the_newest_batch_replaces_the_oldest_entries(batch):
    rng = np.random.default_rng(batch)
    queue = start_queue(jax.random.key(0), 7, 6)
    before = queue
    seen = []
    for step in range(4):
        ids = np.arange(step * batch, (step + 1) * batch, dtype=np.int32)
        text, smiles = units(rng, batch), units(rng, batch)
        queue = enqueue(queue, text, smiles, ids)
        seen += list(zip(ids.tolist(), text, smiles))
    assert sorted(queue.molecule.tolist()) == sorted(([-1] * 7 + [one[0] for one in seen])[-7:])
    assert queue.position == 4 * batch % 7
    for slot in range(7):
        molecule = queue.molecule[slot].item()
        text, smiles = seen[molecule][1:] if molecule >= 0 else (before.text[slot], before.smiles[slot])
        np.testing.assert_array_equal(queue.text[slot], text)
        np.testing.assert_array_equal(queue.smiles[slot], smiles)
        assert molecule < 0 or molecule % 7 == slot


def test_a_row_of_padding_leaves_the_old_entry():
    rng = np.random.default_rng(3)
    queue = start_queue(jax.random.key(0), 4, 6)
    text = units(rng, 3)
    after = enqueue(queue, text, text, np.array([5, -1, 6], np.int32))
    assert after.molecule.tolist() == [5, -1, 6, -1]
    np.testing.assert_array_equal(after.text[1], queue.text[1])
    np.testing.assert_array_equal(after.text[2], text[2])
