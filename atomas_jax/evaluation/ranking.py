"""Ranking: where in a pool does the partner of each query stand.

Rank 1 is best. A tie counts as the mean of the ranks it spans, so a model that scores everything alike is at chance,
not at the top. The pool is part of the number: rank 1 of 64 and rank 1 of 33,010 are different tasks, and every stamp
names it.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.evaluation import bootstrap
from atomas_jax.evaluation.bootstrap import Score
from atomas_jax.evaluation.results import Result, Stamp, versions_of

CUTOFFS = (1, 5, 10, 50)
_BLOCK_NUMBERS = 8_000_000  # similarities held at once: 32 MB, and about four times that while they are sorted
_ROUNDING = 1e-6  # cosines in float32 that differ by less are equal: twins must tie whatever the order of a sum


@dataclass(frozen=True)
class Ranked:
    """`ranks` float64 [Q] (halves are possible: ties), `top` int64 [Q, K]: the pool's best K for each query, best
    first."""

    ranks: np.ndarray
    top: np.ndarray


def rank_similarity(
    similarity: np.ndarray,
    partner: np.ndarray | None = None,
    positives: tuple[Sequence, Sequence] | None = None,
    top: int = 10,
    tolerance: float = 0.0,
) -> Ranked:
    """Rank every query's partner by a matrix of similarities.

    Args:
      similarity: [Q, P], higher is nearer.
      partner: int [Q], the pool row of each query's own partner; None: row q.
      positives: a label for each query and for each pool row (molecule keys, say): pool rows with the query's label
        are partners too. The best of them is ranked, and the others do not stand before it.
      top: how many of the best pool rows to return. tolerance: similarities this near are a tie.

    Raises:
      UserError: not a matrix, a value that is not a number, a partner outside the pool.
    """
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise UserError(
            f"similarities must be a matrix [queries, pool] with at least one of each, not {list(similarity.shape)}"
        )
    partner = _partners(partner, *similarity.shape)
    step = max(1, _BLOCK_NUMBERS // similarity.shape[1])
    blocks = ((i, similarity[i : i + step]) for i in range(0, len(similarity), step))
    return _rank(blocks, partner, positives, top, tolerance, similarity.shape[1])


def rank_embeddings(
    queries: np.ndarray,
    pool: np.ndarray,
    partner: np.ndarray | None = None,
    positives: tuple[Sequence, Sequence] | None = None,
    top: int = 10,
) -> Ranked:
    """The same by cosine between embeddings, queries [Q, D] and pool [P, D], without holding Q x P numbers at once."""
    queries, pool = _unit(queries, "query"), _unit(pool, "pool")
    if queries.shape[1] != pool.shape[1]:
        raise UserError(f"query embeddings have {queries.shape[1]} numbers each, pool embeddings {pool.shape[1]}")
    partner = _partners(partner, len(queries), len(pool))
    step = max(1, _BLOCK_NUMBERS // len(pool))
    blocks = ((i, queries[i : i + step] @ pool.T) for i in range(0, len(queries), step))
    return _rank(blocks, partner, positives, top, _ROUNDING, len(pool))


def ranking_metrics(
    ranks: np.ndarray,
    pool_size: int,
    pool: str = "split",
    direction: str = "text to molecule",
    cutoffs: Sequence[int] = CUTOFFS,
    extra_positives: bool = False,
    data: str = "",
    seed: int = 0,
) -> Result:
    """R@k, MRR, mean and median rank, from the ranks [Q] of one direction.

    `pool` names what was ranked among ("split", "text2mol33k", "in-batch 64", ...), `pool_size` how many; `data` is a
    hash of what was ranked (`results.data_hash`), left empty it is that of the number of queries alone. The result's
    `rows` hold "Rank" and "MRR".
    """
    ranks = np.asarray(ranks, np.float64)
    if not len(ranks):
        raise UserError("nothing to evaluate: there are no queries")
    each = {f"R@{k}": (ranks <= k).astype(np.float64) for k in cutoffs} | {"MRR": 1.0 / ranks, "Mean rank": ranks}
    estimators = {name: bootstrap.mean_of(values) for name, values in each.items()}
    estimators["Median rank"] = bootstrap.median_of(ranks)
    return Result(
        scores=bootstrap.scores(estimators, len(ranks), seed=seed),
        rows={"Rank": ranks, "MRR": each["MRR"]},
        stamp=Stamp(
            task=direction,
            protocol="ranking",
            rows=len(ranks),
            data=data or hashlib.sha256(str(len(ranks)).encode()).hexdigest()[:16],
            settings={
                "pool": f"{pool}, {pool_size:,} candidates",
                "ties": "mean rank",
                "positives": "every row of the same molecule" if extra_positives else "the query's own row",
                "bootstrap": f"{bootstrap.RESAMPLES} resamples, seed {seed}",
            },
            versions=versions_of("numpy"),
        ),
    )


def both_directions(
    texts: np.ndarray,
    molecules: np.ndarray,
    keys: Sequence[str] | None = None,
    pool: str = "split",
    data: str = "",
    seed: int = 0,
) -> tuple[dict[str, Result], dict[str, Ranked]]:
    """Rank N texts among N molecules and back; row n of both is one pair. `texts`, `molecules`: embeddings [N, D];
    `keys` [N]: equal keys are one molecule, and its rows are partners of each other (None: each row has one partner).

    Returns:
      (results, ranked), both keyed "text to molecule" and "molecule to text".
    """
    if len(texts) != len(molecules):
        raise UserError(f"{len(texts)} texts but {len(molecules)} molecules: rows are pairs")
    positives = None if keys is None else (keys, keys)
    results, ranked = {}, {}
    for direction, queries, candidates in (
        ("text to molecule", texts, molecules),
        ("molecule to text", molecules, texts),
    ):
        found = rank_embeddings(queries, candidates, positives=positives)
        ranked[direction] = found
        results[direction] = ranking_metrics(
            found.ranks, len(candidates), pool, direction, extra_positives=keys is not None, data=data, seed=seed
        )
    return results, ranked


def chance(queries: int, pool_size: int, like: Result) -> Result:
    """What a random order of the pool gives in expectation (one partner a query): R@k = k/P, mean and median rank (P
    + 1)/2, MRR = H(P)/P. Stamped like the result it is to stand beside; exact, so without intervals and without
    rows."""
    harmonic = float((1.0 / np.arange(1, pool_size + 1)).sum())
    values = {"MRR": harmonic / pool_size, "Mean rank": (pool_size + 1) / 2, "Median rank": (pool_size + 1) / 2}
    values |= {name: min(1.0, int(name[2:]) / pool_size) for name in like.scores if name.startswith("R@")}
    return Result({name: Score(values[name]) for name in like.scores}, {}, like.stamp)


def _rank(blocks, partner, positives, top, tolerance, pool_size) -> Ranked:
    query_labels, pool_labels = _labels(positives, len(partner), pool_size)
    top = min(top, pool_size)
    ranks, best = [], []
    for start, scores in blocks:
        if not np.isfinite(scores).all():
            raise UserError("a similarity is not a finite number")
        own = np.arange(pool_size)[None, :] == partner[start : start + len(scores), None]
        if query_labels is not None:
            own |= query_labels[start : start + len(scores), None] == pool_labels[None, :]
        target = np.where(own, scores, -np.inf).max(axis=1, keepdims=True)
        ahead = ((scores > target + tolerance) & ~own).sum(axis=1)
        level = ((np.abs(scores - target) <= tolerance) & ~own).sum(axis=1)
        ranks.append(1.0 + ahead + level / 2.0)
        best.append(_best(scores, top))
    return Ranked(np.concatenate(ranks), np.concatenate(best))


def _best(scores: np.ndarray, top: int) -> np.ndarray:
    """Columns int64 [Q, top] of the highest scores, best first, the lower column first among equals found."""
    if top < scores.shape[1]:
        found = np.sort(np.argpartition(-scores, top - 1, axis=1)[:, :top], axis=1)
    else:
        found = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1).astype(np.int64)


def _labels(positives, queries: int, pool_size: int):
    if positives is None:
        return None, None
    if len(positives[0]) != queries or len(positives[1]) != pool_size:
        given = f"{len(positives[0])} and {len(positives[1])}"
        raise UserError(f"labels of positives: {given} given, for {queries} queries and a pool of {pool_size}")
    numbers = {label: number for number, label in enumerate(dict.fromkeys([*positives[0], *positives[1]]))}
    return tuple(np.array([numbers[label] for label in side], dtype=np.int64) for side in positives)


def _partners(partner: np.ndarray | None, queries: int, pool_size: int) -> np.ndarray:
    partner = np.arange(queries) if partner is None else np.asarray(partner)
    if partner.shape != (queries,):
        raise UserError(f"{len(partner)} partners for {queries} queries")
    if partner.min() < 0 or partner.max() >= pool_size:
        raise UserError(f"a query's partner is row {int(partner.max())}, but the pool has {pool_size} rows")
    return partner


def _unit(embeddings: np.ndarray, what: str) -> np.ndarray:
    embeddings = np.asarray(embeddings, dtype=np.float32)
    if embeddings.ndim != 2 or 0 in embeddings.shape:
        raise UserError(f"{what} embeddings must be a matrix [rows, width], not {list(embeddings.shape)}")
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    if not np.isfinite(length).all():
        raise UserError(f"{what} embedding number {int(np.argmax(~np.isfinite(length[:, 0]))) + 1} is not finite")
    return embeddings / np.maximum(length, np.finfo(np.float32).tiny)
