"""Strings in from arguments or a file's lines; lines out to standard output or a file."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from atomas_jax.errors import UserError


@contextlib.contextmanager
def output(out: Path | None) -> Iterator[TextIO | None]:
    """Where lines go: standard output, or a file that appears whole or not at all."""
    if out is None:
        # None lets `print` find the standard output of the moment: on a terminal the bar's, which keeps lines above it
        yield None if sys.stdout.isatty() else sys.stdout
        return
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent} to write {out.name} in: make it first")
    if out.is_dir():
        raise UserError(f"{out} is a folder: give --out the name of a file")
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def read_lines(given: tuple[str, ...], file: Path | None, what: str) -> Iterator[tuple[int, str]]:
    """(number from 1, string) of the command line's strings, or of the lines of a file that are not blank."""
    if given and file:
        raise UserError(f"{what} are given both as arguments and by --file {file}: use one")
    if given:
        yield from enumerate(given, 1)
        return
    if file is None:
        raise UserError(f"no {what}: write them as arguments, or name a file with --file")
    try:
        # not by `splitlines`: it cuts at form feeds and U+2028 too, and numbers would not be an editor's
        text = (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as UTF-8 text: {error}") from None
    kept = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not kept:
        raise UserError(f"{file} holds no {what}")
    yield from kept
