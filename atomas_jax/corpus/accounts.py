"""What a manifest says of a preparation: the sources as they were, counts of what came and went, lengths, versions."""

import gzip
import zlib
from collections import Counter
from dataclasses import dataclass, field
from importlib import metadata

import numpy as np

from atomas_jax.corpus import hub
from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.prepared import sha256
from atomas_jax.corpus.readers import locate

QUANTILES = (0.5, 0.9, 0.95, 0.99, 1.0)


@dataclass
class SourceAccount:
    """What became of the rows of one source: `read` = the sum of `kept`, `duplicates`, `rejected` and `held_out`."""

    name: str
    role: str
    origin: dict
    read: int = 0
    kept: Counter = field(default_factory=Counter)
    duplicates: int = 0
    rejected: Counter = field(default_factory=Counter)
    held_out: int = 0

    def reject(self, reason: str) -> None:
        """Count a refusal by its kind, the part of the reason before a colon."""
        self.rejected[reason.partition(": ")[0]] += 1

    def as_dict(self) -> dict:
        """For the manifest."""
        return {
            "name": self.name,
            "role": self.role,
            **self.origin,
            "rows": self.read,
            "kept": dict(sorted(self.kept.items())),
            "duplicates": self.duplicates,
            "rejected": dict(sorted(self.rejected.items())),
            "held_out": self.held_out,
        }


def origin(source: Source) -> dict:
    """Where a source's bytes came from. A hub data set has an id and no sum: it is not downloaded whole."""
    kind, path = locate(source)
    found = {"path": source.path, "format": kind, "licence": source.licence}
    if kind == "hub":
        resolved, name = hub.resolve(source)
        return found | {"hub": name, "split": resolved.split}
    return found | {"bytes": path.stat().st_size, "sha256": sha256(path)}


def expected_rows(source: Source) -> int | None:
    """About how many rows a source has, for a progress bar; None where counting means reading it all."""
    kind, path = locate(source)
    if kind == "parquet":
        import pyarrow.parquet

        return pyarrow.parquet.ParquetFile(path).metadata.num_rows
    if kind in ("hub", "json") or path.suffix in (".bz2", ".xz", ".zst"):
        return None
    lines = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            while block := handle.read(1 << 20):
                lines += block.count(b"\n")
    except (OSError, EOFError, zlib.error):
        return None  # the reader will say what is wrong with the file
    return lines


class Lengths:
    """Histograms of token counts of one split."""

    def __init__(self):
        self._counts = {"smiles": Counter(), "text": Counter()}

    def add(self, smiles: int, text: int) -> None:
        """One row: tokens of its longest spelling and of its caption, end marks counted."""
        self._counts["smiles"][smiles] += 1
        self._counts["text"][text] += 1

    def as_dict(self) -> dict:
        """Quantiles (the smallest length that covers the share) and means, in tokens."""
        return {name: self._summary(counts) for name, counts in self._counts.items()}

    @staticmethod
    def _summary(counts):
        lengths = np.array(sorted(counts))
        rows = np.array([counts[length] for length in lengths.tolist()])
        covered = np.cumsum(rows) / rows.sum()
        summary = {f"p{round(100 * q)}": int(lengths[np.searchsorted(covered, q - 1e-12)]) for q in QUANTILES}
        return {"mean": round(float((lengths * rows).sum() / rows.sum()), 2), **summary}


def versions() -> dict:
    """Versions of what decides a corpus's content, by distribution name."""
    return {name: metadata.version(name) for name in ("rdkit", "datasets", "sentencepiece", "pyarrow")} | _own()


def _own():
    try:
        return {"atomas_jax": metadata.version("atomas_jax")}
    except metadata.PackageNotFoundError:  # run from a checkout
        return {"atomas_jax": "not installed"}
