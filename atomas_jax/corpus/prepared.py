"""The prepared corpus on disk: its format, a writer and a memory-mapped reader.

A prepared corpus is a folder::

    manifest.json      written last: a folder without it is an interrupted preparation
    tokenizer/         the tokenizer that made the token ids
    train.arrow        Arrow IPC files, one row a pair, in record batches of bounded size
    validation.arrow
    test.arrow
    rejects.jsonl      one JSON object for every refused row

Only pyarrow and NumPy are needed here (and `atomas_jax.tokens` for the tokenizer, when asked for): training, decoding
and embedding read a prepared corpus with neither rdkit nor `datasets` installed.
"""

import bisect
import contextlib
import hashlib
import json
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from atomas_jax.errors import UserError

FORMAT = "atomas prepared corpus"
VERSION = 1
MANIFEST = "manifest.json"
REJECTS = "rejects.jsonl"
TOKENIZER = "tokenizer"
SPLITS = ("train", "validation", "test")
STRINGS = ("key", "flat_key", "smiles", "text", "source", "id", "phrases")

# A record batch is closed at whichever bound comes first. 4,096 rows are about 4 MB of a ChEBI-like corpus: large
# enough that a million rows are 245 batches, small enough that a writer's memory does not depend on the corpus.
BATCH_ROWS = 4096
BATCH_BYTES = 1 << 26

SCHEMA = pa.schema(
    [
        ("molecule", pa.int32()),  # index of the distinct molecule over the whole corpus: equal = same molecule
        ("key", pa.string()),  # InChIKey
        ("flat_key", pa.string()),  # InChIKey without stereo
        ("smiles", pa.string()),  # as given, after backslash repair
        ("text", pa.string()),
        ("source", pa.string()),
        ("id", pa.string()),
        ("smiles_tokens", pa.list_(pa.list_(pa.int32()))),  # spelling 0 as given, then random spellings
        ("text_tokens", pa.list_(pa.int32())),
        ("phrases", pa.string()),  # JSON list of [start, end, [atoms]], or ''
    ]
)


