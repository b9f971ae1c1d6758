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
from atomas_jax.evaluation.ranking_protocols import POSITIVES, ranking_protocol
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
    positives: str = POSITIVES["own"],
    data: str = "",
    seed: int = 0,
    protocol: str = "split",
    ties: str = "mean rank",
) -> Result:
    """R@k, MRR, mean and median rank, from the ranks [Q] of one direction.

    `pool` names what was ranked among ("split", "text2mol33k", "in-batch 64", ...), `pool_size` how many; `positives`
    says what was taken for found; `data` is a hash of what was ranked (`results.data_hash`), left empty it is that of
    the number of queries alone; `protocol` is a name of `ranking_protocols.RANKINGS`, `ties` the rule the ranks were
    made by. The result's `rows` hold "Rank" and "MRR". Raises `UserError` for no queries and for a rank outside the
    pool.
    """
    ranks = np.asarray(ranks, np.float64)
    if not len(ranks):
        raise UserError("nothing to evaluate: there are no queries")
    wrong = ~((ranks >= 1) & (ranks <= pool_size))
    if wrong.any():
        place = int(np.argmax(wrong))
        raise UserError(
            f"rank number {place + 1} is {ranks[place]:g}: ranks go from 1 to {pool_size:,}, the pool's size"
        )
    each = {f"R@{k}": (ranks <= k).astype(np.float64) for k in cutoffs} | {"MRR": 1.0 / ranks, "Mean rank": ranks}
    estimators = {name: bootstrap.mean_of(values) for name, values in each.items()}
    estimators["Median rank"] = bootstrap.median_of(ranks)
    return Result(
        scores=bootstrap.scores(estimators, len(ranks), seed=seed),
        rows={"Rank": ranks, "MRR": each["MRR"]},
        stamp=Stamp(
            task=direction,
            protocol=protocol,
            rows=len(ranks),
            data=data or hashlib.sha256(str(len(ranks)).encode()).hexdigest()[:16],
            settings={
                "pool": f"{pool}, {pool_size:,} candidates",
                "ties": ties,
                "positives": positives,
                "bootstrap": f"{bootstrap.RESAMPLES} resamples, seed {seed}",
            },
            versions=versions_of("numpy"),
        ),
    )


@dataclass(frozen=True)
class Pairs:
    """How N pairs and their distractors lie in two tables of texts and molecules.

    Attributes:
      count: N; row n < N of both tables is one pair, and later rows are distractors.
      keys: molecule keys of the rows of the longer table, or None; rows of equal keys are partners of each other.
      positives: a name of `POSITIVES`, what equal keys mean.
    """

    count: int
    keys: Sequence[str] | None = None
    positives: str = "own"


def both_directions(
    texts: np.ndarray,
    molecules: np.ndarray,
    pairs: Pairs | None = None,
    protocol: str = "split",
    data: str = "",
    seed: int = 0,
) -> tuple[dict[str, Result], dict[str, Ranked]]:
    """Rank N texts among M molecules and N molecules among T texts, by cosine.

    Args:
      texts, molecules: embeddings [T, E] and [M, E]; row n of both is one pair.
      pairs: where there are distractors or extra positives; None: T = M = N pairs.
      protocol: a name of `ranking_protocols.RANKINGS`. data, seed: as `ranking_metrics`.

    Returns:
      (results, ranked), both keyed "text to molecule" and "molecule to text".

    Raises: `UserError` for unequal numbers without `pairs`, a pool without the distractors its protocol asks for, and
    as `rank_embeddings`.
    """
    if pairs is None and len(texts) != len(molecules):
        raise UserError(f"{len(texts)} texts but {len(molecules)} molecules: rows are pairs")
    texts, molecules = np.asarray(texts), np.asarray(molecules)

    def by_embeddings(queries, pool):
        return lambda rows, columns, labels: rank_embeddings(queries[rows], pool[columns], positives=labels)

    directions = {
        "text to molecule": (by_embeddings(texts, molecules), len(molecules)),
        "molecule to text": (by_embeddings(molecules, texts), len(texts)),
    }
    return _measured(directions, pairs or Pairs(len(texts)), protocol, data, seed)


