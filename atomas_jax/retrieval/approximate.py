"""Approximate search for libraries of millions: faiss's inverted lists, as wide as measured recall wants.

The engine holds one byte a dimension (IVF, SQ8) and finds candidates; their cosines are computed again from the full
vectors, so scores are exact and only which rows are found is not. Of faiss's indices this one takes rows at any time,
takes a filter, can be mapped from disk or split over machines, and reaches any recall by looking into more lists, on
vectors of no structure too, where graphs do not (`benchmarks/search.py`). How many lists, is measured when it is built.

Rows added since are searched exactly beside it; a filter that leaves few rows is answered exactly without it.

Letters: Q queries, N rows, E embedding width.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from atomas_jax import progress
from atomas_jax.errors import UserError
from atomas_jax.retrieval.calibration import calibration_texts
from atomas_jax.retrieval.index import Index, IndexWriter
from atomas_jax.retrieval.search import Hits, merge, nearest
from atomas_jax.retrieval.segments import Rows, check

WORTHWHILE = 200_000
"""Rows from which an index gets an engine unasked."""
TARGET = 0.97
"""Recall@10 the lists are widened to; measured on few questions, so above the .95 that is promised."""
FEW = 50_000
"""Rows left by a filter, or added since the engine was built, that are searched exactly."""
CANDIDATES = 4
"""Candidates looked at again for each hit asked for."""
_BLOCK = 65_536
_TRAINING_A_LIST = 48
_QUESTIONS = 200


def faiss():
    """The library. Raises UserError where it is not installed."""
    try:
        import faiss as library
    except ModuleNotFoundError:
        raise UserError("approximate search needs faiss: pip install 'atomas_jax[search]'") from None
    return library


def installed() -> bool:
    """Whether faiss is there to build an engine with."""
    return find_spec("faiss") is not None


class Engine:
    """faiss's index over rows 0 to `rows` and how many lists it looks into."""

    def __init__(self, lists, rows: int, probes: int):
        self.lists, self.rows, self.probes = lists, rows, probes

    def nearest(self, queries: np.ndarray, library: Rows, k: int, keep: np.ndarray) -> Hits:
        """As `search.nearest`, but approximately, and always k wide. keep: bool [N]."""
        none = Hits(np.full((len(queries), k), -1), np.full((len(queries), k), -np.inf, np.float32))
        allowed = np.flatnonzero(keep)
        if len(allowed) <= FEW:
            few = nearest(queries, library.take(allowed), k)
            return merge(none, Hits(allowed[few.index], few.score), k)
        hits = merge(none, self._found(queries, library, k, keep), k)
        there = int(keep[: self.rows].sum())
        # the lists looked into may hold too few of the rows that a filter leaves
        short = np.flatnonzero((hits.index >= 0).sum(axis=1) < min(k, there))
        if len(short):
            exact = nearest(queries[short], library, k, keep & (np.arange(len(keep)) < self.rows))
            hits.index[short], hits.score[short] = merge(Hits(none.index[short], none.score[short]), exact, k)
        if self.rows < len(library):
            later = nearest(queries, _From(library, self.rows), k, keep[self.rows :])
            hits = merge(hits, Hits(later.index + self.rows, later.score), k)
        return hits

    def _found(self, queries: np.ndarray, library: Rows, k: int, keep: np.ndarray) -> Hits:
        library_ = faiss()
        bits = np.packbits(keep[: self.rows], bitorder="little")
        # without a selector where nothing is left out: faiss is quicker so
        selector = None if keep[: self.rows].all() else library_.IDSelectorBitmap(bits)
        settings = library_.SearchParametersIVF(nprobe=self.probes, sel=selector)
        wanted = min(CANDIDATES * k, self.rows)
        _, index = self.lists.search(np.ascontiguousarray(queries), wanted, params=settings)
        order = np.sort(index, axis=1)  # lower rows first, so that ties go to them
        vectors = library.take(np.maximum(order, 0).ravel()).reshape(*order.shape, -1)
        score = np.where(order < 0, -np.inf, np.einsum("qe,qce->qc", queries, vectors)).astype(np.float32)
        best = np.argsort(-score, axis=1, kind="stable")[:, :k]
        return Hits(np.take_along_axis(order, best, 1), np.take_along_axis(score, best, 1))


class _From:
    """The rows of a library from one number on."""

    def __init__(self, library: Rows, first: int):
        self._library, self._first = library, first

    def __len__(self) -> int:
        return len(self._library) - self._first

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        return self._library[start + self._first : stop + self._first]


