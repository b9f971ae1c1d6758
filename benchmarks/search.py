"""Exact and approximate search: build time, size, recall@10 against exact, queries a second; one run, one machine.

    python -m benchmarks.search --rows 1000000 --width 256 --out search.json

Two kinds of vectors, for the answer hangs on it. `structured`: a few hundred clusters on a curved surface of 24
dimensions with noise in all, as embeddings of molecules are, with queries that lie beside it (another modality: an
offset, and twice the noise). `random`: uniform on the sphere, queries too; nothing has structure to go by, the hardest
case there is. `--vectors FILE.npy` measures your own, e.g. an index's; its last 500 rows are the queries.

Our engine as `atomas index build --approximate yes` builds it, beside faiss's graph (HNSW) with one setting and our
exact search. `--others hnsw` is left out with `--others none`: at a million rows the graph takes minutes.
"""

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from atomas_jax.retrieval.approximate import TARGET, build, extend, faiss
from atomas_jax.retrieval.search import nearest

K = 10
PROMISED = 0.95
"""Recall@10 that the default is to have."""


class Library:
    """An array read as the rows of an index are."""

    def __init__(self, vectors: np.ndarray):
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._vectors[rows]

    def take(self, numbers: np.ndarray) -> np.ndarray:
        return self._vectors[numbers]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--kinds", nargs="+", default=["structured", "random"], choices=["structured", "random"])
    parser.add_argument("--vectors", type=Path, help="float32 [N, E] to measure instead")
    parser.add_argument("--others", nargs="+", default=["hnsw"], choices=["hnsw", "none"])
    parser.add_argument("--out", type=Path, default=Path("search.json"))
    options = parser.parse_args(arguments)
    rows = []
    for kind in [str(options.vectors)] if options.vectors else options.kinds:
        library, queries, tuning = vectors(kind, options)
        rows += [row | {"kind": kind} for row in measure(library, queries, tuning, "hnsw" in options.others)]
        show(rows)
    facts = {
        "rows": options.rows, "width": options.width, "queries": options.queries, "k": K, "promised": PROMISED,
        "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "devices": [str(device) for device in jax.devices()], "measured": rows,
    }  # fmt: skip
    options.out.write_text(json.dumps(facts, indent=2) + "\n")
    print(f"written: {options.out}")


def vectors(kind: str, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors [N, E], queries to measure by, and other queries that the engine may be widened by."""
    generator = np.random.default_rng(0)
    count = 2 * options.queries
    if options.vectors:
        given = np.load(options.vectors)
        queries, library = given[-count:], given[:-count]
    elif kind == "random":
        library, queries = (
            generator.standard_normal((n, options.width), np.float32) for n in (options.rows, count)
        )  # fmt: skip
    else:
        library, queries = _structured(generator, options.rows, count, options.width)
    for part in (library, queries):
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return library, queries[: options.queries], queries[options.queries :]


def _structured(generator, rows: int, queries: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    inner, hidden = 24, 96
    first, second = generator.standard_normal((inner, hidden)), generator.standard_normal((hidden, width))
    centres = generator.standard_normal((300, inner))

    def draw(count: int, noise: float) -> np.ndarray:
        parts = []
        for start in range(0, count, 50_000):
            n = min(50_000, count - start)
            z = centres[generator.integers(0, len(centres), n)] + 0.6 * generator.standard_normal((n, inner))
            x = np.tanh(z @ first / 5) @ second / 10 + noise * generator.standard_normal((n, width))
            parts.append(x.astype(np.float32))
        return np.concatenate(parts)

    offset = 0.3 * generator.standard_normal(width).astype(np.float32)
    return draw(rows, 0.1), draw(queries, 0.2) + offset


def measure(library: np.ndarray, queries: np.ndarray, tuning: np.ndarray, graph: bool) -> list[dict]:
    """One row a way of searching."""
    held, keep = Library(library), np.ones(len(library), bool)
    nearest(queries, held, K)  # compiles
    exact, seconds = timed(lambda: nearest(queries, held, K).index)
    truth = [set(row) for row in exact]

    def recall(index: np.ndarray) -> float:
        return float(np.mean([len(wanted & set(row)) / K for wanted, row in zip(truth, index.tolist())]))

    rows = [
        {"way": "exact", "build s": 0.0, "MB": library.nbytes / 1e6, "recall@10": 1.0, "q/s": len(queries) / seconds}
    ]
    (engine, _), spent = timed(lambda: build(held, tuning))
    found, seconds = timed(lambda: engine.nearest(queries, held, K, keep).index)
    rows.append({
        "way": f"ours (IVF, SQ8, {engine.probes} of {engine.lists.nlist} lists)", "build s": spent,
        "MB": size(engine.lists), "recall@10": recall(found), "q/s": len(queries) / seconds,
    })  # fmt: skip
    tenth = np.random.default_rng(1).random(len(library)) < 0.1
    wanted = [set(row) for row in nearest(queries, held, K, tenth).index.tolist()]
    found, seconds = timed(lambda: engine.nearest(queries, held, K, tenth).index)
    filtered = float(np.mean([len(a & set(b)) / K for a, b in zip(wanted, found.tolist())]))
    rows.append({"way": "ours, filter that leaves 10 %", "build s": 0.0, "MB": 0.0, "recall@10": filtered,
                 "q/s": len(queries) / seconds})  # fmt: skip
    more = Library(np.concatenate([library, library[: len(library) // 100]]))
    _, spent = timed(lambda: extend(engine, more))
    rows.append(
        {"way": "ours, add 1 % more", "build s": spent, "MB": size(engine.lists), "recall@10": None, "q/s": None}
    )
    if graph:
        rows += _graph(library, queries, recall)
    return rows


def _graph(library: np.ndarray, queries: np.ndarray, recall: Callable) -> list[dict]:
    library_ = faiss()
    lists = library_.index_factory(library.shape[1], "HNSW32,Flat", library_.METRIC_INNER_PRODUCT)
    lists.hnsw.efConstruction = 80
    _, spent = timed(lambda: lists.add(library))
    rows = []
    for effort in (64, 256, 1024):
        settings = library_.SearchParametersHNSW(efSearch=effort)
        found, seconds = timed(lambda settings=settings: lists.search(queries, K, params=settings)[1])
        rows.append({"way": f"faiss HNSW32, efSearch {effort}", "build s": spent, "MB": size(lists),
                     "recall@10": recall(found), "q/s": len(queries) / seconds})  # fmt: skip
    return rows


def timed(work: Callable):
    """The result and the seconds it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def size(lists) -> float:
    """Megabytes on disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.faiss"
        faiss().write_index(lists, str(path))
        return path.stat().st_size / 1e6


def show(rows: list[dict]) -> None:
    """Print the table."""
    table = Table(title=f"search, k = {K}; engines are widened to recall {TARGET} on other queries")
    for heading in ("vectors", "way", "build s", "MB", "recall@10", "q/s"):
        table.add_column(heading)
    for row in rows:
        cells = (f"{row['build s']:.0f}", f"{row['MB']:,.0f}", _shown(row["recall@10"], 3), _shown(row["q/s"], 0))
        table.add_row(row["kind"], row["way"], *cells)
    Console(width=120).print(table)


def _shown(value: float | None, decimals: int) -> str:
    return "–" if value is None else f"{value:,.{decimals}f}"


if __name__ == "__main__":
    main()
