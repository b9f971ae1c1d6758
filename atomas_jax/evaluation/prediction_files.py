"""Prediction files as the field shares them: a table of inputs, references and outputs.

MolT5's layouts are `SMILES <TAB> ground truth <TAB> output` for captions and `description <TAB> ground truth <TAB>
output` for molecules, unquoted; other columns and other names are taken where they are named, CSV (`.csv`, quoted) and
JSON lines (`.jsonl`) by the file's ending, any of them gzip'd or not. A file that has outputs and ids alone
(MolReGPT's) is joined with a file of references.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atomas_jax.corpus import readers
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError

LONGEST_CELL = 1 << 20
"""Characters of a cell; more is a damaged file."""

INPUTS = {"smiles": "captions", "description": "molecules", "caption": "molecules", "text": "molecules"}
"""Columns that are inputs, in lower case, and the task they tell."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns of a prediction file, case aside."""

    input: str = ""
    """Of what was asked; found by its usual names when empty."""
    reference: str = "ground truth"
    """Of the right answers."""
    output: str = "output"
    """Of the answers to measure."""
    id: str = "CID"
    """Of what names a row, where references are in a file of their own."""


@dataclass(frozen=True)
class Predictions:
    """N rows of one task ("captions" or "molecules")."""

    task: str
    inputs: list[str]
    references: list[str]
    answers: list[str]


def read_predictions(
    path: str | Path, columns: Columns = Columns(), task: str = "", references: Source | None = None
) -> Predictions:
    r"""Read a prediction file.

    Args:
      columns: which to read; an input that is not named is found by `INPUTS`. Doubled backslashes of SMILES are
        kept: they are part of what was published, and the stamp names them.
      task: "captions" or "molecules"; '' tells it by the name of the input column.
      references: pairs with ids, for a file that has outputs and ids alone; its rows give the order. Its own
        `backslashes` setting says whether doubled ones are repaired.

    Raises:
      UserError: a file that is missing, damaged, not UTF-8 or without rows, a missing column, a row of another width,
        a cell beyond `LONGEST_CELL`, with the line; ids that are missing, repeated or unknown.
    """
    path = Path(path)
    table = _table(path)
    head = next(table)
    places = {name.lower(): place for place, name in reversed(list(enumerate(head)))}
    if references is None:
        given = columns.input or next((name for name in places if name in INPUTS), "")
        chosen = {"input": given, "reference": columns.reference, "output": columns.output}
        task = task or INPUTS.get(given.lower(), "")
    else:
        chosen = {"id": columns.id, "output": columns.output}
    for what, name in chosen.items():
        if name.lower() not in places:
            wanted = f"no {what} column {name!r}" if name else f"no {what} column"
            raise UserError(f"{path} has {wanted}; it has {', '.join(head)[:300]}: name one with --columns.{what}")
    if not task:
        told = f"column {chosen['input']!r} tells no task" if references is None else "ids tell no task"
        raise UserError(f"{path}: {told}: give --task captions or molecules")
    read = [places[name.lower()] for name in chosen.values()]
    rows = []
    for number, cells in enumerate(table, start=2):
        if len(cells) != len(head):
            raise UserError(f"{path} line {number}: {len(cells)} columns, the header has {len(head)}")
        row = [cells[place] for place in read]
        if max(map(len, row)) > LONGEST_CELL:
            raise UserError(f"{path} line {number}: a cell of more than {LONGEST_CELL:,} characters")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} has no rows below its header")
    if references is None:
        return Predictions(task, *(list(column) for column in zip(*rows)))
    return _joined(path, task, rows, references)


def _joined(path: Path, task: str, rows: list[list[str]], references: Source) -> Predictions:
    """Outputs put to the references of the same ids, in the references' order."""
    answers = dict(rows)
    if len(answers) < len(rows):
        raise UserError(f"{path} has {len(rows) - len(answers):,} ids more than once: one output an id is wanted")
    records = [record for record in readers.read(references) if isinstance(record, readers.Record)]
    lacking = [record.id for record in records if record.id not in answers]
    unknown = answers.keys() - {record.id for record in records}
    if lacking or unknown:
        where = f"{len(lacking):,} of the references have no output" if lacking else ""
        more = f"{len(unknown):,} outputs have no reference" if unknown else ""
        first = lacking[0] if lacking else min(unknown)
        told = " and ".join(filter(None, (where, more)))
        raise UserError(f"{path} and {references.path}: {told} (such as id {first}): want one output a reference")
    pairs = [(record.smiles, record.text) for record in records]
    inputs, wanted = zip(*(pairs if task == "captions" else [pair[::-1] for pair in pairs]))
    return Predictions(task, list(inputs), list(wanted), [answers[record.id] for record in records])


def _table(path: Path) -> Iterator[list[str]]:
    """The header, then the cells of every row."""
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    lines = _lines(path)
    if kind == "csv":
        csv.field_size_limit(max(csv.field_size_limit(), 2 * LONGEST_CELL))
        try:
            yield from csv.reader(io.StringIO("\n".join(lines), newline=""), strict=True)
        except csv.Error as error:
            raise UserError(f"{path} is no CSV: {error}") from None
    elif kind in ("jsonl", "ndjson"):
        head: list[str] = []
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path} line {number} is no JSON: {error}") from None
            if not isinstance(row, dict):
                raise UserError(f"{path} line {number} is no JSON object of columns")
            if not head:
                head = list(row)
                yield head
            if lacking := [name for name in head if name not in row]:
                raise UserError(f"{path} line {number} has no {lacking[0]!r}, which the first line has")
            yield ["" if row[name] is None else str(row[name]) for name in head]
    else:
        head, *rows = lines
        yield [name.strip() for name in head.split("\t")]
        yield from (line.split("\t") for line in rows)


def _lines(path: Path) -> list[str]:
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(f"{path} line {line} is not UTF-8: convert the file first") from None
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise UserError(f"{path} is empty")
    return lines
