"""Strings in from arguments or a file's lines, read as they are needed."""

import gzip
import queue
import threading
import zlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from atomas_jax.errors import UserError


class Line(NamedTuple):
    """One string of the command line or of a file."""

    number: int
    """From 1, as an editor counts."""
    string: str
    fault: str = ""
    """Why nothing can be done with it."""


def read_lines(given: tuple[str, ...], file: Path | None, what: str) -> Iterator[tuple[int, str]]:
    """(number from 1, string) of the command line's strings, or of the lines of a file that are not blank.

    Raises UserError as `any_lines`, and where a line is not UTF-8.
    """
    return (_sound(line, file) for line in any_lines(given, file, what))


def _sound(line: Line, file: Path | None) -> tuple[int, str]:
    if line.fault:
        raise UserError(f"{file} cannot be read as UTF-8 text: line {line.number}: {line.fault}")
    return line.number, line.string


def any_lines(given: tuple[str, ...], file: Path | None, what: str) -> Iterator[Line]:
    """The same, with the fault of a line that is not UTF-8.

    Raises UserError, most of it before anything is read: both or neither given, no such file, no lines.
    """
    if given and file:
        raise UserError(f"{what} are given both as arguments and by --file {file}: use one")
    if not given and file is None:
        raise UserError(f"no {what}: write them as arguments, or name a file with --file")
    return (Line(*each) for each in enumerate(given, 1)) if given else _lines_of(file, what)


def _lines_of(file: Path, what: str) -> Iterator[Line]:
    any_line = False
    try:
        # not by text mode: it cuts at form feeds and U+2028 too, and numbers would not be an editor's
        with open(0, "rb", closefd=False) if str(file) == "-" else _opened(file) as stream:
            for number, line in enumerate(stream, 1):
                encoding, fault = "utf-8-sig" if number == 1 else "utf-8", ""
                try:
                    string = line.decode(encoding).strip()
                except UnicodeDecodeError as error:
                    string, fault = line.decode(encoding, "backslashreplace").strip(), str(error)
                if string:
                    any_line = True
                    yield Line(number, string, fault)
    except FileNotFoundError:
        raise UserError(f"no file {file}") from None
    except (OSError, EOFError, zlib.error) as error:  # the last two of gzip
        raise UserError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not any_line:
        raise UserError(f"{'standard input' if str(file) == '-' else file} holds no {what}")


_PATIENCE = 0.05
"""Seconds to wait for a line more before those at hand are worked on."""


class _End(NamedTuple):
    """Of the lines that arrive."""

    error: UserError | None = None


def arriving(lines: Iterator, most: int) -> Iterator[list]:
    """The lines in groups of those that have arrived, one at the least and `most` at the most: somebody who types, or a
    slow pipe, has the answer to a line without having to write a whole batch."""
    ready: queue.Queue = queue.Queue(most)  # a fast pipe waits, so that memory does not grow

    def read() -> None:
        try:
            for line in lines:
                ready.put(line)
            ready.put(_End())
        except UserError as error:
            ready.put(_End(error))

    threading.Thread(target=read, daemon=True).start()
    item = ready.get()
    while not isinstance(item, _End):
        group = [item]
        try:
            while not isinstance(item := ready.get(timeout=_PATIENCE), _End):
                group.append(item)
                if len(group) == most:
                    break
        except queue.Empty:
            pass
        yield group
        if not isinstance(item, _End):
            item = ready.get()
    if item.error:
        raise item.error


def sections(lines: Iterator[Line], faults: int) -> Iterator[Iterator[Line]]:
    """The lines in parts that end behind so many faulty ones. Each is to be read to its end before the next."""

    def section(lines: Iterator[Line]) -> Iterator[Line]:
        left = faults
        for line in lines:
            yield line
            left -= bool(line.fault)
            if not left:
                return

    for first in lines:
        yield section(chain([first], lines))


def count_lines(given: tuple[str, ...], file: Path | None) -> int | None:
    """How many strings `read_lines` will give; None for standard input, which is read once, and for a damaged file."""
    if given:
        return len(given)
    if file is None or not file.is_file():
        return None
    try:
        with _opened(file) as stream:
            return sum(1 for line in stream if line.strip())
    except (EOFError, zlib.error):
        return None  # whoever reads it is told where


def _opened(file: Path) -> BinaryIO:
    return gzip.open(file) if file.suffix == ".gz" else file.open("rb")