class PreparedWriter:
    """Writes a prepared corpus in bounded memory; files appear whole or not at all.

    >>> with PreparedWriter(folder) as writer:                                        # doctest: +SKIP
    ...     writer.add("train", molecule=0, key="K", flat_key="K", smiles="CCO", text="An alcohol.", source="mine",
    ...                id="1", smiles_tokens=[[5, 5, 6, 1]], text_tokens=[9, 8, 1])
    ...     tokenizer.save(writer.tokenizer_folder)
    ...     writer.finish({"settings": {}})

    Every file is written under a temporary name in the same folder and renamed by `finish`, the manifest last. Leaving
    the `with` block without `finish` removes the temporary files. The bytes of the Arrow files depend on the rows and
    their order only.

    Raises `UserError` when the folder holds a finished corpus (unless `overwrite`) or files that are not of a corpus.
    """

    def __init__(self, folder, overwrite: bool = False):
        self.folder = Path(folder)
        self._claim(overwrite)
        self._sinks = {}
        self._buffers = {}
        self._finished = False
        self._rejects = self._partial(REJECTS).open("w", encoding="utf-8")

    def _claim(self, overwrite):
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"{self.folder} is a file; a prepared corpus is a folder")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            present = sorted(path.name for path in self.folder.iterdir())
        except OSError as error:
            raise UserError(f"cannot write to {self.folder}: {error.strerror}") from error
        foreign = [name for name in present if not _ours(name)]
        if foreign:
            raise UserError(
                f"{self.folder} holds files that are not a prepared corpus ({foreign[0]}); name another folder"
            )
        if MANIFEST in present and not overwrite:
            raise UserError(
                f"{self.folder} already holds a prepared corpus; name another folder or ask to overwrite it"
            )
        # The manifest goes first, so that from here to `finish` the folder reads as incomplete.
        for name in [MANIFEST, *present]:
            if name != TOKENIZER:
                (self.folder / name).unlink(missing_ok=True)

    def _partial(self, name):
        return self.folder / f"{name}.partial"

    @property
    def tokenizer_folder(self) -> Path:
        """Where the caller saves the tokenizer (`Tokenizer.save`) before `finish`."""
        return self.folder / TOKENIZER

    def add(self, split, *, molecule, key, flat_key, smiles, text, source, id, smiles_tokens, text_tokens, phrases=""):
        """Append one pair. smiles_tokens: a list of spellings, each ids with end mark; text_tokens: ids."""
        if not len(smiles_tokens):
            raise ValueError("a row needs at least one spelling")
        buffer = self._buffers.setdefault(split, _Buffer())
        row = (molecule, key, flat_key, smiles, text, source, id, smiles_tokens, text_tokens, phrases)
        for column, value in zip(buffer.columns, row):
            column.append(value)
        buffer.bytes += len(smiles) + len(text) + len(phrases) + 4 * (len(text_tokens) + sum(map(len, smiles_tokens)))
        if len(buffer.columns[0]) >= BATCH_ROWS or buffer.bytes >= BATCH_BYTES:
            self._flush(split)

    def reject(self, **fields):
        """Append one line to rejects.jsonl."""
        self._rejects.write(json.dumps(fields, ensure_ascii=False) + "\n")

    def _flush(self, split):
        buffer = self._buffers.pop(split)
        if split not in self._sinks:
            handle = self._partial(f"{split}.arrow").open("wb")
            self._sinks[split] = (handle, pa.ipc.new_file(handle, SCHEMA))
        self._sinks[split][1].write_batch(buffer.batch())

    def finish(self, manifest: dict) -> dict:
        """Close all files, put them in place and write the manifest: `manifest` plus the files' counts and sums."""
        for split in list(self._buffers):
            self._flush(split)
        self._close()
        files = {}
        for split in sorted(self._sinks, key=lambda name: (SPLITS.index(name) if name in SPLITS else 9, name)):
            path = self.folder / f"{split}.arrow"
            self._partial(path.name).replace(path)
            written = Split(path)
            files[split] = {
                "file": path.name,
                "rows": len(written),
                "molecules": len(np.unique(written.molecule)),
                "bytes": path.stat().st_size,
                "sha256": sha256(path),
            }
        self._partial(REJECTS).replace(self.folder / REJECTS)
        whole = {"format": FORMAT, "version": VERSION, "splits": files, **manifest}
        partial = self._partial(MANIFEST)
        partial.write_text(json.dumps(whole, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(self.folder / MANIFEST)
        self._finished = True
        return whole

    def _close(self):
        self._rejects.close()
        for handle, writer in self._sinks.values():
            writer.close()
            handle.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self._finished:
            self._close()
            for path in self.folder.glob("*.partial"):
                path.unlink()
            with contextlib.suppress(OSError):  # not empty: there was something before
                self.folder.rmdir()


class _Buffer:
    """Rows of one split waiting for their record batch."""

    def __init__(self):
        self.columns = [[] for _ in SCHEMA]
        self.bytes = 0

    def batch(self) -> pa.RecordBatch:
        arrays = []
        for field, values in zip(SCHEMA, self.columns):
            if field.name == "smiles_tokens":
                spellings = [spelling for row in values for spelling in row]
                arrays.append(pa.ListArray.from_arrays(_offsets(values), _int_lists(spellings), type=field.type))
            elif field.name == "text_tokens":
                arrays.append(_int_lists(values))
            else:
                arrays.append(pa.array(values, field.type))
        return pa.record_batch(arrays, schema=SCHEMA)


def _offsets(lists):
    return pa.array(np.concatenate([[0], np.cumsum([len(each) for each in lists])]).astype(np.int32))


def _int_lists(lists):
    values = np.concatenate([np.asarray(each, np.int32) for each in lists]) if lists else np.zeros(0, np.int32)
    return pa.ListArray.from_arrays(_offsets(lists), pa.array(values))


def _ours(name):
    return name in (MANIFEST, REJECTS, TOKENIZER) or name.endswith((".arrow", ".partial"))


def sha256(path) -> str:
    """Hex SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class PreparedCorpus:
    """A prepared corpus opened for reading: `PreparedCorpus.open(folder)`.

    Attributes: `folder`, `manifest` (dict), `splits` (names of the splits that have rows), `tokenizer`, `split(name)`.
    """

    def __init__(self, folder: Path, manifest: dict):
        self.folder = folder
        self.manifest = manifest
        self.splits = tuple(manifest["splits"])
        self._opened = {}

    @classmethod
    def open(cls, folder) -> "PreparedCorpus":
        """Raises `UserError` for a missing folder, one that is no prepared corpus, an interrupted or a damaged one."""
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"no prepared corpus at {folder}: no such folder")
        path = folder / MANIFEST
        if not path.exists():
            if any(_ours(each.name) for each in folder.iterdir()):
                raise UserError(f"{folder} is an interrupted preparation (no {MANIFEST}); run atomas prepare again")
            raise UserError(f"{folder} is not a prepared corpus (no {MANIFEST}); make one with atomas prepare")
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); run atomas prepare again") from error
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "splits" not in manifest:
            raise UserError(f"{folder} is not a prepared corpus: its {MANIFEST} is of something else")
        if manifest.get("version") != VERSION:
            raise UserError(
                f"{folder} is of format version {manifest.get('version')}, not {VERSION} as here; prepare it anew"
            )
        return cls(folder, manifest)

    @cached_property
    def tokenizer(self):
        """The `atomas_jax.tokens.tokenizer.Tokenizer` that made the token ids."""
        from atomas_jax.tokens.tokenizer import Tokenizer

        return Tokenizer.load(self.folder / TOKENIZER)

    def split(self, name: str) -> "Split":
        """Raises `UserError` for a split this corpus lacks or a file that is missing, cut short or damaged."""
        if name not in self.splits:
            raise UserError(f"{self.folder} has no split {name!r}; it has {', '.join(self.splits) or 'none'}")
        if name not in self._opened:
            entry = self.manifest["splits"][name]
            path = self.folder / entry["file"]
            if not path.exists():
                raise UserError(f"{path} is missing from the prepared corpus; run atomas prepare again")
            if path.stat().st_size != entry["bytes"]:
                sizes = f"{path.stat().st_size:,} bytes, {entry['bytes']:,} in {MANIFEST}"
                raise UserError(f"{path} is damaged: {sizes}; prepare it anew")
            split = Split(path)
            if len(split) != entry["rows"]:
                raise UserError(
                    f"{path} is damaged: {len(split):,} rows, {entry['rows']:,} in {MANIFEST}; prepare it anew"
                )
            self._opened[name] = split
        return self._opened[name]

    def verify(self) -> None:
        """Compare every file with its SHA-256 in the manifest. Raises `UserError` naming the first that differs."""
        for name, entry in self.manifest["splits"].items():
            self.split(name)
            if sha256(self.folder / entry["file"]) != entry["sha256"]:
                raise UserError(f"{self.folder / entry['file']} is damaged: its SHA-256 is not the one in {MANIFEST}")


class Split:
    """The rows of one split, memory-mapped: N rows cost no memory until they are read.

    `len(split)` is N. `molecule`, `smiles_length` (of the longest spelling), `text_length` (lengths count the end mark)
    and `spellings` (how many a row has) are int32 [N], computed once. `smiles_tokens(i, spelling)` and `text_tokens(i)`
    are read-only int32 views [L]; `row(i)` gives the strings of a row, `column(name)` one string column as a list.
    Pickles as its path.
    """

    def __init__(self, path):
        self.path = Path(path)
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(self.path)))
            if not self._reader.schema.equals(SCHEMA):
                raise UserError(f"{self.path} has other columns than a prepared corpus; prepare it anew")
            self._batches = [_Batch(self._reader.get_batch(i)) for i in range(self._reader.num_record_batches)]
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{self.path} is damaged ({error}); prepare it anew") from error
        self._starts = np.cumsum([0] + [batch.rows for batch in self._batches]).tolist()

    def __reduce__(self):
        return Split, (self.path,)

    def __len__(self) -> int:
        return self._starts[-1]

    def _locate(self, i):
        if not -len(self) <= i < len(self):
            raise IndexError(f"row {i} of {len(self)}")
        i = int(i) % len(self)
        batch = bisect.bisect_right(self._starts, i) - 1
        return self._batches[batch], i - self._starts[batch]

    def _gather(self, of_batch):
        parts = [of_batch(batch) for batch in self._batches]
        return np.concatenate(parts).astype(np.int32, copy=False) if parts else np.zeros(0, np.int32)

    @cached_property
    def molecule(self) -> np.ndarray:
        return self._gather(lambda batch: batch.molecule)

    @cached_property
    def smiles_length(self) -> np.ndarray:
        # reduceat wants non-empty groups: `add` refuses a row without spellings.
        return self._gather(lambda batch: np.maximum.reduceat(np.diff(batch.spelling_offsets), batch.row_offsets[:-1]))

    @cached_property
    def text_length(self) -> np.ndarray:
        return self._gather(lambda batch: np.diff(batch.text_offsets))

    @cached_property
    def spellings(self) -> np.ndarray:
        return self._gather(lambda batch: np.diff(batch.row_offsets))

    def smiles_tokens(self, i: int, spelling: int = 0) -> np.ndarray:
        """Ids of one spelling of row i with end mark, int32 [S]. Raises IndexError outside the row's spellings."""
        batch, j = self._locate(i)
        first, last = batch.row_offsets[j], batch.row_offsets[j + 1]
        if not 0 <= spelling < last - first:
            raise IndexError(f"spelling {spelling} of {last - first} in row {i}")
        start, stop = batch.spelling_offsets[first + spelling], batch.spelling_offsets[first + spelling + 1]
        return batch.smiles_values[start:stop]

    def text_tokens(self, i: int) -> np.ndarray:
        """Ids of the caption of row i with end mark, int32 [T]."""
        batch, j = self._locate(i)
        return batch.text_values[batch.text_offsets[j] : batch.text_offsets[j + 1]]

    def row(self, i: int) -> dict:
        """`molecule` and the strings of row i: key, flat_key, smiles, text, source, id, phrases."""
        batch, j = self._locate(i)
        row = {"molecule": int(batch.molecule[j])}
        return row | {name: batch.record.column(name)[j].as_py() for name in STRINGS}

    def column(self, name: str) -> list[str]:
        """A whole string column (`STRINGS`), in row order."""
        if name not in STRINGS:
            raise ValueError(f"{name!r} is no string column; they are {', '.join(STRINGS)}")
        return [value for batch in self._batches for value in batch.record.column(name).to_pylist()]


class _Batch:
    """NumPy views of one record batch; nothing is copied from the map."""

    def __init__(self, record: pa.RecordBatch):
        self.record = record
        self.rows = record.num_rows
        self.molecule = record.column("molecule").to_numpy()
        nested, texts = record.column("smiles_tokens"), record.column("text_tokens")
        self.row_offsets = nested.offsets.to_numpy()
        self.spelling_offsets = nested.values.offsets.to_numpy()
        self.smiles_values = nested.values.values.to_numpy()
        self.text_offsets = texts.offsets.to_numpy()
        self.text_values = texts.values.to_numpy()
