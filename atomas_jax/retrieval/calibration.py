"""What a cosine is worth in an index: the probability that a hit is the molecule meant, and from where on none is.

Cosines of two models, or of one model in two libraries, mean different things. They are put in relation by pairs of
text and molecule that the model was not trained on. Each text asks the index twice: once with its own molecule among
the others, once without (what the index holds of it, stereo twins too, is left out both times). Of the first `HITS`
hits of all these questions, half of which had an answer,

- the probability of a hit is a logistic curve of its cosine, fitted to whether it was the text's own molecule (Platt,
  1999, with his smoothed targets);
- "nothing here matches" is said where the best cosine is below the value that 95 % of the questions with an answer
  reach; how many of those without one it turns away is measured and told: it says how much the answer is worth.

Letters: M pairs, E embedding width.
"""

from dataclasses import dataclass

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.retrieval.index import Index, IndexWriter
from atomas_jax.retrieval.search import nearest
from atomas_jax.retrieval.segments import check

HITS = 10
"""Hits of a question that the curve is fitted to."""
KEPT = 0.95
"""Share of the questions with an answer that are answered."""
FEWEST = 20
"""Pairs below which nothing is fitted."""
_SPARE = 32  # rows of a pair's own molecule and its twins, left out of what the index gives


@dataclass(frozen=True)
class Calibration:
    """`slope`, `intercept` of the curve over cosines; `threshold`: a best cosine below it means that nothing matches.

    `turned_away`: share of the texts without a molecule here that the threshold turns away. `error`: mean absolute
    difference between probability and what was so, in ten bins, on pairs left out of the fit. `pairs`: M.
    """

    slope: float
    intercept: float
    threshold: float
    turned_away: float
    error: float
    pairs: int

    def probability(self, cosine: np.ndarray) -> np.ndarray:
        """That a hit of this cosine is the molecule meant, if half of all questions have an answer here."""
        return _curve(self.slope, self.intercept, np.asarray(cosine, np.float64))


def calibration_of(index: Index) -> Calibration | None:
    """The calibration an index holds, if it has one."""
    entry = index.manifest["calibration"]
    return Calibration(**entry["fit"]) if entry and entry["fit"] else None


def calibration_texts(index: Index) -> np.ndarray | None:
    """Embeddings float32 [M, E] of the texts an index was calibrated on, if it was."""
    if not (entry := index.manifest["calibration"]):
        return None
    with np.load(check(index.folder, entry)) as pairs:
        return pairs["texts"]


def calibrate(writer: IndexWriter, texts: np.ndarray, molecules: np.ndarray, keys: list[str], source: str) -> None:
    """Fit an index's calibration to pairs and keep them in it, so that it can be fitted again when rows change.

    Args:
      texts, molecules: float32 [M, E], embeddings; row m of both is a pair. keys: flat keys of the molecules.
      source: what pairs they are, for the manifest.
    """

    def write(path):
        with path.open("wb") as file:
            np.savez(file, texts=texts, molecules=molecules, keys=np.array(keys))

    writer.replace_file("calibration", ".npz", write, source=source, fit=_fitted(writer.index, texts, molecules, keys))


def recalibrate(writer: IndexWriter) -> None:
    """Fit the calibration to the rows an index has now, if it has pairs to fit to."""
    entry = writer.manifest["calibration"]
    if not entry:
        return
    with np.load(check(writer.folder, entry)) as pairs:
        fit = _fitted(writer.index, pairs["texts"], pairs["molecules"], pairs["keys"].tolist())
    writer.commit(calibration=entry | {"fit": fit})


def _fitted(index: Index, texts: np.ndarray, molecules: np.ndarray, keys: list[str]) -> dict | None:
    if len(texts) != len(molecules) or len(texts) != len(keys):
        raise UserError(f"calibration: {len(texts)} texts, {len(molecules)} molecules, {len(keys)} keys: not pairs")
    if len(texts) < FEWEST or len(index) <= HITS:
        return None
    own = np.einsum("me,me->m", texts, molecules)
    others = _others(index, texts, keys)
    fit = fit_curve(own, others)
    return vars(fit)


def _others(index: Index, texts: np.ndarray, keys: list[str]) -> np.ndarray:
    """The best cosines of every text with rows that are not its molecule, float [M, HITS], best first."""
    hits = nearest(texts, index.rows, HITS + _SPARE, index.alive)
    alike = index.numbers_of(set(keys), "flat_key")
    key_of = dict(zip(alike.tolist(), index.rows.column("flat_key").take(alike).to_pylist()))
    others = np.full((len(texts), HITS), -1.0)
    for row, (key, numbers, scores) in enumerate(zip(keys, hits.index, hits.score)):
        left = [score for number, score in zip(numbers, scores) if number >= 0 and key_of.get(number) != key][:HITS]
        others[row, : len(left)] = left
    return others


def fit_curve(own: np.ndarray, others: np.ndarray) -> Calibration:
    """The calibration of texts whose own molecule has cosine `own` [M], and other molecules `others` [M, HITS]."""
    best_there = np.maximum(own, others[:, 0])
    threshold = float(np.quantile(best_there, 1 - KEPT))
    odd = np.arange(len(own)) % 2 == 1
    left_out = _logistic(*_examples(own[odd], others[odd]))
    cosine, meant = _examples(own[~odd], others[~odd])
    said = _curve(*left_out, cosine)
    bins = np.minimum((said * 10).astype(int), 9)
    gaps = [abs((said - meant)[bins == b].sum()) for b in range(10)]
    return Calibration(
        *_logistic(*_examples(own, others)),
        threshold=threshold,
        turned_away=float((others[:, 0] < threshold).mean()),
        error=float(sum(gaps) / len(said)),
        pairs=len(own),
    )


def _examples(own: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cosines of the first hits with and without the own molecule there, and whether each is it."""
    all_there = np.concatenate([own[:, None], others], axis=1)
    order = np.argsort(-all_there, axis=1, kind="stable")[:, :HITS]
    there = np.take_along_axis(all_there, order, 1)
    cosine = np.concatenate([there.ravel(), others.ravel()])
    return cosine, np.concatenate([(order == 0).ravel(), np.zeros(others.size)]).astype(np.float64)


def _curve(slope: float, intercept: float, cosine: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(slope * cosine + intercept, -60, 60)))


def _logistic(cosine: np.ndarray, meant: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the likeliest logistic curve, by Newton's method."""
    centre, spread = cosine.mean(), max(cosine.std(), 1e-6)
    x = np.stack([(cosine - centre) / spread, np.ones(len(cosine))], axis=1)
    positive = meant.sum()
    # Platt's targets keep a curve from becoming a step where the two kinds do not overlap
    target = np.where(meant > 0, (positive + 1) / (positive + 2), 1 / (len(meant) - positive + 2))
    weights = np.zeros(2)
    for _ in range(100):
        said = _curve(weights[0], weights[1], x[:, 0])
        gradient = x.T @ (said - target) + 1e-6 * weights
        hessian = (x * (said * (1 - said))[:, None]).T @ x + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        # a full step overshoots where the curve is nearly flat
        weights -= step * min(1.0, 2.0 / max(np.abs(step).max(), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return float(weights[0] / spread), float(weights[1] - weights[0] * centre / spread)
