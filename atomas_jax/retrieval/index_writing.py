"""Making and changing an index: molecules in from lists, segment by segment; one writer at a time.

A segment is listed in index.json together with how far its list was read, so a killed writer leaves a smaller index
that is whole, and the same call goes on behind it.
"""

import fcntl
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from atomas_jax.errors import UserError
from atomas_jax.files import write_json
from atomas_jax.retrieval.index import (
    FORMAT,
    LOCK,
    MANIFEST,
    META,
    REJECTS,
    STRINGS,
    VERSION,
    Index,
    read_manifest,
    sha256,
)  # fmt: skip
from atomas_jax.retrieval.molecule_lists import Listed, read_molecules
from atomas_jax.trained import TrainedModel

SEGMENT = 65536
"""Molecules of a segment at most: what a writer holds in memory (64 MiB of vectors at E = 256) and a kill can cost."""
SECONDS = 120.0
"""After which a segment is written though it has not so many."""
CHUNK = 4096
"""Molecules embedded together, longest first."""


def add_molecules(
    folder: Path,
    model: TrainedModel,
    facts: dict,
    source: Path,
    *,
    new: bool,
    spelling: str = "given",
    smiles_column: str = "",
    segment: int = SEGMENT,
    on_progress: Callable[[int], None] | None = None,
) -> dict:
    """Adds the molecules of a list, or what is left of them where a call before was killed.

    Args:
      facts: `model_facts` of the model, to be written into the index.
      new: whether the index is made by this list; it is added to one that is there otherwise.
      spelling: which SMILES the model reads, "given" or RDKit's "canonical". One added to keeps its own.
      segment: molecules of a segment at most.
      on_progress: called with the number of lines done since its last call, those of a call before included.

    Returns:
      The list's entry in the index: `lines`, `molecules`, `rejected`.

    Raises:
      UserError: another writer; another model than the index's; another index or something else in the folder; a list
        that cannot be read, is in the index already, or has changed since a killed call began on it.
    """
    with _writing(folder, new):
        if new and not (folder / MANIFEST).exists():
            manifest = {
                "format": FORMAT, "version": VERSION, "model": facts, "spelling": spelling, "rdkit": _rdkit_version(),
                "columns": [], "sources": [], "segments": [], "removed": [], "rejects_bytes": 0,
            }  # fmt: skip
        else:
            index = Index(folder)
            index.check_model(facts)
            manifest = index.manifest
            _check_continues(folder, manifest, source, spelling, smiles_column, new)
        writer = _Writer(folder, manifest, source)
        writer.add(read_molecules(source, smiles_column), model, segment, on_progress or (lambda _: None))
        if not writer.entry["lines"]:
            raise UserError(f"{source} holds no molecules")
        return writer.entry


def remove_molecules(folder: Path, keys: Iterable[str]) -> list[int]:
    """Takes out every row with one of these InChIKeys (`Identity.key`); returns how many rows each key had.

    Raises:
      UserError: no index, a damaged one, or another writer.
    """
    read_manifest(folder)
    with _writing(folder, new=False):
        index = Index(folder)
        wanted, rows_of = list(keys), {}
        for row, key in zip(index.rows, index.column("key", index.rows)):
            rows_of.setdefault(key, []).append(row)
        rows = sorted(row for key in set(wanted) for row in rows_of.get(key, ()))
        if rows:
            path = folder / f"removed-{len(index.manifest['removed']) + 1:05d}.npy"
            np.save(path, np.asarray(rows, np.int64))
            index.manifest["removed"].append(_entry(path))
            write_json(folder / MANIFEST, index.manifest)
        return [len(rows_of.get(key, ())) for key in wanted]


@contextmanager
def _writing(folder: Path, new: bool) -> Iterator[None]:
    """Holds the index's lock, which the system lets go when the process ends, however it ends."""
    if new:
        ours = (MANIFEST, LOCK, REJECTS)
        foreign = [path.name for path in folder.glob("*") if path.name not in ours and not (folder / LOCK).exists()]
        if foreign:
            raise UserError(f"{folder} holds {sorted(foreign)[0]} but no index: name an empty or a new folder")
        folder.mkdir(parents=True, exist_ok=True)
    else:
        read_manifest(folder)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{folder} is being written by another process: wait for it to end") from None
        yield


def _check_continues(folder: Path, manifest: dict, source: Path, spelling: str, smiles_column: str, new: bool) -> None:
    path, last = str(source), manifest["sources"][-1]
    if not last["finished"] and last["path"] != path:
        raise UserError(f"{last['path']} was not added whole to {folder}: add it again first, it goes on where it was")
    if not last["finished"]:
        if new and manifest["spelling"] != spelling:
            raise UserError(f"{folder} was begun with --spelling {manifest['spelling']}: continue it so")
        return
    if new:
        raise UserError(f"{folder} is an index already: `atomas index add` adds to it")
    same = next((entry for entry in manifest["sources"] if entry["path"] == path), None)
    if same and same["sha256"] == _lines_sha256(source, smiles_column, same["lines"]):
        raise UserError(f"{source} is in {folder} already: {same['molecules']:,} molecules of it")


