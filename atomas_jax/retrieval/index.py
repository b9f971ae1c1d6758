"""A library of molecules on disk that a model has embedded: opened to search, locked to write.

An index is a folder. `index.json`, the manifest, names everything else in it: segments (see `segments`), which rows
were removed, calibration, the approximate engine, and which model made the vectors. What it names never changes and is
written before it; the manifest is replaced as a whole. So an index is whole at any moment, a reader keeps what it
opened, and whatever a killed writer left is named by nobody and cleared by the next.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.files import write_json
from atomas_jax.retrieval.segments import Rows, Segment, check, describe, write_segment
from atomas_jax.run_folder import read_json
from atomas_jax.trained import TrainedModel

MANIFEST, LOCK = "index.json", "write.lock"
FORMAT, VERSION = "atomas index", 1


def fingerprint(model: TrainedModel) -> str:
    """sha256 of a model's weights and tokenizer: vectors of models that differ in it are not comparable."""
    digest = hashlib.sha256(model.tokenizer.sha256.encode())
    for path, leaf in sorted(jax.tree_util.tree_leaves_with_path(model.params), key=lambda item: str(item[0])):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


class Index:
    """An index as it was when it was opened. Rows have numbers that never change; `alive` says which are left."""

    def __init__(self, folder: Path, manifest: dict):
        self.folder, self.manifest = folder, manifest

    @classmethod
    def open(cls, folder: str | Path) -> "Index":
        """Raises UserError when there is no index or it is not whole."""
        folder = Path(folder)
        if not (folder / MANIFEST).is_file():
            raise UserError(f"{folder} is no index (it has no {MANIFEST}): `atomas index build` makes one")
        try:
            manifest = read_json(folder / MANIFEST)
        except UserError:
            raise UserError(f"{folder / MANIFEST} is damaged: restore it, or build the index anew") from None
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
            raise UserError(f"{folder / MANIFEST} describes no index: restore it, or build the index anew")
        if manifest["version"] != VERSION:
            raise UserError(f"{folder} has index version {manifest['version']}; this atomas_jax reads {VERSION}")
        index = cls(folder, manifest)
        index.rows, index.alive  # noqa: B018  (a file cut short is said now)
        return index

    def __len__(self) -> int:
        return int(self.alive.sum())

    @cached_property
    def rows(self) -> Rows:
        """All rows ever added, removed ones too."""
        segments = [Segment(self.folder, entry) for entry in self.manifest["segments"]]
        return Rows(segments, self.manifest["model"]["embedding_dim"])

    @cached_property
    def alive(self) -> np.ndarray:
        """bool [N]: rows that have not been removed."""
        alive = np.ones(len(self.rows), bool)
        if removed := self.manifest["removed"]:
            alive[np.load(check(self.folder, removed))] = False
        return alive

    @property
    def columns(self) -> list[str]:
        """Metadata kept of every molecule."""
        return self.manifest["columns"]

    def numbers_of(self, keys: Iterable[str], column: str = "key") -> np.ndarray:
        """Row numbers, ascending, of the rows left whose `column` is one of `keys`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.is_in(self.rows.column(column), value_set=pa.array(list(keys), pa.string()))
        return np.flatnonzero(found.to_numpy(zero_copy_only=False) & self.alive)

    def verify(self) -> None:
        """Read every file against its checksum. Raises UserError for the first that is not what was written."""
        for segment in self.manifest["segments"]:
            for entry in segment["files"].values():
                check(self.folder, entry, contents=True)
        for name in ("removed", "calibration", "approximate"):
            if self.manifest[name]:
                check(self.folder, self.manifest[name], contents=True)

    def check_model(self, model: TrainedModel) -> None:
        """Raises UserError when these vectors are not this model's."""
        made = self.manifest["model"]
        if fingerprint(model) != made["fingerprint"]:
            raise UserError(
                f"{self.folder} was made by another model ({made['run']}, step {made['step']}; this is step "
                f"{model.step}): name the run and --checkpoint that made it, or build it anew"
            )


