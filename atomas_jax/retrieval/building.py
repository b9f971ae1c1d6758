"""Filling an index from a file of molecules: streaming, on all cores and devices, resumed after a kill."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain, islice
from pathlib import Path

from atomas_jax import progress
from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.pool import cores, ordered_map
from atomas_jax.corpus.readers import Reject, read
from atomas_jax.errors import UserError
from atomas_jax.retrieval.entries import Examine
from atomas_jax.retrieval.index import IndexWriter
from atomas_jax.trained import TrainedModel

CHUNK = 256
"""Records a worker takes at a time."""
SEGMENT = 8192
"""Records of a segment: what a kill can cost, and what is held in memory."""


@dataclass(frozen=True)
class Filled:
    """What one call added: rows, records merged with a molecule that was there, records refused."""

    added: int
    merged: int
    rejected: int


def fill(
    writer: IndexWriter, model: TrainedModel, source: Source, columns: tuple[str, ...] = (), workers: int = 0
) -> Filled:
    """Embed the molecules of a file and append them; the same call goes on where a killed one stopped.

    The addition counts as unfinished until `IndexWriter.finish`, for more may hang on its rows.

    A molecule that is in the index already, in whatever spelling, is merged with it: the row that came first stays.
    Each is embedded as its canonical SMILES, so that its spelling does not matter.

    Args:
      columns: metadata to keep; an index keeps the same of every file.
      workers: processes that do the chemistry; 0: one a core.

    Raises:
      UserError: the file cannot be read; other columns than the index keeps; another file's addition is unfinished.
    """
    job = {"source": source.word, "file": _identify(source.path), "columns": list(columns)}
    unfinished = writer.manifest["unfinished"]
    if unfinished and {name: unfinished[name] for name in job} != job:
        raise UserError(
            f"{writer.folder}: adding {unfinished['source']} was interrupted; finish it first, with the same command"
        )
    if list(columns) != writer.manifest["columns"]:
        raise UserError(
            f"{writer.folder} keeps the columns {', '.join(writer.manifest['columns']) or '(none)'} of every molecule, "
            f"not {', '.join(columns) or '(none)'}: give --columns alike"
        )
    state = unfinished or {**job, "records": 0, "added": 0, "merged": 0, "rejected": 0}
    known = set(writer.index.rows.column("key").filter(writer.index.alive).to_pylist())
    records = read(source, captions=False, keep=tuple(columns))
    for _ in islice(records, state["records"]):
        pass
    writer.commit(unfinished=state)
    with progress.bar("embed", None, "molecules", completed=state["records"]) as bar:
        if state["records"]:
            bar.print(f"continuing {source.path} at record {state['records'] + 1:,}")
        for results in _segments(records, Examine(tuple(columns)), workers):
            rows, rejects, merged = [], [], 0
            for result in results:
                if isinstance(result, Reject):
                    rejects.append({"file": result.file, "line": result.line, "why": result.reason, "raw": result.raw})
                elif result["key"] in known:
                    merged += 1
                else:
                    known.add(result["key"])
                    rows.append(result)
            bar.advance(len(rejects) + merged)
            vectors = model.embed_molecules([row["canonical"] for row in rows], progress=bar.advance)
            state = state | {
                "records": state["records"] + len(results),
                "added": state["added"] + len(rows),
                "merged": state["merged"] + merged,
                "rejected": state["rejected"] + len(rejects),
            }
            total = writer.manifest["merged"] + merged
            if rows or rejects:
                writer.append(rows, vectors, rejects, merged=total, unfinished=state)
            else:
                writer.commit(merged=total, unfinished=state)
    return Filled(state["added"], state["merged"], state["rejected"])


def about(run: Path, checkpoint: str, columns: tuple[str, ...]) -> dict:
    """What a new index says of itself beside what its model says."""
    return {
        "model": {"run": str(run), "run_at": str(run.resolve()), "checkpoint": checkpoint},
        "canonicalisation": f"canonical isomeric SMILES of RDKit {version('rdkit')}; one molecule is one InChIKey",
        "columns": list(columns),
    }


def _segments(records: Iterator, examine: Examine, workers: int) -> Iterator[list]:
    """Examined records, `SEGMENT` at a time."""
    first = list(islice(records, CHUNK))
    if len(first) < CHUNK:
        workers = 1  # a short list is done sooner than a process starts
    chunks = chain([first], iter(lambda: list(islice(records, CHUNK)), [])) if first else []
    held: list = []
    for done in ordered_map(examine, chunks, workers or cores()):
        held += done
        if len(held) >= SEGMENT:
            yield held
            held = []
    if held:
        yield held


def _identify(path: str) -> dict | None:
    """What tells a file from another that took its place: its size and the checksum of its beginning."""
    file = Path(path).expanduser()
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        beginning = stream.read(1 << 20)
    return {"bytes": file.stat().st_size, "beginning": hashlib.sha256(beginning).hexdigest()}