class _Writer:
    """One list on its way into an index; `entry` says how far it is."""

    def __init__(self, folder: Path, manifest: dict, source: Path):
        self.folder, self.manifest = folder, manifest
        sources = manifest["sources"]
        if not sources or sources[-1]["finished"]:
            fresh = {"path": str(source), "lines": 0, "sha256": "", "molecules": 0, "rejected": 0, "finished": False}
            sources.append(fresh)
        self.entry = sources[-1]
        self._digest = hashlib.sha256()
        self._rejects: list[dict] = []
        self._rows: list[dict] = []
        self._vectors: list[np.ndarray] = []

    def add(self, lines: Iterator[Listed], model: TrainedModel, segment: int, on_progress: Callable[[int], None]):
        """Reads, embeds and writes what is not in the index yet."""
        for found in islice(lines, self.entry["lines"]):
            self._digest.update(_line_bytes(found))
            on_progress(1)
        if self.entry["lines"] and self._digest.hexdigest() != self.entry["sha256"]:
            raise UserError(f"{self.entry['path']} is not what it was when its addition began: build the index anew")
        began = time.monotonic()
        while chunk := list(islice(lines, min(CHUNK, segment))):
            self._embed(chunk, model)
            on_progress(len(chunk))
            if len(self._rows) + CHUNK > segment or time.monotonic() - began > SECONDS:
                self._commit()
                began = time.monotonic()
        if self.entry["lines"]:
            self.entry["finished"] = True
            self._commit()

    def _embed(self, chunk: list[Listed], model: TrainedModel) -> None:
        from atomas_jax.chemistry.molecules import InvalidMolecule, identity

        rows = []
        for found in chunk:
            self._digest.update(_line_bytes(found))
            try:
                if found.reason:
                    raise InvalidMolecule(found.reason)
                known = identity(found.smiles)
            except InvalidMolecule as error:
                told = {"source": self.entry["path"], "line": found.line, "reason": str(error)}
                self._rejects.append({**told, "smiles": found.smiles[:200]})
                continue
            row = {"smiles": found.smiles, "canonical": known.canonical, "key": known.key, "flat_key": known.flat_key}
            own = {META + name: cell for name, cell in found.columns.items()}
            rows.append({**row, "line": found.line, "source": len(self.manifest["sources"]) - 1, **own})
        if rows:
            spelt = "smiles" if self.manifest["spelling"] == "given" else "canonical"
            self._vectors.append(model.embed_molecules([row[spelt] for row in rows]))
        self._rows += rows
        self.entry["lines"] += len(chunk)
        self.entry["molecules"] += len(rows)
        self.entry["rejected"] += len(chunk) - len(rows)

    def _commit(self) -> None:
        """Files first, then the list of them."""
        with (self.folder / REJECTS).open("ab") as stream:
            stream.truncate(self.manifest["rejects_bytes"])  # a killed writer's, not listed, will come again
            stream.writelines(json.dumps(told, ensure_ascii=False).encode() + b"\n" for told in self._rejects)
        self.manifest["rejects_bytes"] = (self.folder / REJECTS).stat().st_size
        if self._rows:
            number = len(self.manifest["segments"])
            vectors, molecules = (self.folder / f"{number:05d}{ending}" for ending in (".npy", ".arrow"))
            np.save(vectors, np.concatenate(self._vectors))
            own = sorted({name for row in self._rows for name in row if name.startswith(META)})
            schema = pa.schema(
                [(name, pa.string()) for name in STRINGS] + [("line", pa.int64()), ("source", pa.int32())]
                + [(name, pa.string()) for name in own]
            )  # fmt: skip
            with pa.OSFile(str(molecules), "wb") as sink, pa.ipc.new_file(sink, schema) as table:
                table.write_table(pa.Table.from_pylist(self._rows, schema))
            entry = {"rows": len(self._rows), "vectors": _entry(vectors), "molecules": _entry(molecules)}
            self.manifest["segments"].append(entry)
            known = self.manifest["columns"]
            known += [name for name in (name.removeprefix(META) for name in own) if name not in known]
        self.entry["sha256"] = self._digest.hexdigest()
        write_json(self.folder / MANIFEST, self.manifest)
        self._rejects, self._rows, self._vectors = [], [], []


def _line_bytes(found: Listed) -> bytes:
    return f"{found.line}\t{found.smiles}\t{found.columns}\n".encode("utf-8", "backslashreplace")


def _lines_sha256(source: Path, smiles_column: str, lines: int) -> str:
    digest = hashlib.sha256()
    for found in islice(read_molecules(source, smiles_column), lines):
        digest.update(_line_bytes(found))
    return digest.hexdigest()


def _entry(path: Path) -> dict:
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path)}


def _rdkit_version() -> str:
    from importlib.metadata import version

    return version("rdkit")