class IndexWriter:
    """The one writer of an index; `writing` makes it."""

    def __init__(self, folder: Path, manifest: dict):
        self.folder, self.manifest = folder, manifest

    @property
    def index(self) -> Index:
        """What has been committed."""
        return Index(self.folder, self.manifest)

    def commit(self, **changes) -> None:
        """Replace entries of the manifest: from here on this is the index."""
        self.manifest = self.manifest | changes
        write_json(self.folder / MANIFEST, self.manifest)

    def finish(self) -> None:
        """What was being added is in, and all that hangs on it."""
        self.commit(unfinished=None)

    def append(self, rows: list[dict], vectors: np.ndarray, rejects: list[dict], **changes) -> None:
        """Add rows as one segment, with other changes of the manifest, at once."""
        name = f"segment-{len(self.manifest['segments']):06d}"
        entry = write_segment(self.folder, name, rows, vectors, rejects)
        self.commit(segments=[*self.manifest["segments"], entry], **changes)

    def replace_file(self, entry: str, suffix: str, write, **facts) -> None:
        """Let `write(path)` write a new file for an entry of the manifest and commit it; the old one stays, for who has
        it open, until the next writer comes."""
        old = self.manifest[entry]
        number = 1 + int(old["file"].split("-")[1].split(".")[0]) if old else 0
        path = self.folder / f"{entry}-{number:06d}{suffix}"
        write(path)
        self.commit(**{entry: describe(path) | facts})

    def remove(self, numbers: np.ndarray) -> int:
        """Remove rows by number; gives how many were there. Their place is kept, so that numbers stay what they are."""
        gone = np.flatnonzero(~self.index.alive)
        after = np.union1d(gone, numbers).astype(np.int64)

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, after)

        if len(after) > len(gone):
            self.replace_file("removed", ".npy", write)
        return len(after) - len(gone)


@contextlib.contextmanager
def writing(folder: str | Path, model: TrainedModel | None = None, about: dict | None = None) -> Iterator[IndexWriter]:
    """The writer of an index, which must be there, or is made of `model` and `about` where it is not.

    The lock is the operating system's: it ends with the process, however that ends.

    Raises:
      UserError: another process is writing; no index and nothing to make one of; another model's index.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        if model is None or about is None:
            Index.open(folder)
        if folder.exists() and any(entry.name != LOCK for entry in folder.iterdir()):
            raise UserError(f"{folder} holds something that is no index: name an empty or a new folder")
        folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder):
        if not (folder / MANIFEST).is_file():
            write_json(folder / MANIFEST, _new_manifest(model, about))
        index = Index.open(folder)
        if model is not None:
            index.check_model(model)
        _clear(index)
        yield IndexWriter(folder, index.manifest)


def _new_manifest(model: TrainedModel, about: dict) -> dict:
    rest = {name: value for name, value in about.items() if name != "model"}
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": {
            "fingerprint": fingerprint(model),
            "tokenizer": model.tokenizer.sha256,
            "step": model.step,
            "embedding_dim": model.config.alignment.embedding_dim,
            **about["model"],
        },
        **rest,
        "segments": [],
        "merged": 0,
        "removed": None,
        "calibration": None,
        "approximate": None,
        "unfinished": None,
    }


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    import fcntl

    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            by = file.read().strip() or "unknown"
            raise UserError(f"process {by} is writing to {folder}: wait until it is done") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _clear(index: Index) -> None:
    """Remove what a killed writer left."""
    manifest = index.manifest
    named = {MANIFEST, LOCK} | {f["file"] for segment in manifest["segments"] for f in segment["files"].values()}
    named |= {manifest[name]["file"] for name in ("removed", "calibration", "approximate") if manifest[name]}
    for path in index.folder.iterdir():
        if path.name not in named and path.name.split("-")[0] in ("segment", "removed", "calibration", "approximate"):
            path.unlink()
