"""Lists of molecules as chemists keep them, one line at a time: SMILES files, and TSV or CSV tables with a header."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from atomas_jax.errors import UserError

SMILES_COLUMNS = ("smiles", "isosmiles", "isomeric_smiles", "isomericsmiles", "canonical_smiles", "canonicalsmiles")
"""Headers a table's molecules are looked for under, in any case, unless one is named."""
LONGEST_LINE = 1 << 20
"""Bytes of a line that are read; a longer one is refused, so that no file can take unbounded memory."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of a list: its number from 1, its SMILES as given, and its other cells by their headers.

    reason: why the line holds no molecule ('' where it may); `smiles` is then the line's beginning.
    """

    line: int
    smiles: str
    columns: dict[str, str] = field(default_factory=dict)
    reason: str = ""


def read_molecules(path: Path, smiles_column: str = "") -> Iterator[Listed]:
    """The lines of a list that are not blank, read as they are needed.

    `.tsv` and `.csv` (and `.gz` of either) have a header; everything else is a SMILES file: a SMILES, and after a blank
    what it is called, given as the column `name`. A CSV's quoted cells may hold commas, not line ends.

    Args:
      smiles_column: header of the molecules; '' looks for a usual one.

    Raises:
      UserError: no such file, one cut short or not readable, a table without such a header.
    """
    ending = Path(path.stem).suffix if path.suffix.lower() == ".gz" else path.suffix
    delimiter = {".tsv": "\t", ".csv": ","}.get(ending.lower())
    lines = _lines(path)
    if delimiter is None:
        if smiles_column:
            raise UserError(f"{path} is no table (.tsv or .csv) and has no column {smiles_column}")
        yield from map(_named, lines)
        return
    for heading in lines:
        if heading.reason:
            raise UserError(f"{path}: its header cannot be read: {heading.reason}")
        header = [cell.strip() for cell in _cells(heading.smiles, delimiter)]
        break
    else:
        return
    place = _find_column(path, header, smiles_column)
    for found in lines:
        yield found if found.reason else _tabled(found, header, place, delimiter)


def check_list(path: Path, smiles_column: str = "") -> None:
    """Raises UserError where a list cannot be begun; before anything slow is done."""
    if next(read_molecules(path, smiles_column), None) is None:
        raise UserError(f"{path} holds no molecules")


def _named(found: Listed) -> Listed:
    smiles, *name = found.smiles.split(None, 1)
    return found if found.reason else Listed(found.line, smiles, {"name": name[0]} if name else {})


def _tabled(found: Listed, header: list[str], place: int, delimiter: str) -> Listed:
    cells = _cells(found.smiles, delimiter)
    if len(cells) != len(header):
        return Listed(found.line, found.smiles[:200], reason=f"{len(cells)} cells where the header has {len(header)}")
    columns = {name: cell for i, (name, cell) in enumerate(zip(header, cells)) if i != place and name}
    return Listed(found.line, cells[place].strip(), columns)


def _cells(line: str, delimiter: str) -> list[str]:
    return line.split("\t") if delimiter == "\t" else next(csv.reader([line], delimiter=delimiter))


def _find_column(path: Path, header: list[str], wanted: str) -> int:
    lowered = [name.lower() for name in header]
    for name in [wanted.lower()] if wanted else SMILES_COLUMNS:
        if name in lowered:
            return lowered.index(name)
    raise UserError(
        f"{path} has no column {wanted or 'smiles'!r}, but {', '.join(header)}: name it with --smiles-column"
    )


def _lines(path: Path) -> Iterator[Listed]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            while raw := stream.readline(LONGEST_LINE + 1):
                number += 1
                if len(raw) > LONGEST_LINE and not raw.endswith(b"\n"):
                    yield Listed(number, raw[:200].decode("ascii", "replace"), reason="the line is over a megabyte")
                    while raw and not raw.endswith(b"\n"):
                        raw = stream.readline(LONGEST_LINE)
                    continue
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    yield Listed(number, raw[:200].decode("ascii", "replace"), reason=f"not UTF-8: {error.reason}")
                    continue
                if line.strip():
                    yield Listed(number, line)
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read after line {number}: {error}") from None
