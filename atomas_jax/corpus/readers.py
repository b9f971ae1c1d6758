r"""Reading pairs from files and from the hub: `read(source)` gives a `Record` or a `Reject` for every row.

Everything is read by Hugging Face `datasets`, streaming, so that compression and remote data sets work alike and memory
does not depend on the file. Of TSV, CSV, JSONL and SMILES files it gives the lines as bytes (`byte_lines` says why its
own builders do not serve); they are decoded and cut into columns here one at a time, so that a bad row costs that row
only and is named by its line. Parquet, JSON arrays and hub data sets come as rows from their builders.
"""

import contextlib
import csv
import glob
import itertools
import json
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atomas_jax.corpus import hub
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError

LONGEST_CELL = 1 << 20
"""Characters of a cell or of one quoted record; more is taken for a damaged row."""
EXCERPT = 200
"""Characters of a refused row that are kept."""

SMILES_COLUMNS = (
    "isosmiles",
    "isomeric_smiles",
    "isomericsmiles",
    "smiles",
    "canonical_smiles",
    "canonicalsmiles",
    "molecule",
)
TEXT_COLUMNS = ("description", "caption", "text", "summary", "ground truth", "captions", "descriptions")
ID_COLUMNS = ("cid", "id", "index", "chebi_id", "name")

_FORMATS = {
    ".tsv": "tsv",
    ".txt": "tsv",
    ".tab": "tsv",
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".smi": "smi",
}
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


@dataclass(frozen=True, slots=True)
class Record:
    """One row: the file's strings (SMILES stripped and its backslashes repaired), the file and its 1-based line.

    For Parquet, JSON arrays and hub data sets `line` is the 1-based number of the row. `phrases` is JSON or ''.
    `kept` are the further columns that were asked for, as strings.
    """

    file: str
    line: int
    id: str
    smiles: str
    text: str
    phrases: str = ""
    kept: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """One refused row: where it is, why (a kind to count by, then ": " and what is particular), and its beginning.

    text: the caption where it could be read, so that a held-out row without a molecule still holds out its caption.
    """

    file: str
    line: int
    reason: str
    raw: str
    text: str = ""


def read(source: Source, captions: bool = True, keep: tuple[str, ...] = ()) -> Iterator[Record | Reject]:
    """All rows of a source in order; memory does not grow with the file.

    captions: False reads SMILES only (`text` is ''), for files that are to be described. keep: further columns to read.

    Raises `UserError` for a missing, empty or damaged file, a data set that cannot be reached, or a missing column.
    """
    kind, path = locate(source)
    if kind == "hub":
        filled, name = hub.resolve(source)
        rows = _hub_rows(name, filled.split)
        yield from _from_rows(filled, rows, captions, keep)
    elif kind in ("parquet", "json"):
        yield from _from_rows(source, _builder_rows(kind, path), captions, keep)
    elif kind == "jsonl":
        yield from _from_rows(source, _json_lines(source, path), captions, keep)
    elif kind == "smi":
        if keep:
            raise UserError(f"{source.path} is a list of SMILES: it has no column {keep[0]!r}")
        yield from _from_smiles_list(source, path)
    else:
        yield from _from_table(source, kind, path, captions, keep)


def locate(source: Source) -> tuple[str, Path | None]:
    """What `source.path` is: a format and the file, or ("hub", None). Raises `UserError` for what is neither."""
    path = Path(source.path).expanduser()
    if source.format == "hub" or source.path in hub.HUB or path.is_dir():
        return "hub", None
    if not path.is_file():
        if not path.suffix and source.path.count("/") == 1 and not path.parent.is_dir():
            return "hub", None
        raise UserError(f"no such file: {source.path} (names of data sets: {', '.join(hub.HUB)})")
    if path.stat().st_size == 0:
        raise UserError(f"{source.path} is empty")
    if source.format != "auto":
        return source.format, path
    endings = [suffix.lower() for suffix in path.suffixes]
    while endings and endings[-1] in _COMPRESSIONS:
        endings.pop()
    if not endings or endings[-1] not in _FORMATS:
        raise UserError(
            f"cannot tell the format of {source.path} by its ending; say format=tsv, csv, jsonl, parquet or smi"
        )
    return _FORMATS[endings[-1]], path


# ---- what `datasets` gives


@contextlib.contextmanager
def _local():
    """Keep `datasets` from reporting the load to the hub, and its lock files out of the user's cache."""
    import datasets

    counting = datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
    datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield folder
    finally:
        datasets.config.HF_UPDATE_DOWNLOAD_COUNTS = counting