def build(library: Rows, queries: np.ndarray, seed: int = 0) -> tuple[Engine, float]:
    """An engine over all rows of a library, wide enough for `TARGET` recall@10 on queries [Q, E], and its recall."""
    library_ = faiss()
    width = library[:1].shape[1]
    count = max(1, min(int(4 * len(library) ** 0.5), len(library) // _TRAINING_A_LIST))
    lists = library_.index_factory(width, f"IVF{count},SQ8", library_.METRIC_INNER_PRODUCT)
    sample = np.random.default_rng(seed).choice(
        len(library), min(len(library), count * _TRAINING_A_LIST), replace=False
    )
    lists.cp.seed = seed + 1
    with progress.bar("train the engine", 1, "engine") as bar:
        lists.train(library.take(np.sort(sample)))
        bar.advance()
    engine = Engine(lists, 0, 1)
    extend(engine, library)
    return engine, _widen(engine, library, queries)


def extend(engine: Engine, library: Rows) -> None:
    """Add the rows an engine has not got yet."""
    with progress.bar("add to the engine", len(library) - engine.rows, "molecules") as bar:
        for start in range(engine.rows, len(library), _BLOCK):
            block = library[start : start + _BLOCK]
            engine.lists.add(np.ascontiguousarray(block))
            bar.advance(len(block))
    engine.rows = len(library)


def recall(engine: Engine, library: Rows, queries: np.ndarray, exact: np.ndarray) -> float:
    """Share of the exact hits [Q, k] that the engine finds."""
    keep = np.ones(len(library), bool)
    found = engine._found(queries, library, exact.shape[1], keep).index
    return float(np.mean([np.isin(mine, theirs).mean() for mine, theirs in zip(exact, found)]))


def _widen(engine: Engine, library: Rows, queries: np.ndarray) -> float:
    """Set `engine.probes` to about the fewest that reach `TARGET`; returns the recall they give."""
    exact = nearest(queries, library, 10).index
    measured: dict[int, float] = {}

    def reached(probes: int) -> float:
        engine.probes = probes
        measured[probes] = recall(engine, library, queries, exact)
        return measured[probes]

    enough = 1
    while reached(enough) < TARGET and enough < engine.lists.nlist:
        enough = min(2 * enough, engine.lists.nlist)
    short = enough // 2
    while enough - short > max(1, enough // 8):
        between = (short + enough) // 2
        short, enough = (short, between) if reached(between) >= TARGET else (between, enough)
    engine.probes = enough
    return measured[enough]


def attach(writer: IndexWriter) -> float:
    """Build an index's engine, measure it on the index's own kind of questions, keep it. Returns its recall@10."""
    index = writer.index
    if not len(index.rows):
        raise UserError(f"{index.folder} is empty: there is nothing to search approximately")
    generator = np.random.default_rng(0)
    texts = calibration_texts(index)
    if texts is None:
        asked = index.rows.take(generator.choice(len(index.rows), min(len(index.rows), _QUESTIONS), replace=False))
    else:
        asked = texts[:_QUESTIONS]
    engine, reached = build(index.rows, asked)
    by = "molecules of the index" if texts is None else "texts of the calibration"
    _keep(writer, engine, {"recall_at_10": reached, "measured_on": f"{len(asked)} {by}"})
    return reached


def catch_up(writer: IndexWriter) -> None:
    """Add the rows that came since to an index's engine, once they are many."""
    entry = writer.manifest["approximate"]
    if entry and len(writer.index.rows) - entry["rows"] > FEW:
        engine = Engine(faiss().read_index(str(check(writer.folder, entry))), entry["rows"], entry["probes"])
        extend(engine, writer.index.rows)
        _keep(writer, engine, {name: entry[name] for name in ("recall_at_10", "measured_on")})


def _keep(writer: IndexWriter, engine: Engine, facts: dict) -> None:
    def write(path: Path) -> None:
        faiss().write_index(engine.lists, str(path))

    writer.replace_file("approximate", ".faiss", write, rows=engine.rows, probes=engine.probes, **facts)


def engine_of(index: Index) -> Engine | None:
    """The engine of an index, if it has one, mapped and not read: lists come in as they are looked into."""
    if not (entry := index.manifest["approximate"]):
        return None
    flags = faiss().IO_FLAG_MMAP | faiss().IO_FLAG_READ_ONLY
    return Engine(faiss().read_index(str(check(index.folder, entry)), flags), entry["rows"], entry["probes"])
