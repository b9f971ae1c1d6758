"""Curated rows on disk between the two passes of a preparation, so that memory does not grow with the corpus."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa


class SpoolRow(NamedTuple):
    """One curated row. destination: train (still to be divided), validation or test; place: of its source."""

    destination: str
    place: int
    source: str
    file: str
    line: int
    id: str
    smiles: str
    text: str
    phrases: str
    key: str
    flat_key: str
    group: str


_SCHEMA = pa.schema(
    [(name, pa.int64() if kind is int else pa.string()) for name, kind in SpoolRow.__annotations__.items()]
)
_ROWS = 2048


class Spool:
    """Rows are appended, `close` is called, then they are read in order, any number of times."""

    def __init__(self, path: Path):
        self.path = path
        self.rows = 0
        self._handle = path.open("wb")
        self._writer = pa.ipc.new_stream(self._handle, _SCHEMA)
        self._waiting = []

    def append(self, row: SpoolRow) -> None:
        """Add one row at the end."""
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == _ROWS:
            self._flush()

    def _flush(self):
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*self._waiting), _SCHEMA)]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
        self._waiting = []

    def close(self) -> None:
        """Finish the file."""
        if self._waiting:
            self._flush()
        self._writer.close()
        self._handle.close()

    def __iter__(self) -> Iterator[SpoolRow]:
        return map(SpoolRow._make, self.columns(*SpoolRow._fields))

    def columns(self, *names: str) -> Iterator[tuple]:
        """The named columns of each row."""
        with self.path.open("rb") as handle:
            for batch in pa.ipc.open_stream(handle):
                yield from zip(*(batch.column(name).to_pylist() for name in names))
