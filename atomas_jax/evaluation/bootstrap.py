"""Bootstrap intervals over rows: every metric is a function of row weights, and a resample is one weight vector.

The value of a metric has all weights 1; a resample draws N rows with replacement and weighs each by how often it was
drawn. So one function gives the value and its interval, for means, ratios, corpus BLEU and medians alike, and two
systems resampled with one seed are resampled alike: their difference is paired.
"""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from atomas_jax.evaluation.results import Score

RESAMPLES = 1000
_BLOCK_NUMBERS = 4_000_000  # weights held at once: 32 MB

Estimator = Callable[[np.ndarray], np.ndarray]
"""Row weights float64 [R, N] to values [R]; NaN where the metric has no value."""


def resamples(rows: int, count: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Weights float64 [R, N] of `count` resamples in all, in blocks; the same for the same arguments."""
    random = np.random.default_rng(seed)
    block = max(1, min(count, _BLOCK_NUMBERS // rows))
    for start in range(0, count, block):
        drawn = random.integers(rows, size=(min(block, count - start), rows), dtype=np.int64)
        drawn += np.arange(len(drawn))[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def scores(estimators: Mapping[str, Estimator], rows: int, count: int = RESAMPLES, seed: int = 0) -> dict[str, Score]:
    """Value and 95 % percentile interval of every estimator over `rows` rows.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 13.3 (percentile interval).
    """
    ones = np.ones((1, rows))
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in estimators}
    for weights in resamples(rows, count, seed):
        for name, estimate in estimators.items():
            drawn[name].append(estimate(weights))
    found = {}
    for name, estimate in estimators.items():
        values = np.concatenate(drawn[name])
        values = values[~np.isnan(values)]
        low, high = np.quantile(values, [0.025, 0.975]) if len(values) else (np.nan, np.nan)
        found[name] = Score(float(estimate(ones)[0]), float(low), float(high))
    return found


def mean_of(values: np.ndarray) -> Estimator:
    """The mean over the rows that have a value: `values` [N], NaN for a row left out."""
    present = ~np.isnan(values)
    filled = np.where(present, values, 0.0)
    columns = np.stack([filled, present.astype(np.float64)], axis=1)

    def estimate(weights: np.ndarray) -> np.ndarray:
        total, count = (weights @ columns).T
        return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)

    return estimate


def median_of(values: np.ndarray) -> Estimator:
    """The median over rows: `values` [N] without NaN; the mean of the two middle values when N is even."""
    order = np.argsort(values, kind="stable")
    ordered = np.asarray(values, np.float64)[order]
    low, high = (len(values) - 1) // 2, len(values) // 2

    def estimate(weights: np.ndarray) -> np.ndarray:
        reached = np.cumsum(weights[:, order], axis=1)
        # A resample is a multiset of N rows: its element number m (from 0) is the first row whose running count
        # exceeds m.
        first, second = (np.argmax(reached > m, axis=1) for m in (low, high))
        return (ordered[first] + ordered[second]) / 2

    return estimate
