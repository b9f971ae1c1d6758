"""What an evaluation gives: values with intervals, the score of every row, a stamp of how it was measured."""

import hashlib
import json
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.files import write_whole

FORMAT = "atomas-results/1"


@dataclass(frozen=True)
class Metric:
    """How one number is shown and read: decimals printed, which way is better, and what it means in one line."""

    meaning: str
    decimals: int = 3
    higher_is_better: bool = True


METRICS: dict[str, Metric] = {
    "BLEU-2": Metric("corpus BLEU over tokens, 1- and 2-grams, no smoothing"),
    "BLEU-4": Metric("corpus BLEU over tokens, 1- to 4-grams, no smoothing"),
    "METEOR": Metric("mean over rows; exact, stem and (with WordNet) synonym matches of tokens"),
    "ROUGE-1": Metric("mean F1 of words shared with the reference"),
    "ROUGE-2": Metric("mean F1 of word pairs shared with the reference"),
    "ROUGE-L": Metric("mean F1 of the longest common subsequence of words"),
    "BLEU": Metric("corpus BLEU over characters, 1- to 4-grams, no smoothing, invalid strings included"),
    "Exact": Metric("share of rows whose molecule is the reference molecule (InChI)"),
    "Exact, no stereo": Metric("the same when stereo is left out on both sides"),
    "Exact, R/S": Metric("share whose connectivity and R/S centres are right, whatever the double bonds"),
    "Exact, E/Z": Metric("share whose connectivity and double bonds are right, whatever the centres"),
    "FCD": Metric("Fréchet ChemNet distance between valid outputs and references", 3, False),
    "Levenshtein": Metric("mean edit distance between the two strings, in characters", 2, False),
    "MACCS": Metric("mean Tanimoto similarity of MACCS keys over valid outputs"),
    "RDK": Metric("mean Tanimoto similarity of RDKit path fingerprints over valid outputs"),
    "Morgan": Metric("mean Tanimoto similarity of Morgan counts, radius 2, over valid outputs"),
    "Validity": Metric("share of outputs RDKit can read"),
    "Uniqueness": Metric("share of valid outputs that are different molecules"),
    "Novelty": Metric("share of valid outputs that are not in the training set"),
    "R@k": Metric("share of queries whose partner is among the first k"),
    "MRR": Metric("mean of 1 / rank of the partner"),
    "Mean rank": Metric("mean rank of the partner; 1 is perfect", 1, False),
    "Median rank": Metric("median rank of the partner; 1 is perfect", 1, False),
}


def metric(name: str) -> Metric:
    """The entry of `METRICS` for a score's name; "R@1", "R@10", ... share one."""
    return METRICS["R@k" if name.startswith("R@") else name]


@dataclass(frozen=True)
class Score:
    """A value and the ends of its 95 % bootstrap interval over rows (NaN ends: no interval is defined)."""

    value: float
    low: float = math.nan
    high: float = math.nan


DECODING = "decoding"
"""The setting that says how a model wrote what is measured: of the system, not of the measure, so it may differ between
systems that are compared."""


@dataclass(frozen=True)
class Stamp:
    """How a result was measured: enough to repeat it, and to refuse a comparison that would mean nothing.

    `settings` are the choices that change the number (tokenizer, WordNet, pool, rule for ties, backslashes, ...),
    `data` is the hash of what was asked (references, in order), `counts` says how many rows were special (invalid,
    empty, ...); `versions` names libraries.
    """

    task: str
    protocol: str
    rows: int
    data: str
    settings: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def difference(self, other: "Stamp") -> str | None:
        """Why the two results may not stand in one table, or None when they may."""
        for name in ("task", "protocol", "rows", "data"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{name} differs: {mine} and {theirs}"
        for name in sorted((self.settings.keys() | other.settings.keys()) - {DECODING}):
            mine, theirs = self.settings.get(name, "not set"), other.settings.get(name, "not set")
            if mine != theirs:
                return f"{name} differs: {mine} and {theirs}"
        return None


@dataclass(frozen=True)
class Result:
    """One system measured on one task.

    `scores` maps a metric's name to its `Score`; `rows` holds arrays [N] or [N, n] with the score of every row (NaN
    where a row has none, such as the similarity of an invalid output) and what a paired comparison needs (n-gram
    counts).
    """

    scores: dict[str, Score]
    rows: dict[str, np.ndarray]
    stamp: Stamp

    def __getitem__(self, name: str) -> float:
        """The value of a metric: `result["BLEU-4"]`."""
        return self.scores[name].value


Table = Mapping[str, Result]  # system -> its result, all of one task
Results = Mapping[str, Table]  # heading ("captions", ...) -> systems


def data_hash(*columns: Iterable[str]) -> str:
    """First 16 hex digits of the SHA-256 of columns of strings, order and boundaries kept."""
    digest = hashlib.sha256()
    for column in columns:
        digest.update(json.dumps(list(column), ensure_ascii=False).encode("utf-8", "surrogatepass"))
        digest.update(b"\n")
    return digest.hexdigest()[:16]


def versions_of(*packages: str) -> dict[str, str]:
    """Versions of the named distributions that are installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def check_pairs(references: list[str], predictions: list[str]) -> None:
    """Raise `UserError` unless there is at least one row and as many predictions as references."""
    if len(references) != len(predictions):
        raise UserError(
            f"{len(references)} references but {len(predictions)} predictions: "
            "give one prediction per reference, in the same order"
        )
    if not references:
        raise UserError("nothing to evaluate: there are no rows")


def save(path: str | Path, results: Results) -> Path:
    """Write results to a JSON file, whole or not at all; returns the path."""
    body = {
        "format": FORMAT,
        "results": {heading: {system: _plain(r) for system, r in table.items()} for heading, table in results.items()},
    }
    return write_whole(path, json.dumps(body, ensure_ascii=False, allow_nan=False) + "\n")


def load(path: str | Path) -> dict[str, dict[str, Result]]:
    """Read what `save` wrote. Raises `UserError` for a file that is missing or is something else."""
    try:
        body = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read results from {path}: {error.strerror}") from None
    except ValueError:
        raise UserError(f"{path} is not a results file: it is not JSON") from None
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise UserError(f"{path} is not a results file of this version (no format '{FORMAT}')")
    return {
        heading: {system: _from_plain(r) for system, r in table.items()} for heading, table in body["results"].items()
    }


def _plain(result: Result) -> dict:
    return {
        "scores": {name: [_number(x) for x in (s.value, s.low, s.high)] for name, s in result.scores.items()},
        "stamp": asdict(result.stamp),
        "rows": {name: _numbers(array) for name, array in result.rows.items()},
    }


def _from_plain(body: dict) -> Result:
    return Result(
        scores={name: Score(*(math.nan if x is None else x for x in s)) for name, s in body["scores"].items()},
        rows={
            name: np.array(values, dtype=None if _whole(values) else np.float64)
            for name, values in body["rows"].items()
        },
        stamp=Stamp(**body["stamp"]),
    )


def _whole(values: list) -> bool:
    return bool(values) and all(isinstance(v, int) for row in values for v in (row if isinstance(row, list) else [row]))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(f"{value:.8g}")


def _numbers(array: np.ndarray) -> list:
    if array.dtype.kind in "iub":
        return array.astype(int).tolist()
    flat = [_number(v) for v in array.ravel().tolist()]
    return flat if array.ndim == 1 else np.array(flat, dtype=object).reshape(array.shape).tolist()
