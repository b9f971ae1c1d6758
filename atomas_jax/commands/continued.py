"""Long outputs that a killed command leaves half done and the same command finishes.

While FILE is being written its lines are in FILE.partial, and FILE.partial.json says of what command they are and how
far they are good. FILE itself appears whole.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from atomas_jax.errors import UserError
from atomas_jax.files import write_json

_SECONDS = 1.0
"""Between notes of how far the lines are good."""


class ContinuedOutput:
    """Lines for a list of inputs, to standard output (`out` None) or a file that can be continued.

    As a context manager: leaving it without an error makes the file appear; leaving it with one keeps what is done.

    Args:
      header: JSON values that say what is being written; a file begun under others is not continued.

    Raises:
      UserError: nowhere to write the file; one begun under another header; a note that cannot be read.
    """

    def __init__(self, out: Path | None, header: dict):
        self.out, self.header = out, header
        self.done = 0
        """Inputs whose lines are written."""
        self.counts: dict[str, int] = {}
        """Of whatever the caller counts; continued with the lines."""
        self._digest, self._noted = hashlib.sha256(), time.monotonic()
        self._stream = None
        if out is None:
            return
        self._partial = out.with_name(out.name + ".partial")
        self._note = out.with_name(out.name + ".partial.json")
        self._before = self._read_note() if self._note.is_file() and self._partial.is_file() else None

    def __enter__(self) -> "ContinuedOutput":
        return self

    def skip(self, inputs: Iterator[str]) -> Iterator[str]:
        """The inputs that are still to do. Raises UserError where those done before are not the same any more."""
        if self.out is None or self._before is None:
            return inputs
        for _ in range(self._before["inputs"]):
            self._count(next(inputs, ""))
        if self._digest.hexdigest() != self._before["sha256"]:
            raise UserError(f"{self._partial} was begun on other inputs: delete it to start anew")
        self.counts = self._before["counts"]
        self._stream = self._partial.open("r+b")
        self._stream.truncate(self._before["bytes"])
        self._stream.seek(0, os.SEEK_END)
        return inputs

    def write(self, string: str, lines: list[str]) -> None:
        """The lines of the next input."""
        text = "".join(f"{line}\n" for line in lines)
        self._count(string)
        if self.out is None:
            # found anew each time: on a terminal it is the bar's, which keeps lines above it
            print(text, end="", file=None if sys.stdout.isatty() else sys.stdout, flush=True)
            return
        if self._stream is None:
            self._stream = self._partial.open("wb")
        self._stream.write(text.encode("utf-8", "backslashreplace"))
        if time.monotonic() - self._noted > _SECONDS:
            self._write_note()

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._stream is None:
            return
        if kind is not None:
            self._write_note()
        self._stream.close()
        if kind is None:
            self._partial.replace(self.out)
            self._note.unlink(missing_ok=True)

    def _count(self, string: str) -> None:
        self._digest.update(string.encode("utf-8", "backslashreplace") + b"\n")
        self.done += 1

    def _write_note(self) -> None:
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._noted = time.monotonic()
        progress = {"inputs": self.done, "bytes": self._stream.tell(), "sha256": self._digest.hexdigest()}
        write_json(self._note, {"header": self.header, "counts": self.counts, **progress})

    def _read_note(self) -> dict:
        try:
            note = json.loads(self._note.read_text())
            good = note["header"], note["inputs"], note["bytes"], note["sha256"], note["counts"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self._note} is damaged: delete it to start anew") from None
        other = [name for name in {**good[0], **self.header} if good[0].get(name) != self.header.get(name)]
        if other:
            name = other[0]
            raise UserError(
                f"{self._partial} was begun with {name} {good[0].get(name)}, not {self.header.get(name)}: "
                "continue it so, or delete it to start anew"
            )
        if self._partial.stat().st_size < note["bytes"]:
            raise UserError(f"{self._partial} has lost lines: delete it to start anew")
        return note


def check_writable(out: Path | None) -> None:
    """Raises UserError where a file cannot be written; before anything slow is done."""
    if out is None:
        return
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent} to write {out.name} in: make it first")
    if out.is_dir():
        raise UserError(f"{out} is a folder: give --out the name of a file")
