"""Two systems measured alike: how far apart are they, and would other rows have said the same?

Both were asked the same rows, so they are resampled together: a resample draws rows, and the difference is taken on
them. That interval is narrower than the two systems' own suggest, because a row that is hard is hard for both.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from atomas_jax.errors import UserError
from atomas_jax.evaluation import bootstrap, results, slices, tables
from atomas_jax.evaluation.results import Result, Results, Score, Stamp, metric

FORMAT = "atomas-comparison/1"


@dataclass(frozen=True)
class Difference:
    """One metric: the values of A and B, B - A with its 95 % interval (NaN ends: none is defined), and what it says.

    `sign` is "better" or "worse" (B than A, by the metric's own direction) where the interval leaves out 0, else "".
    """

    one: float
    other: float
    difference: Score
    sign: str


@dataclass(frozen=True)
class Comparison:
    """One task: metric -> difference, what the two were measured on, and versions of libraries that differ."""

    metrics: dict[str, Difference]
    stamp: Stamp
    versions: list[str]


def compare(one: Result, other: Result, resamples: int = bootstrap.RESAMPLES, seed: int = 0) -> Comparison:
    """The paired differences of two results, B - A.

    Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004 (paired bootstrap);
    percentile intervals. Each metric's interval stands for itself: none is corrected for there being several. A mean
    over valid outputs is over each system's own rows, in the resamples as in the values.

    Raises: `UserError` where their stamps differ, saying in what.
    """
    if reason := _alike(one.stamp).difference(_alike(other.stamp)):
        raise UserError(reason)
    mine, theirs = slices.estimators(one), slices.estimators(other)

    def gap(name):
        return lambda weights: theirs[name](weights) - mine[name](weights)

    paired = {name: gap(name) for name in mine.keys() & theirs.keys()}
    rows = one.stamp.rows
    drawn = bootstrap.scores(paired, rows, resamples, seed) if paired else {}
    found = {}
    for name in tables.metrics_of({"one": one, "other": other}):
        if name in one.scores and name in other.scores:
            score = drawn.get(name, Score(other[name] - one[name]))
            found[name] = Difference(one[name], other[name], score, _sign(name, score))
    names = sorted(one.stamp.versions.keys() & other.stamp.versions.keys())
    versions = [
        f"{name} {one.stamp.versions[name]} and {other.stamp.versions[name]}"
        for name in names
        if one.stamp.versions[name] != other.stamp.versions[name]
    ]
    return Comparison(found, one.stamp, versions)


def compare_results(
    one: Results, other: Results, systems: tuple[str, str], tasks: Sequence[str] = (), seed: int = 0
) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Every task that both have: ({task: comparison}, {task: why it is refused}).

    Args:
      systems: the system of each that is compared. tasks: only these; all that both have when empty.

    Raises: `UserError` for a task or system that one of them lacks, and where they have no task in common.
    """
    shared = [task for task in one if task in other]
    for task in tasks:
        if task not in shared:
            raise UserError(f"no task {task!r} in both: they have {', '.join(shared) or 'none'} in common")
    chosen = list(tasks) or shared
    if not chosen:
        raise UserError(f"they have no task in common: {', '.join(one)} in one, {', '.join(other)} in the other")
    found, refused = {}, {}
    for task in chosen:
        pair = []
        for side, system in zip((one, other), systems):
            if system not in side[task]:
                raise UserError(f"no system {system!r} under {task}: there are {', '.join(side[task])}")
            pair.append(side[task][system])
        try:
            found[task] = compare(*pair, seed=seed)
        except UserError as error:
            refused[task] = str(error)
    return found, refused


def find_results(path: Path, split: str) -> Path:
    """The results.json that a path stands for: the file, the folder of an evaluation, or a run's for a split. Raises
    `UserError` where there is none."""
    for place in (path, path / "results.json", path / "evaluation" / split / "results.json"):
        if place.is_file():
            return place
    there = sorted(entry.parent.name for entry in path.glob("evaluation/*/results.json"))
    if there:
        raise UserError(f"{path} has no results of split {split!r}: it has {', '.join(there)} (--split)")
    raise UserError(f"no results at {path}: give a results.json, its folder, or a run that `atomas evaluate` measured")


def comparison_table(task: str, names: tuple[str, str], found: Comparison) -> RichTable:
    """One task for rich: a row for each metric, better green and worse red."""
    shown = RichTable(title=task, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("", *names, "B - A", "95 %", "B is"):
        shown.add_column(heading, justify="left" if heading in ("", "B is") else "right")
    for name, one in found.metrics.items():
        arrow = "↑" if metric(name).higher_is_better else "↓"
        values = [tables.value_text(name, value) for value in (one.one, one.other)]
        gap, low, high = (_signed(name, x) for x in dataclasses.astuple(one.difference))
        interval = "" if math.isnan(one.difference.low) else f"{low} to {high}"
        style = {"better": "green", "worse": "red"}.get(one.sign, "dim")
        shown.add_row(f"{name} {arrow}", *values, gap, interval, Text(one.sign or "-", style=style))
    shown.caption = f"{found.stamp.rows:,} rows, protocol {found.stamp.protocol}, paired bootstrap over rows"
    shown.caption_justify, shown.caption_style = "left", "dim"
    return shown


def print_comparisons(
    found: dict[str, Comparison], names: tuple[str, str] = ("A", "B"), console: Console | None = None
) -> None:
    """Print every table, and what of the libraries differs."""
    console = console or Console()
    for task, one in found.items():
        console.print(comparison_table(task, names, one))
        validity = one.metrics.get("Validity")
        if validity is not None and validity.one != validity.other:
            console.print("Similarities are over each system's own valid outputs.", highlight=False)
        if one.versions:
            console.print(f"Measured with {'; '.join(one.versions)}: small differences may be theirs.", highlight=False)


def as_json(found: dict[str, Comparison], refused: dict[str, str], names: tuple[str, str]) -> dict:
    """The same as plain JSON values; an end of an interval that is not defined is null."""

    def number(value: float) -> float | None:
        return None if math.isnan(value) else float(f"{value:.8g}")

    def plain(one: Difference) -> dict:
        gap = one.difference
        values = {"a": one.one, "b": one.other, "difference": gap.value, "low": gap.low, "high": gap.high}
        return {key: number(value) for key, value in values.items()} | {"b_is": one.sign}

    return {
        "format": FORMAT,
        "a": names[0],
        "b": names[1],
        "tasks": {
            task: {
                "metrics": {name: plain(value) for name, value in one.metrics.items()},
                "stamp": dataclasses.asdict(one.stamp),
                "versions that differ": one.versions,
            }
            for task, one in found.items()
        },
        "refused": refused,
    }


def load(path: Path, split: str = "test") -> Results:
    """The results a path stands for (`find_results`)."""
    return results.load(find_results(path, split))


def _alike(stamp: Stamp) -> Stamp:
    """A stamp without what does not bear on values: how the intervals of one result were drawn."""
    settings = {name: value for name, value in stamp.settings.items() if name != "bootstrap"}
    return dataclasses.replace(stamp, settings=settings)


def _sign(name: str, score: Score) -> str:
    if not (score.low > 0 or score.high < 0):
        return ""
    return "better" if (score.low > 0) == metric(name).higher_is_better else "worse"


def _signed(name: str, value: float) -> str:
    text = tables.value_text(name, value)
    return f"+{text}" if value > 0 else text
