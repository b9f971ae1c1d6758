"""Slices that explain a number: the same metrics on the rows near to and far from training, short and long, with stereo
marks and without.

A slicing puts every row of a table into at most one labelled slice; slices of a finished `Result` cost no new
measurement, because its row arrays are all that a metric is made of.
"""

import csv
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from atomas_jax.chemistry.spellings import SPELLINGS
from atomas_jax.evaluation import bleu, bootstrap, tables
from atomas_jax.evaluation.bootstrap import Estimator
from atomas_jax.evaluation.results import Result, Score, Table, metric

SHOWN = ("BLEU-4", "METEOR", "ROUGE-L", "Exact", "Morgan", "Validity", "R@1", "MRR", "Median rank")
"""Metrics of slices that tables show, of those there are; the file holds all."""

SIMILARITY_EDGES = (0.4, 0.6, 0.8, 1.0)


@dataclass(frozen=True)
class Slicing:
    """One way to cut a table: what it goes by, the labels in order, and for each row the place of its label.

    `member` is int64 [N]; -1 is a row in no slice.
    """

    name: str
    labels: tuple[str, ...]
    member: np.ndarray


@dataclass(frozen=True)
class Slice:
    """The rows of one label: how many, and every system's metrics on them (`scores[system][metric]`)."""

    slicing: str
    label: str
    rows: int
    scores: Mapping[str, Mapping[str, Score]]


def by_similarity(similarity: Sequence[float]) -> Slicing:
    """By Tanimoto similarity (Morgan counts, radius 2) of the row's molecule to the nearest one in training
    (`measuring.Training.nearest`); 1 is a stereo twin or the same molecule."""
    edges = np.asarray(SIMILARITY_EDGES)
    ends = ["0", *(f"{edge:g}" for edge in edges)]
    labels = (*(f"{low} to {high}" for low, high in itertools.pairwise(ends)), ends[-1])
    member = np.searchsorted(edges, np.asarray(similarity, np.float64), side="right")
    return Slicing("similarity to training", labels, member)


def by_length(strings: Sequence[str], what: str) -> Slicing:
    """By quarters of length in characters; equal lengths stay together, so quarters may be uneven or missing."""
    lengths = np.array([len(string) for string in strings])
    edges = np.unique(np.quantile(lengths, [0.25, 0.5, 0.75], method="inverted_cdf"))
    place = np.searchsorted(edges, lengths, side="left")
    present, member = np.unique(place, return_inverse=True)
    labels = tuple(f"{lengths[place == p].min()} to {lengths[place == p].max()}" for p in present)
    return Slicing(f"characters of the {what}", labels, member.astype(np.int64))


def by_stereo(smiles: Sequence[str]) -> Slicing:
    r"""By the stereo marks in a SMILES: none, tetrahedral centres (@), double bonds (/ or \), both."""
    member = [("@" in one) + 2 * ("/" in one or "\\" in one) for one in smiles]
    return Slicing(
        "stereo marks", ("none", "centres (R/S)", "double bonds (E/Z)", "both"), np.array(member, dtype=np.int64)
    )


def slicings(smiles: Sequence[str], texts: Sequence[str], similarity: Sequence[float] | None = None) -> list[Slicing]:
    """All of the above for N pairs; by similarity only where it is known."""
    near = [] if similarity is None else [by_similarity(similarity)]
    return [*near, by_stereo(smiles), by_length(smiles, "SMILES"), by_length(texts, "text")]


def by_spelling(
    smiles: Sequence[str],
    references: Sequence[str],
    caption: Callable[[list[str]], list[str]],
    measure: Callable[[list[str], list[str]], Result],
    seed: int = 0,
) -> dict[str, Result]:
    """Captions of the same molecules spelled otherwise: spelling -> result, a table as of systems.

    Args:
      smiles, references: N molecules and captions. caption: SMILES to captions, called once for each of
        `chemistry.spellings.SPELLINGS`. measure: (references, captions) to a result. seed: of the random spelling.

    Raises: `InvalidMolecule` for a SMILES that is none.
    """
    found = {}
    for name, spell in SPELLINGS.items():
        spelled = [spell(one, seed + row) for row, one in enumerate(smiles)]
        found[name] = measure(list(references), caption(spelled))
    return found


