"""Long outputs that a killed command leaves half done and the same command finishes.

While FILE is being written its lines are in FILE.partial, and FILE.partial.json says of what command they are and how
far they are good. FILE itself appears whole, and beside it FILE.rejects.jsonl where inputs were refused.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from atomas_jax.commands.lines import Line
from atomas_jax.errors import UserError
from atomas_jax.files import write_json

_SECONDS = 1.0
"""Between notes of how far the lines are good."""
_INPUTS = 16
"""Between notes, where so many come in less time: answers come by the window, and then none for minutes."""


class ContinuedOutput:
    """Lines for a list of inputs, to standard output (`out` None) or a file that can be continued.

    As a context manager: leaving it without an error makes the file appear; leaving it with one keeps what is done.

    Args:
      header: JSON values that say what is being written; a file begun under others is not continued.

    Raises:
      UserError: a file begun under another header, or that has lost lines; a note that cannot be read.
    """

    def __init__(self, out: Path | None, header: dict):
        self.out, self.header = out, header
        self.done = 0
        """Inputs whose lines are written."""
        self.counts: dict[str, int] = {}
        """Of whatever the caller counts; continued with the lines."""
        self._digest, self._noted, self._noted_at = hashlib.sha256(), time.monotonic(), 0
        self._midway = False  # an input's lines are being written, so that what is counted may not be what is there
        if out is None:
            return
        self._lines, self._rejects = _Part(out), _Part(rejects_of(out))
        self._note = out.with_name(out.name + ".partial.json")
        self._before = self._read_note() if self._note.is_file() and self._lines.partial.is_file() else None

    def __enter__(self) -> "ContinuedOutput":
        return self

    def skip(self, inputs: Iterator[Line]) -> Iterator[Line]:
        """The inputs that are still to do. Raises UserError where those done before are not the same any more."""
        if self.out is None or self._before is None:
            return inputs
        for _ in range(self._before["inputs"]):
            self._count(next(inputs, Line(0, "")))
        if self._digest.hexdigest() != self._before["sha256"]:
            raise UserError(f"{self._lines.partial} was begun on other inputs: delete it to start anew")
        self.counts, self._noted_at = self._before["counts"], self.done
        self._lines.go_on_at(self._before["bytes"])
        self._rejects.go_on_at(self._before["rejects"])
        return inputs

    def write(self, given: Line, lines: list[str], counts: dict[str, int]) -> None:
        """The lines of the next input, and what is to be added to `counts` with them."""
        self._midway = True
        self._count(given)
        for what, number in counts.items():
            self.counts[what] = self.counts.get(what, 0) + number
        text = "".join(f"{line}\n" for line in lines)
        if self.out is None:
            # found anew each time: on a terminal it is the bar's, which keeps lines above it
            print(text, end="", file=None if sys.stdout.isatty() else sys.stdout, flush=True)
            return
        self._lines.write(text)
        self._midway = False
        if self.done - self._noted_at >= _INPUTS or time.monotonic() - self._noted > _SECONDS:
            self._write_note()

    def refuse(self, given: Line, file: str, line: str) -> None:
        """The next input is refused for its fault: `line` keeps its place, the reason goes to the rejects."""
        self._midway = True
        if self.out is None:
            print(f"line {given.number} is refused: {given.fault}", file=sys.stderr)
        else:
            reject = {"file": file, "line": given.number, "why": given.fault, "raw": given.string[:200]}
            self._rejects.write(json.dumps(reject, ensure_ascii=False) + "\n")
        self.write(given, [line], {"refused": 1})

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.out is None or self._lines.stream is None:
            return
        if kind is not None and not self._midway:
            self._write_note()
        for part in (self._rejects, self._lines):
            part.close(whole=kind is None)
        if kind is None:
            self._note.unlink(missing_ok=True)

    def _count(self, given: Line) -> None:
        self._digest.update(given.string.encode("utf-8", "backslashreplace") + b"\n")
        self.done += 1

    def _write_note(self) -> None:
        self._noted, self._noted_at = time.monotonic(), self.done
        progress = {"inputs": self.done, "bytes": self._lines.kept(), "rejects": self._rejects.kept()}
        progress["sha256"] = self._digest.hexdigest()
        write_json(self._note, {"header": self.header, "counts": self.counts, **progress})

    def _read_note(self) -> dict:
        try:
            note = json.loads(self._note.read_text())
            good = [note[name] for name in ("header", "inputs", "sha256", "counts")]
            lost = self._lines.has_lost(note["bytes"]) or self._rejects.has_lost(note["rejects"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{self._note} is damaged: delete it to start anew") from None
        other = [name for name in {**good[0], **self.header} if good[0].get(name) != self.header.get(name)]
        if other:
            name = other[0]
            raise UserError(
                f"{self._lines.partial} was begun with {name} {good[0].get(name)}, not {self.header.get(name)}: "
                "continue it so, or delete it to start anew"
            )
        if lost:
            raise UserError(f"{self._lines.partial} has lost lines: delete it to start anew")
        return note


class _Part:
    """A file on its way: made with its first line, under its own name when it is whole."""

    def __init__(self, path: Path):
        self.path, self.partial, self.stream = path, path.with_name(path.name + ".partial"), None

    def write(self, text: str) -> None:
        if self.stream is None:
            self.stream = self.partial.open("wb")
        self.stream.write(text.encode("utf-8", "backslashreplace"))

    def kept(self) -> int:
        """Bytes that outlive the process from now on."""
        if self.stream is None:
            return 0
        self.stream.flush()
        os.fsync(self.stream.fileno())
        return self.stream.tell()

    def has_lost(self, size: int) -> bool:
        return size > 0 and not (self.partial.is_file() and self.partial.stat().st_size >= size)

    def go_on_at(self, size: int) -> None:
        if size:
            self.stream = self.partial.open("r+b")
            self.stream.truncate(size)
            self.stream.seek(0, os.SEEK_END)

    def close(self, whole: bool) -> None:
        if self.stream is not None:
            self.stream.close()
        if whole and self.stream is not None:
            self.partial.replace(self.path)
        elif whole:  # what is there is of another output
            for stale in (self.path, self.partial):
                stale.unlink(missing_ok=True)


def rejects_of(out: Path) -> Path:
    """Where the inputs go that were refused."""
    return out.with_name(out.name + ".rejects.jsonl")
