"""Curated rows on disk between the two passes of a preparation, so that memory does not grow with the corpus."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

_SCHEMA = pa.schema(
    [
        ("destination", pa.string()),  # train (still to be divided), validation or test
        ("source", pa.string()),
        ("file", pa.string()),
        ("line", pa.int64()),
        ("id", pa.string()),
        ("smiles", pa.string()),
        ("text", pa.string()),
        ("phrases", pa.string()),
        ("key", pa.string()),
        ("flat_key", pa.string()),
        ("group", pa.string()),
    ]
)
_ROWS = 2048


class Spool:
    """Rows are appended, `close` is called, then they are read in order, any number of times."""

    def __init__(self, path: Path):
        self.path = path
        self._handle = path.open("wb")
        self._writer = pa.ipc.new_stream(self._handle, _SCHEMA)
        self._waiting = []
        self.rows = 0

    def append(self, *row) -> None:
        """One row: the columns of `_SCHEMA` in order."""
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == _ROWS:
            self._flush()

    def _flush(self):
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*self._waiting), _SCHEMA)]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
        self._waiting = []

    def close(self) -> None:
        if self._waiting:
            self._flush()
        self._writer.close()
        self._handle.close()

    def batches(self, *columns: str) -> Iterator[list[tuple]]:
        """Lists of tuples of the named columns; of all when none is named."""
        columns = columns or _SCHEMA.names
        with self.path.open("rb") as handle:
            for batch in pa.ipc.open_stream(handle):
                yield list(zip(*(batch.column(name).to_pylist() for name in columns)))
