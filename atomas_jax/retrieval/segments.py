"""The files of an index: segments of rows that never change once written, each vectors and a table.

A segment of N rows is `NAME.vectors.npy`, float32 [N, E], and `NAME.rows.arrow`, the columns `COLUMNS` and whatever
metadata was kept; both are mapped into memory, not read. Letters: N rows, E embedding width.
"""

import bisect
import hashlib
import json
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from atomas_jax.errors import UserError

COLUMNS = {
    "id": pa.string(),
    "smiles": pa.string(),
    "canonical": pa.string(),
    "key": pa.string(),
    "flat_key": pa.string(),
    "weight": pa.float32(),
    "logp": pa.float32(),
    "charge": pa.int32(),
    "formula": pa.string(),
}
"""Of every row: id and SMILES as given, canonical SMILES, the keys of `chemistry.molecules.Identity`, properties."""


def write_segment(folder: Path, name: str, rows: list[dict], vectors: np.ndarray, rejects: list[dict]) -> dict:
    """Write a segment and return its entry in the manifest; until it is in there, nobody reads it."""
    further = [column for column in (rows[0] if rows else {}) if column not in COLUMNS]
    schema = pa.schema([*COLUMNS.items(), *((column, pa.string()) for column in further)])
    names = {"vectors": f"{name}.vectors.npy", "rows": f"{name}.rows.arrow", "rejects": f"{name}.rejects.jsonl"}
    with (folder / names["vectors"]).open("wb") as file:
        np.save(file, vectors)
        _sync(file)
    with (folder / names["rows"]).open("wb") as file:
        with pa.ipc.new_file(file, schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema))
        _sync(file)
    with (folder / names["rejects"]).open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(json.dumps(reject, ensure_ascii=False) + "\n" for reject in rejects)
        _sync(file)
    files = {kind: describe(folder / file) for kind, file in names.items()}
    return {"name": name, "rows": len(rows), "rejects": len(rejects), "files": files}


def _sync(file) -> None:
    file.flush()
    os.fsync(file.fileno())


def describe(path: Path) -> dict:
    """Name, size and checksum of a file, as a manifest holds them."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": digest}


def check(folder: Path, entry: dict, contents: bool = False) -> Path:
    """The file of an entry, if it is as long as it was; with `contents`, if its checksum is right too.

    Raises UserError where it is not.
    """
    path = folder / entry["file"]
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise UserError(f"the index {folder} has lost {path.name}: restore it, or build the index anew") from None
    damaged = f"{path} is damaged: restore it, or build the index anew"
    if size != entry["bytes"]:
        raise UserError(f"{damaged} (it has {size:,} bytes of {entry['bytes']:,})")
    if contents and describe(path)["sha256"] != entry["sha256"]:
        raise UserError(f"{damaged} (its checksum is not the one it was written with)")
    return path


class Segment:
    """One segment, mapped into memory."""

    def __init__(self, folder: Path, entry: dict):
        self.vectors: np.ndarray = np.load(check(folder, entry["files"]["vectors"]), mmap_mode="r")
        self._path = check(folder, entry["files"]["rows"])
        self._rows = entry["rows"]

    def __len__(self) -> int:
        return self._rows

    @cached_property
    def table(self) -> pa.Table:
        """The rows' columns."""
        with pa.memory_map(str(self._path)) as source:
            return pa.ipc.open_file(source).read_all()


class Rows:
    """Segments as one sequence: `rows[a:b]` and `rows.take(numbers)` give vectors, `rows.at(n)` a row,
    `rows.column(name)` a whole column."""

    def __init__(self, segments: Sequence[Segment], width: int):
        self._segments, self._width = list(segments), width
        self._starts = np.cumsum([0, *map(len, segments)]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(self))
        parts = [
            segment.vectors[max(start - first, 0) : max(stop - first, 0)]
            for first, segment in zip(self._starts, self._segments)
            if first < stop and first + len(segment) > start
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self._width), np.float32)

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Vectors float32 [n, E] of rows in any order."""
        vectors = np.zeros((len(numbers), self._width), np.float32)
        places = np.searchsorted(self._starts, numbers, side="right") - 1
        for place in np.unique(places):
            chosen = places == place
            vectors[chosen] = self._segments[place].vectors[numbers[chosen] - self._starts[place]]
        return vectors

    def at(self, number: int) -> dict:
        """The columns of a row."""
        place = bisect.bisect_right(self._starts, number) - 1
        table = self._segments[place].table
        return {name: table.column(name)[number - self._starts[place]].as_py() for name in table.column_names}

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole column; rows of segments that have none of this name are null."""
        parts = []
        for segment in self._segments:
            table = segment.table
            parts += table.column(name).chunks if name in table.column_names else [pa.nulls(len(segment), pa.string())]
        return pa.chunked_array(parts, type=COLUMNS.get(name, pa.string()))
