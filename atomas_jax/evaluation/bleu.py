"""Corpus BLEU from the n-gram counts of single rows, equal to NLTK's `corpus_bleu` (one reference, no smoothing).

Counting once per row, and adding up afterwards, makes a bootstrap over rows one matrix product. Source: Papineni et
al., ACL 2002, in the form of `nltk.translate.bleu_score` (method0): a prediction too short to hold an n-gram counts
one empty place in the denominator.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from atomas_jax.evaluation.bootstrap import Estimator

ORDERS = 4
COLUMNS = 2 * ORDERS + 2
"""Matches of 1- to 4-grams, places for them, length of the prediction, length of the reference."""

NAMES = {"BLEU": 4, "BLEU-2": 2, "BLEU-4": 4}
"""Scores that are BLEU of a result's "BLEU counts", and their order."""


def counts(reference: Sequence, prediction: Sequence) -> list[int]:
    """The `COLUMNS` integers of one row, from two sequences of tokens (or two strings: their characters)."""
    matches, places = [], []
    for n in range(1, ORDERS + 1):
        there = Counter(zip(*(reference[i:] for i in range(n))))
        here = Counter(zip(*(prediction[i:] for i in range(n))))
        matches.append(sum(min(count, there[gram]) for gram, count in here.items() if gram in there))
        places.append(max(1, len(prediction) - n + 1))
    return [*matches, *places, len(prediction), len(reference)]


def bleu(totals: np.ndarray, order: int = ORDERS) -> np.ndarray:
    """BLEU, uniform weights up to `order`, from totals [..., COLUMNS]; float64 [...]; 0 if an order has no match."""
    matches, places = totals[..., :order], totals[..., ORDERS : ORDERS + order]
    here, there = totals[..., 2 * ORDERS], totals[..., 2 * ORDERS + 1]
    any_match = (matches > 0).all(axis=-1)
    precision = np.where(any_match[..., None], matches, 1.0) / np.maximum(places, 1)  # 0: no row at all
    brevity = np.where(here > there, 1.0, np.exp(1.0 - there / np.maximum(here, 1)))
    return np.where(any_match, brevity * np.exp(np.log(precision).mean(axis=-1)), 0.0)


def bleu_of(row_counts: np.ndarray, order: int = ORDERS) -> Estimator:
    """Corpus BLEU as a function of row weights, for `bootstrap.scores`; `row_counts` [N, COLUMNS]."""
    columns = row_counts.astype(np.float64)
    return lambda weights: bleu(weights @ columns, order)