def both_directions_of_scores(
    similarity: np.ndarray, pairs: Pairs | None = None, protocol: str = "split", data: str = "", seed: int = 0
) -> tuple[dict[str, Result], dict[str, Ranked]]:
    """The same from scores [N, M] of N texts with M >= N molecules, higher is nearer; column n < N is row n's partner.
    Molecules are ranked among the N texts."""
    similarity = np.asarray(similarity)
    if similarity.ndim != 2 or similarity.shape[1] < similarity.shape[0]:
        shape = list(similarity.shape)
        raise UserError(f"scores must be a matrix [texts, molecules] with at least as many molecules, not {shape}")
    count, width = similarity.shape

    def by_scores(scores):
        return lambda rows, columns, labels: rank_similarity(scores[rows, columns], positives=labels)

    directions = {
        "text to molecule": (by_scores(similarity), width),
        "molecule to text": (by_scores(similarity[:, :count].T), count),
    }
    return _measured(directions, pairs or Pairs(count), protocol, data, seed)


def _measured(directions, pairs: Pairs, protocol: str, data: str, seed: int):
    rule = ranking_protocol(protocol)
    if not pairs.count:
        raise UserError("nothing to evaluate: there are no queries")
    sizes = [size for _, size in directions.values()]
    if min(sizes) < pairs.count:
        raise UserError(f"{pairs.count} pairs, but a table of {min(sizes)} rows")
    if rule.distractors and max(sizes) == pairs.count:
        raise UserError(f"{rule.name} ranks among the molecules of all splits: give those of the others (--pool)")
    if pairs.keys is not None and len(pairs.keys) != max(sizes):
        raise UserError(f"{len(pairs.keys)} molecule keys for {max(sizes)} rows")
    results, ranked = {}, {}
    for direction, (rank, size) in directions.items():
        own = "" if size > pairs.count or not rule.distractors else " (the queries' own)"
        found = _in_batches(rank, pairs, size, rule.batch)
        ranked[direction] = found
        results[direction] = ranking_metrics(
            found.ranks,
            min(rule.batch, pairs.count) if rule.batch else size,
            rule.pool + own,
            direction,
            rule.cutoffs,
            POSITIVES[pairs.positives],
            data,
            seed,
            rule.name,
        )
    return results, ranked


def _in_batches(rank, pairs: Pairs, size: int, batch: int) -> Ranked:
    """Ranks of all queries, among the whole pool (`batch` 0) or within batches of rows."""
    count = pairs.count
    spans = [(slice(i, min(i + batch, count)),) * 2 for i in range(0, count, batch)] if batch else []
    parts = []
    for rows, columns in spans or [(slice(0, count), slice(0, size))]:
        labels = None if pairs.keys is None else (pairs.keys[rows], pairs.keys[columns])
        part = rank(rows, columns, labels)
        width = min(10, batch or size, count if batch else size)
        missing = width - part.top.shape[1]
        # The last batch may have fewer rows than are asked for: its last hit stands for the places it lacks.
        top = np.pad(part.top, ((0, 0), (0, max(0, missing))), mode="edge") + columns.start
        parts.append((part.ranks, top[:, :width]))
    return Ranked(*(np.concatenate(column) for column in zip(*parts)))


def chance(queries: int, pool_size: int, like: Result, batch: int = 0) -> Result:
    """What a random order of the pool gives in expectation (one partner a query): R@k = k/P, mean and median rank (P
    + 1)/2, MRR = H(P)/P; within batches, the mean over queries. Stamped like the result it is to stand beside; exact,
    so without intervals and without rows."""
    rest = queries % batch if batch else 0
    parts = [(queries - rest, batch), (rest, rest)] if batch else [(queries, pool_size)]
    shares = [(count / queries, size) for count, size in parts if count]

    def mean(value) -> float:
        return sum(share * value(size) for share, size in shares)

    values = {
        "MRR": mean(lambda size: float((1.0 / np.arange(1, size + 1)).sum()) / size),
        "Mean rank": mean(lambda size: (size + 1) / 2),
        "Median rank": (max(shares)[1] + 1) / 2,
    }
    for name in like.scores:
        if name.startswith("R@"):
            values[name] = mean(lambda size, k=int(name[2:]): min(1.0, k / size))
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
