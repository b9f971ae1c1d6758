"""Density-peak clustering against the formulas written out in float64, and on the strings that break clusterings."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atomas_jax.model.clustering import CLUSTERINGS, cluster_count, density_peaks, spans

density_peaks = jax.jit(density_peaks, static_argnums=(3, 4))
spans = jax.jit(spans, static_argnums=(3, 4))


def by_the_book(x: np.ndarray, clusters: int, k: int) -> tuple[np.ndarray, list[int]]:
    """One string without padding, float64, loops; ties by position."""
    count, width = x.shape
    distance = np.array([[np.linalg.norm(a - b) / np.sqrt(width) for b in x] for a in x.astype(np.float64)])
    density = [np.exp(-np.mean(np.sort(row**2)[:k])) for row in distance]
    prominence = []
    for i in range(count):
        denser = [distance[i, j] for j in range(count) if density[j] > density[i]]
        prominence.append(density[i] * (min(denser) if denser else distance.max()))
    centres = sorted(range(count), key=lambda i: (-prominence[i], i))[:clusters]
    assignment = np.array([centres.index(i) if i in centres else np.argmin(distance[i, centres]) for i in range(count)])
    return assignment, centres


def padded(strings: list[np.ndarray], length: int, filler: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    x = np.full((len(strings), length, strings[0].shape[1]), filler, np.float32)
    mask = np.zeros(x.shape[:2], bool)
    for row, string in enumerate(strings):
        x[row, : len(string)], mask[row, : len(string)] = string, True
    return x, mask


@pytest.mark.parametrize("k", [1, 3, 5])
def test_density_peaks_is_the_formula_whatever_the_length_the_padding_and_the_filler(k):
    rng = np.random.default_rng(k)
    strings = [rng.normal(size=(n, 8)).astype(np.float32) for n in (24, 17, 9, 5, 4, 3, 1, 24)]
    if k == 1:
        # Every density is exp(0): all by position, which the book's own tie-break does not cover for delta.
        strings = strings[-2:]
        strings[1] = strings[1][:1]
    x, mask = padded(strings, 24, filler=50.0)
    counts = cluster_count(mask.sum(1, dtype=np.int32), 0.25)
    found = density_peaks(x, mask, counts, k, 6)
    for row, string in enumerate(strings):
        clusters = -(-len(string) // 4)
        assignment, centres = by_the_book(string, clusters, k)
        assert found.assignment[row, : len(string)].tolist() == assignment.tolist()
        assert found.centres[row, :clusters].tolist() == centres
        assert found.mask[row].tolist() == [c < clusters for c in range(6)]
        assert not found.assignment[row, len(string) :].any()


def test_a_token_sees_neither_its_batch_nor_its_padding():
    rng = np.random.default_rng(7)
    strings = [rng.normal(size=(n, 8)).astype(np.float32) for n in (12, 12, 7, 2)]
    strings[1][3:9] = strings[1][3]
    narrow, wide = padded(strings, 12), padded(strings[::-1], 40, filler=-3.0)
    counts = np.array([4, 5, 3, 1], np.int32)
    first = density_peaks(*narrow, counts, 3, 6)
    second = density_peaks(*wide, counts[::-1], 3, 9)
    for row, string in enumerate(strings):
        there = second.assignment[len(strings) - 1 - row]
        assert first.assignment[row, : len(string)].tolist() == there[: len(string)].tolist()


def test_equal_tokens_are_ranked_by_position():
    x = np.ones((1, 8, 16), np.float32)
    found = density_peaks(x, np.ones((1, 8), bool), np.array([3], np.int32), 3, 3)
    assert found.centres.tolist() == [[0, 1, 2]]
    assert found.assignment.tolist() == [
        [0, 1, 2, 0, 0, 0, 0, 0]
    ]  # a centre joins itself, the others the first of equals


def test_tokens_equal_up_to_rounding_are_one_point():
    """What a padded and an unpadded program give for the same token differs in the last bits; clusters must not."""
    rng = np.random.default_rng(0)
    point, other = rng.normal(size=(2, 64)).astype(np.float32)
    x = np.stack([point, other, point, point, other, point])[None]
    noisy = (x * (1 + 1e-7 * rng.normal(size=x.shape))).astype(np.float32)
    mask, counts = np.ones((1, 6), bool), np.array([4], np.int32)
    exact, rounded = density_peaks(x, mask, counts, 3, 4), density_peaks(noisy, mask, counts, 3, 4)
    assert exact.centres.tolist() == rounded.centres.tolist()
    assert exact.assignment.tolist() == rounded.assignment.tolist()
    assert exact.centres[0, :2].tolist() == [0, 1]  # one of each point first, then the duplicates


def test_duplicates_are_the_last_to_become_centres():
    rng = np.random.default_rng(1)
    distinct = rng.normal(size=(4, 16)).astype(np.float32)
    x = distinct[[0, 0, 1, 1, 1, 2, 2, 3]][None]
    found = density_peaks(x, np.ones((1, 8), bool), np.array([4], np.int32), 3, 4)
    assert sorted(found.centres[0].tolist()) == [0, 2, 5, 7]
    clusters = [found.assignment[0, i].item() for i in (0, 2, 5, 7)]
    assert found.assignment[0].tolist() == [clusters[i] for i in (0, 0, 1, 1, 1, 2, 2, 3)]


@pytest.mark.parametrize("name", CLUSTERINGS)
def test_short_and_empty_strings(name):
    cluster = jax.jit(CLUSTERINGS[name], static_argnums=(3, 4))
    x = np.random.default_rng(2).normal(size=(4, 6, 8)).astype(np.float32)
    mask = np.arange(6) < np.array([0, 1, 2, 6])[:, None]
    counts = np.array([0, 1, 1, 3], np.int32)
    found = cluster(x, mask, counts, 50, 3)
    assert found.mask.sum(1).tolist() == [0, 1, 1, 3]
    assert not found.assignment[:3].any()
    assert set(found.assignment[3].tolist()) == {0, 1, 2}
    real = np.where(found.mask, found.centres, 0)
    assert np.take_along_axis(mask, real, 1)[found.mask].all(), "a padding token is a centre"


def test_every_centre_is_in_its_own_cluster():
    rng = np.random.default_rng(3)
    x = rng.integers(0, 2, size=(16, 20, 3)).astype(np.float32)  # few distinct points: ties everywhere
    mask = np.arange(20) < rng.integers(1, 21, size=16)[:, None]
    counts = cluster_count(mask.sum(1, dtype=np.int32), 0.5)
    found = density_peaks(x, mask, counts, 3, 10)
    joined = np.take_along_axis(np.asarray(found.assignment), np.asarray(found.centres), 1)
    assert (joined == np.arange(10))[found.mask].all()
    assert (found.assignment < counts[:, None]).all()


def test_no_gradient_leaves_the_clustering():
    x = jnp.asarray(np.random.default_rng(4).normal(size=(1, 6, 4)), jnp.float32)

    def total(x):
        clusters = density_peaks(x, jnp.ones((1, 6), bool), jnp.array([2]), 3, 2)
        return (x * (clusters.assignment[:, :, None] + 1)).sum()

    assert np.isfinite(jax.grad(total)(x)).all()


def test_spans_are_contiguous_and_nearly_equal():
    mask = np.arange(11) < np.array([11, 5])[:, None]
    found = spans(np.zeros((2, 11, 1), np.float32), mask, np.array([3, 2], np.int32), 3, 3)
    assert found.assignment[0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert found.assignment[1].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]
    assert found.centres[0].tolist() == [0, 4, 8]
    assert found.mask.tolist() == [[True, True, True], [True, True, False]]


def test_counts_are_ceilings_of_the_true_product():
    assert [cluster_count(n, 0.25) for n in (0, 1, 4, 5, 8, 9, 512)] == [0, 1, 1, 2, 2, 3, 128]
    # 0.1 * 30 and 0.7 * 10 are above 3 and below 7 in floats; neither may show.
    assert [cluster_count(n, 0.1) for n in (30, 31)] == [3, 4]
    assert cluster_count(10, 0.7) == 7
    assert cluster_count(jnp.array([3, 30, 60], jnp.int32), 0.1).tolist() == [1, 3, 6]