def _tables(kind, path):
    """Arrow tables of a local file, in order; kind: lines, parquet or json."""
    import datasets
    import pyarrow as pa

    from atomas_jax.corpus.byte_lines import ByteLines

    files = {"train": [glob.escape(str(path.resolve()))]}
    try:
        with _local() as cache:
            if kind == "lines":
                stream = ByteLines(cache_dir=cache, data_files=files).as_streaming_dataset("train")
            else:
                stream = datasets.load_dataset(kind, data_files=files, split="train", streaming=True, cache_dir=cache)
            yield from stream.with_format("arrow").iter(batch_size=1000)
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"cannot read {path}: {_first_line(error)}") from error


def _first_line(error):
    text = str(error).strip()
    return text.splitlines()[0][:300] if text else type(error).__name__


def _lines(source, path) -> Iterator[tuple[int, str | None, str]]:
    """(line number, its text or None where it cannot be decoded, something to show of it) of every line."""
    number = 0
    for table in _tables("lines", path):
        for data in table["line"].to_pylist():
            number += 1
            if number == 1:
                data = data.removeprefix(b"\xef\xbb\xbf")
            try:
                text = data.decode(source.encoding)
            except UnicodeDecodeError:
                yield number, None, data[: 4 * EXCERPT].decode("ascii", "backslashreplace")
            except LookupError as error:
                raise UserError(f"{source.path}: there is no encoding called {source.encoding!r}") from error
            else:
                yield number, text, text
    if not number:
        raise UserError(f"{source.path} is empty")


def _builder_rows(kind, path):
    number = 0
    for table in _tables(kind, path):
        for row in table.to_pylist():
            number += 1
            yield number, row, ""


def _hub_rows(name, split):
    number = 0
    try:
        for row in hub.load(name, split):
            number += 1
            yield number, row, ""
    except OSError as error:
        raise UserError(f"reading {name!r} stopped after {number:,} rows: {_first_line(error)}") from error


def _json_lines(source, path):
    for number, line, raw in _lines(source, path):
        if line is None:
            yield number, f"undecodable bytes: not {source.encoding}", raw
        elif line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                yield number, f"not JSON: {error}", raw
            else:
                yield number, row if isinstance(row, dict) else "not JSON: no object", raw


# ---- rows to records


def _from_rows(source, rows, captions, keep):
    """rows: (number, dict of columns or the reason why there is none, raw text)."""
    columns = None
    number = 0
    for number, row, raw in rows:
        if isinstance(row, str):
            yield _reject(source, number, row, raw)
            continue
        if columns is None:
            columns = _choose_columns(source, list(row), captions)
            _check_kept(source, list(row), keep)
        shown = raw or json.dumps(row, ensure_ascii=False, default=str)
        missing = [name for name in columns[:2] if name and name not in row]
        if missing:
            yield _reject(source, number, f"missing column: {missing[0]}", shown)
            continue
        smiles, text, row_id = (None if not name else row.get(name) for name in columns)
        if isinstance(smiles, (list, dict)) or isinstance(text, (list, dict)):
            yield _reject(source, number, "a cell that is not a string", shown)
            continue
        kept = tuple("" if row.get(name) is None else str(row[name]) for name in keep)
        yield _record(source, number, smiles, text, row_id, shown, captions, kept)
    if not number:
        raise UserError(f"{source.path} has no rows")


def _from_table(source, kind, path, captions, keep):
    delimiter = source.delimiter or ("," if kind == "csv" else "\t")
    if len(delimiter) != 1:
        raise UserError(f"{source.path}: a delimiter is one character, not {delimiter!r}")
    quotes = source.quotes if source.quotes != "auto" else ("csv" if kind == "csv" else "literal")
    lines = _lines(source, path)
    rows = _quoted_rows(lines, delimiter, source) if quotes == "csv" else _literal_rows(lines, delimiter, source)
    first = next(rows, None)
    if first is None:
        raise UserError(f"{source.path} has no rows")
    if isinstance(first[1], str):
        raise UserError(f"{source.path}: the first line cannot be read: {first[1]}")
    width = len(first[1])
    if source.header:
        header = [name.strip() for name in first[1]]
    else:
        header = [str(i + 1) for i in range(width)]
        rows = itertools.chain([first], rows)
    indices = [header.index(name) if name else None for name in _choose_columns(source, header, captions)]
    _check_kept(source, header, keep)
    further = [header.index(name) for name in keep]
    count = 0
    for number, cells, raw in rows:
        count += 1
        if isinstance(cells, str):
            yield _reject(source, number, cells, raw)
        elif len(cells) != width:
            yield _reject(source, number, f"wrong number of columns: {len(cells)}, the first line has {width}", raw)
        else:
            smiles, text, row_id = (None if i is None else cells[i] for i in indices)
            yield _record(source, number, smiles, text, row_id, raw, captions, tuple(cells[i] for i in further))
    if not count:
        raise UserError(f"{source.path} has no rows below its header")


