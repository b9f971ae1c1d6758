"""An index of molecules on disk: vectors in the shared space and what they are of.

    index.json           what made it, what is in it, the size and SHA-256 of every file; the index is what it lists
    00000.npy            float32 [N, E], unit vectors of a segment   00000.arrow   its molecules, one row each
    removed-00001.npy    int64 rows that were taken out
    rejects.jsonl        lines that were no molecules, and why

Files are written first and listed after, by replacing index.json, so that a reader finds the index whole at any time.
Letters: N rows, E embedding, Q queries.
"""

import bisect
import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from atomas_jax.errors import UserError

FORMAT, VERSION = "atomas molecule index", 1
MANIFEST, REJECTS, LOCK = "index.json", "rejects.jsonl", "writer.lock"
STRINGS = ("smiles", "canonical", "key", "flat_key")
"""Columns every molecule has, beside `line` and `source`: as given, RDKit's spelling, and the keys of `Identity`."""
META = "meta."
"""Before the names of the list's own columns in a segment's table."""


class Vectors:
    """Arrays [N_i, E] one below the other, memory-mapped and never joined: what `search.nearest` takes as a library."""

    def __init__(self, parts: Sequence[np.ndarray], width: int):
        self._parts, self._width = parts, width
        self._starts = np.cumsum([0] + [len(part) for part in parts]).tolist()

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """(N, E)."""
        return len(self), self._width

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """float32 [n, E] of a slice, or of ascending row numbers, read into memory."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        pieces = [np.zeros((0, self._width), np.float32)]
        bounds = np.searchsorted(rows, self._starts)
        for part, start, first, last in zip(self._parts, self._starts, bounds, bounds[1:]):
            if last > first:
                inside = rows[first:last] - start
                contiguous = inside[-1] - inside[0] == last - first - 1
                pieces.append(np.asarray(part[inside[0] : inside[-1] + 1] if contiguous else part[inside]))
        return np.concatenate(pieces)


class Index:
    """An index opened for reading: `Index(folder)`. Rows are numbered from 0 in the order they were added.

    Raises:
      UserError: no index there, or one of its files missing, cut short or damaged.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        for entry in self._files():
            self._check_size(entry)
        try:
            self._tables = [self._table(entry) for entry in self.manifest["segments"]]
            parts = [np.load(self.folder / entry["vectors"]["file"], "r") for entry in self.manifest["segments"]]
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{self.folder} is damaged ({error}): build it anew") from error
        self.vectors = Vectors(parts, self.manifest["model"]["embedding_dim"])
        self._starts = np.cumsum([0] + [len(table) for table in self._tables]).tolist()
        if self._starts != self.vectors._starts:
            raise UserError(f"{self.folder} is damaged: its tables and its vectors are not of the same molecules")

    def __len__(self) -> int:
        """Molecules that were ever added; `rows` has those that are still in."""
        return self._starts[-1]

    @property
    def columns(self) -> list[str]:
        """Names of the lists' own columns."""
        return self.manifest["columns"]

    @cached_property
    def rows(self) -> np.ndarray:
        """int64, ascending: the rows that were not removed."""
        there = np.ones(len(self), bool)
        for entry in self.manifest["removed"]:
            there[np.load(self.folder / entry["file"])] = False
        return np.flatnonzero(there)

    def molecule(self, row: int) -> dict:
        """`smiles`, `canonical`, `key`, `flat_key`, `line`, `source` (the list's path) and the list's own columns."""
        segment = bisect.bisect_right(self._starts, row) - 1
        (found,) = self._tables[segment].slice(row - self._starts[segment], 1).to_pylist()
        own = {name: found.pop(META + name, None) or "" for name in self.columns}
        return found | {"source": self.manifest["sources"][found["source"]]["path"], "columns": own}

    def column(self, name: str, rows: np.ndarray) -> list[str]:
        """One of `STRINGS`, or of the lists' own columns, at ascending rows; '' where a list has no such column."""
        if name not in STRINGS and name not in self.columns:
            raise UserError(
                f"{self.folder} has no column {name!r}; it has {', '.join(self.columns) or 'none of its own'}"
            )
        field, values = name if name in STRINGS else META + name, []
        bounds = np.searchsorted(rows, self._starts)
        for table, start, first, last in zip(self._tables, self._starts, bounds, bounds[1:]):
            if field not in table.column_names:
                values.extend([""] * (last - first))
            elif last > first:
                chosen = table.column(field).take(pa.array(rows[first:last] - start))
                values.extend(value or "" for value in chosen.to_pylist())
        return values

    def check_model(self, facts: dict) -> None:
        """Raises UserError where a model (`model_facts`) is not the one that made the vectors."""
        for name, told in (("weights_sha256", "weights"), ("tokenizer_sha256", "a tokenizer")):
            if facts[name] != self.manifest["model"][name]:
                made = self.manifest["model"]
                raise UserError(
                    f"{self.folder} was made with other {told.removeprefix('a ')} than those of {facts['run']}: "
                    f"it is of {made['run']}, step {made['step']}; use that run or build the index anew"
                )

    def verify(self) -> None:
        """Compare every file with its SHA-256. Raises UserError naming the first that differs."""
        for entry in self._files():
            if sha256(self.folder / entry["file"]) != entry["sha256"]:
                raise UserError(f"{self.folder / entry['file']} is damaged: its SHA-256 is not the one in {MANIFEST}")

    def _files(self) -> list[dict]:
        segments = self.manifest["segments"]
        return [entry[part] for entry in segments for part in ("vectors", "molecules")] + self.manifest["removed"]

    def _check_size(self, entry: dict) -> None:
        path = self.folder / entry["file"]
        if not path.is_file():
            raise UserError(f"{path} is missing from the index: restore it or build the index anew")
        if path.stat().st_size != entry["bytes"]:
            sizes = f"{path.stat().st_size:,} bytes, {entry['bytes']:,} in {MANIFEST}"
            raise UserError(f"{path} is damaged: {sizes}; restore it or build the index anew")

    def _table(self, entry: dict) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self.folder / entry["molecules"]["file"]))).read_all()


def model_facts(model, run: str | Path, checkpoint: str = "best") -> dict:
    """What an index says of the `TrainedModel` that made its vectors; hashes are SHA-256, of the weights by value."""
    return {
        "run": str(run),
        "checkpoint": checkpoint,
        "step": model.step,
        "weights_sha256": weights_sha256(model.params),
        "tokenizer_sha256": model.tokenizer.sha256,
        "embedding_dim": model.config.alignment.embedding_dim,
    }


def weights_sha256(params: dict) -> str:
    """SHA-256 of a tree of weights: names, types, shapes and values, in the order of their names."""
    import jax

    digest = hashlib.sha256()
    leaves = jax.tree_util.tree_leaves_with_path(params)
    for path, leaf in sorted(((jax.tree_util.keystr(path), leaf) for path, leaf in leaves), key=lambda pair: pair[0]):
        values = np.ascontiguousarray(np.asarray(leaf))
        digest.update(f"{path} {values.dtype} {values.shape}\n".encode())
        digest.update(values.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_manifest(folder: Path) -> dict:
    """What an index lists. Raises UserError where there is none, or of another version."""
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(f"no index at {folder}: `atomas index build` makes one")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}): build the index anew") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{folder} is no molecule index: its {MANIFEST} is of something else")
    if manifest.get("version") != VERSION:
        raise UserError(f"{folder} is an index of version {manifest.get('version')}, not {VERSION}: build it anew")
    return manifest
