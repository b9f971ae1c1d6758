"""Whether an output can be written: asked before anything slow is done, so that no work is lost for a wrong name."""

import tempfile
from pathlib import Path

from atomas_jax.errors import UserError


def check_writable(out: Path | None) -> None:
    """Raises UserError where a file cannot be written: no folder for it, one that takes no files, no plain file."""
    if out is None:
        return
    if str(out) == "-":
        raise UserError("--out - is no file: without --out standard output is written to")
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent} to write {out.name} in: make it first")
    if out.is_dir():
        raise UserError(f"{out} is a folder: give --out the name of a file")
    if out.exists() and not out.is_file():
        raise UserError(f"{out} is no plain file: give --out the name of one")
    # named like the longest of those that lie beside it while it is written
    _try(out, out.parent, f".{out.name}.rejects.jsonl.partial")


def check_folder(out: Path | None) -> None:
    """Raises UserError where a folder takes no files, or cannot be made: it need not be there."""
    if out is None:
        return
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UserError(f"{there} is a file: name a folder")
    _try(out, there)


def _try(out: Path, folder: Path, ending: str = "") -> None:
    """Put a file there, and take it away: rights alone do not tell, for a file system may take none."""
    try:
        tempfile.NamedTemporaryFile(dir=folder, suffix=ending).close()
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
