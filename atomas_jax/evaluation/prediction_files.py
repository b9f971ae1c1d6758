"""Prediction files as the field shares them: a table of inputs, references and outputs, tab-separated, unquoted.

MolT5's layouts are `SMILES <TAB> ground truth <TAB> output` for captions and `description <TAB> ground truth <TAB>
output` for molecules; other columns and other names are taken where they are named.
"""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Predictions:
    """N rows of one task ("captions" or "molecules")."""

    task: str
    inputs: list[str]
    references: list[str]
    answers: list[str]


def read_predictions(path: str | Path, columns: Columns = Columns(), task: str = "") -> Predictions:
    r"""Read a prediction file, gzip'd or not.

    Args:
      columns: which to read; an input that is not named is found by `INPUTS`. Doubled backslashes of SMILES are
        kept: they are part of what was published, and the stamp names them.
      task: "captions" or "molecules"; '' tells it by the name of the input column.

    Raises:
      UserError: a file that is missing, damaged, not UTF-8 or without rows, a missing column, a row of another width,
        a cell beyond `LONGEST_CELL`; with the line.
    """
    lines = _lines(Path(path))
    head = [name.strip() for name in lines[0].split("\t")]
    places = {name.lower(): place for place, name in reversed(list(enumerate(head)))}
    given = columns.input or next((name for name in places if name in INPUTS), "")
    chosen = {"input": given, "reference": columns.reference, "output": columns.output}
    for what, name in chosen.items():
        if name.lower() not in places:
            wanted = f"no {what} column {name!r}" if name else f"no {what} column"
            raise UserError(f"{path} has {wanted}; it has {', '.join(head)[:300]}: name one with --columns.{what}")
    task = task or INPUTS.get(given.lower(), "")
    if not task:
        raise UserError(f"{path}: column {given!r} tells no task: give --task captions or molecules")
    read = [places[name.lower()] for name in chosen.values()]
    rows = []
    for number, line in enumerate(lines[1:], start=2):
        cells = line.split("\t")
        if len(cells) != len(head):
            raise UserError(f"{path} line {number}: {len(cells)} columns, the header has {len(head)}")
        row = [cells[place] for place in read]
        if max(map(len, row)) > LONGEST_CELL:
            raise UserError(f"{path} line {number}: a cell of more than {LONGEST_CELL:,} characters")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} has no rows below its header")
    return Predictions(task, *(list(column) for column in zip(*rows)))


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