def _literal_rows(lines, delimiter, source):
    for number, line, raw in lines:
        if line is None:
            yield number, f"undecodable bytes: not {source.encoding}", raw
        elif line.strip(" "):
            yield number, line.split(delimiter), line


def _quoted_rows(lines, delimiter, source):
    """Records of a quoted file. One ends where its quotation marks are balanced.

    A quotation mark that is never closed would swallow the rest of the file: when a record passes `LONGEST_CELL`
    characters or the file ends, its first line is refused and reading goes on at the second. So it does when lines
    between two stray marks were joined to a record of another width than the first.
    """
    width = None
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_CELL))
    waiting = deque()
    stream = iter(lines)
    while True:
        record, size, marks = [], 0, 0
        while True:
            item = waiting.popleft() if waiting else next(stream, None)
            if item is None:
                break
            record.append(item)
            size += len(item[2])
            marks += (item[1] or "").count('"')
            if item[1] is None or not marks % 2 or size > LONGEST_CELL:
                break
        if not record:
            return
        number, _, raw = record[0]
        if any(text is None for _, text, _ in record):
            # The damaged line may be the end of this record or a later row: refuse the first, look at the rest again.
            reason = (
                f"undecodable bytes: not {source.encoding}"
                if record[0][1] is None
                else "undecodable bytes: in a later line of the record"
            )
            yield number, reason, raw
            waiting.extendleft(reversed(record[1:]))
        elif marks % 2:
            yield number, "a quotation mark that is never closed", record[0][1]
            waiting.extendleft(reversed(record[1:]))
        else:
            text = "\n".join(text for _, text, _ in record)
            if not text.strip():
                continue
            try:
                cells = next(csv.reader([text], delimiter=delimiter, strict=True))
            except csv.Error as error:
                cells = f"not CSV: {error}"
            width = width or len(cells)
            if len(record) > 1 and (isinstance(cells, str) or len(cells) != width):
                yield number, "a quotation mark that is never closed", record[0][1]
                waiting.extendleft(reversed(record[1:]))
            else:
                yield number, cells, text


def _from_smiles_list(source, path):
    """One SMILES a line, optionally a blank or tab and a name; a first line "smiles ..." is a header."""
    for number, line, raw in _lines(source, path):
        if line is None:
            yield _reject(source, number, f"undecodable bytes: not {source.encoding}", raw)
            continue
        smiles, *name = line.split(source.delimiter or None, 1) if line.strip() else [""]
        if not line.strip() or (number == 1 and smiles.lower() in SMILES_COLUMNS):
            continue
        yield _record(source, number, smiles, "", name[0].strip() if name else "", raw, captions=False)


def _choose_columns(source, found, captions):
    """Names of the SMILES, caption and id columns; None for a caption or id there is not (or that is not asked for)."""
    smiles = _column(source, found, source.smiles, SMILES_COLUMNS, "SMILES", "smiles")
    text = _column(source, found, source.text, TEXT_COLUMNS, "caption", "text") if captions else None
    if source.id and source.id not in found:
        raise UserError(f"{source.path} has no column {source.id!r}; it has {', '.join(found)}")
    by_name = {name.lower(): name for name in reversed(found)}
    return smiles, text, source.id or next((by_name[name] for name in ID_COLUMNS if name in by_name), None)


def _check_kept(source, found, keep):
    if missing := [name for name in keep if name not in found]:
        raise UserError(f"{source.path} has no column {missing[0]!r}; it has {', '.join(found)}")


def _column(source, found, wanted, usual, what, setting):
    if wanted:
        if wanted not in found:
            raise UserError(f"{source.path} has no column {wanted!r}; it has {', '.join(found)}")
        return wanted
    by_name = {name.lower(): name for name in reversed(found)}
    for name in usual:
        if name in by_name:
            return by_name[name]
    raise UserError(f"{source.path}: no {what} column among {', '.join(found)}; name it with {setting}=COLUMN")


def _record(source, number, smiles, text, row_id, raw, captions, kept=()):
    smiles = "" if smiles is None else str(smiles).strip()
    text = "" if text is None else str(text)
    if not smiles:
        return _reject(source, number, "empty SMILES", raw)
    if captions and not text.strip():
        return _reject(source, number, "empty caption", raw)
    if max(len(smiles), len(text)) > LONGEST_CELL:
        return _reject(source, number, f"too long: a cell of more than {LONGEST_CELL:,} characters", raw)
    if source.backslashes == "fixed":
        smiles = smiles.replace("\\\\", "\\")
    row_id = str(number) if row_id in (None, "") else str(row_id)
    return Record(source.path, number, row_id, smiles, text, "", kept)


def _reject(source, number, reason, raw):
    return Reject(source.path, number, reason, raw[:EXCERPT])
