"""Strings in from arguments or a file's lines, read as they are needed."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

from atomas_jax.errors import UserError


def read_lines(given: tuple[str, ...], file: Path | None, what: str) -> Iterator[tuple[int, str]]:
    """(number from 1, string) of the command line's strings, or of the lines of a file that are not blank.

    Raises UserError, most of it before anything is read: both or neither given, no such file, not UTF-8, no lines.
    """
    if given and file:
        raise UserError(f"{what} are given both as arguments and by --file {file}: use one")
    if not given and file is None:
        raise UserError(f"no {what}: write them as arguments, or name a file with --file")
    return iter(enumerate(given, 1)) if given else _lines_of(file, what)


def _lines_of(file: Path, what: str) -> Iterator[tuple[int, str]]:
    number, any_line = 0, False
    try:
        # not by text mode: it cuts at form feeds and U+2028 too, and numbers would not be an editor's
        with open(0, "rb", closefd=False) if str(file) == "-" else file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                if string := line.decode("utf-8-sig" if number == 1 else "utf-8").strip():
                    any_line = True
                    yield number, string
    except FileNotFoundError:
        raise UserError(f"no file {file}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file} cannot be read as UTF-8 text: line {number}: {error}") from None
    except OSError as error:
        raise UserError(f"{file} cannot be read as UTF-8 text: {error}") from None
    if not any_line:
        raise UserError(f"{file} holds no {what}")


_PATIENCE = 0.05
"""Seconds to wait for a line more before those at hand are worked on."""


def arriving(lines: Iterator[str], most: int) -> Iterator[list[str]]:
    """The lines in groups of those that have arrived, one at the least and `most` at the most: somebody who types, or a
    slow pipe, has the answer to a line without having to write a whole batch."""
    ready: queue.Queue = queue.Queue(most)  # a fast pipe waits, so that memory does not grow

    def read() -> None:
        try:
            for line in lines:
                ready.put(line)
            ready.put(None)
        except UserError as error:
            ready.put(error)

    threading.Thread(target=read, daemon=True).start()
    item = ready.get()
    while isinstance(item, str):
        group = [item]
        try:
            while isinstance(item := ready.get(timeout=_PATIENCE), str):
                group.append(item)
                if len(group) == most:
                    break
        except queue.Empty:
            pass
        yield group
        if isinstance(item, str):
            item = ready.get()
    if item is not None:
        raise item


def count_lines(given: tuple[str, ...], file: Path | None) -> int | None:
    """How many strings `read_lines` will give; None for standard input, which is read once."""
    if given:
        return len(given)
    if file is None or not file.is_file():
        return None
    with file.open("rb") as stream:
        return sum(1 for line in stream if line.strip())