def estimators(result: Result) -> dict[str, Estimator]:
    """Every metric of a result that is a function of weighted rows, as that function (FCD is none)."""
    found: dict[str, Estimator] = {}
    for name in result.scores:
        if name in bleu.NAMES and "BLEU counts" in result.rows:
            found[name] = bleu.bleu_of(result.rows["BLEU counts"], bleu.NAMES[name])
        elif name == "Median rank" and "Rank" in result.rows:
            found[name] = bootstrap.median_of(result.rows["Rank"])
        elif name == "Mean rank" and "Rank" in result.rows:
            found[name] = bootstrap.mean_of(result.rows["Rank"])
        elif name.startswith("R@") and "Rank" in result.rows:
            found[name] = bootstrap.mean_of((result.rows["Rank"] <= int(name[2:])).astype(np.float64))
        elif name in result.rows:
            found[name] = bootstrap.mean_of(result.rows[name])
    return found


def subset(result: Result, rows: np.ndarray, seed: int = 0) -> dict[str, Score]:
    """The metrics of a result on some of its rows (row numbers, at least one), with intervals over those rows.
    Uniqueness is left out: its rows count copies among all."""
    chosen = Result(result.scores, {name: array[rows] for name, array in result.rows.items()}, result.stamp)
    found = {name: estimate for name, estimate in estimators(chosen).items() if name != "Uniqueness"}
    return bootstrap.scores(found, len(rows), seed=seed)


def sliced(table: Table, cuts: Sequence[Slicing], seed: int = 0) -> list[Slice]:
    """Every system of a table on every slice that has rows; systems without row arrays (chance) are left out."""
    systems = {name: result for name, result in table.items() if result.rows}
    found = []
    for cut in cuts:
        for place, label in enumerate(cut.labels):
            rows = np.flatnonzero(cut.member == place)
            if len(rows):
                scores = {system: subset(result, rows, seed) for system, result in systems.items()}
                found.append(Slice(cut.name, label, len(rows), scores))
    return found


def columns_of(slices: Sequence[Slice]) -> list[tuple[str, str]]:
    """The (system, metric) columns a table of slices shows: `SHOWN` of the first system, then each floor's primary
    metric."""
    if not slices:
        return []
    first, *others = slices[0].scores
    names = [name for name in SHOWN if name in slices[0].scores[first]]
    primary = next((name for name in tables.PRIMARY if name in names), None)
    floors = [(system, primary) for system in others if primary in slices[0].scores[system]]
    return [(first, name) for name in names] + floors


def print_slices(found: Mapping[str, Sequence[Slice]], console: Console | None = None) -> None:
    """Print the first slicing of each heading, which says most; the report and `slices_csv` have all. Intervals only
    where the terminal is wide enough for them."""
    console = console or Console()
    for heading, slices in found.items():
        if not slices:
            continue
        columns = columns_of(slices)
        wide = console.width >= 34 + 21 * len(columns)
        shown = RichTable(title=f"{heading} by {slices[0].slicing}", title_justify="left", title_style="bold")
        shown.box, shown.pad_edge = box.SIMPLE_HEAD, False
        shown.add_column("")
        shown.add_column("rows", justify="right")
        for system, name in columns:
            arrow = "↑" if metric(name).higher_is_better else "↓"
            shown.add_column(f"{name} {arrow}" if system == columns[0][0] else f"{system}: {name}", justify="right")
        for one in (one for one in slices if one.slicing == slices[0].slicing):
            cells = []
            for system, name in columns:
                score = one.scores[system][name]
                cell = Text(tables.value_text(name, score.value))
                if wide and tables.interval_text(name, score):
                    cell.append(f"  {tables.interval_text(name, score)}", style="dim")
                cells.append(cell)
            shown.add_row(one.label, f"{one.rows:,}", *cells)
        console.print(shown)


def slices_csv(found: Mapping[str, Sequence[Slice]]) -> str:
    """All slices, a line for each metric of each system on each slice, with the ends of its interval."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("task", "slicing", "slice", "rows", "system", "metric", "value", "low", "high"))
    for heading, slices in found.items():
        for one in slices:
            for system, scores in one.scores.items():
                for name, score in scores.items():
                    numbers = ("" if np.isnan(x) else f"{x:.6g}" for x in (score.value, score.low, score.high))
                    writer.writerow((heading, one.slicing, one.label, one.rows, system, name, *numbers))
    return out.getvalue()
