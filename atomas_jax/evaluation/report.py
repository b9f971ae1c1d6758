"""One self-contained page about a run: curves, metrics against floors, settings, and examples with drawn molecules."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from atomas_jax.chemistry import drawing
from atomas_jax.evaluation import tables
from atomas_jax.evaluation.curves import curves, read_log
from atomas_jax.evaluation.ranking import Ranked
from atomas_jax.evaluation.results import Result, Results, metric
from atomas_jax.evaluation.slices import Slice, columns_of
from atomas_jax.files import write_whole

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class CaptionExample:
    """A molecule, its reference caption, the model's, and the row's scores by metric."""

    smiles: str
    reference: str
    predicted: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class MoleculeExample:
    """A text, its molecule and the generated one; `similarity` is the Morgan similarity, NaN when the output is
    invalid."""

    text: str
    reference: str
    predicted: str
    similarity: float
    exact: bool

    @property
    def valid(self) -> bool:
        return not math.isnan(self.similarity)


@dataclass(frozen=True)
class Hit:
    """A molecule of the pool; `right` when it is the query's own."""

    smiles: str
    right: bool


@dataclass(frozen=True)
class RetrievalExample:
    """A text, the best hits of the pool, and the rank of its own molecule."""

    text: str
    hits: Sequence[Hit]
    rank: float


def spaced(values: np.ndarray, count: int) -> list[int]:
    """`count` row numbers evenly spaced from the best to the worst of `values` [N] (higher is better, NaN worst):
    examples that are neither picked nor lucky. Fewer when there are fewer rows."""
    order = np.argsort(-np.where(np.isnan(values), -np.inf, values), kind="stable")
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(order[place]) for place in places]


def caption_examples(
    result: Result, molecules: Sequence[str], references: Sequence[str], predictions: Sequence[str], count: int = 8
) -> list[CaptionExample]:
    """Rows spaced by METEOR, with their METEOR and ROUGE-L."""
    shown = ("METEOR", "ROUGE-L")
    return [
        CaptionExample(
            molecules[i], references[i], predictions[i], {name: float(result.rows[name][i]) for name in shown}
        )
        for i in spaced(result.rows["METEOR"], count)
    ]


def molecule_examples(
    result: Result, texts: Sequence[str], references: Sequence[str], predictions: Sequence[str], count: int = 8
) -> list[MoleculeExample]:
    """Rows spaced by Morgan similarity, invalid outputs last."""
    similar = result.rows["Morgan"]
    return [
        MoleculeExample(texts[i], references[i], predictions[i], float(similar[i]), bool(result.rows["Exact"][i]))
        for i in spaced(similar, count)
    ]


def retrieval_examples(
    ranked: Ranked,
    texts: Sequence[str],
    molecules: Sequence[str],
    keys: Sequence[str] | None = None,
    count: int = 6,
    hits: int = 5,
) -> list[RetrievalExample]:
    """Queries spaced by rank, with the best hits of the pool; row n of `texts` and `molecules` is a pair, equal
    `keys` one molecule."""
    keys = list(range(len(molecules))) if keys is None else keys
    return [
        RetrievalExample(
            texts[i], [Hit(molecules[j], keys[j] == keys[i]) for j in ranked.top[i][:hits]], float(ranked.ranks[i])
        )
        for i in spaced(-ranked.ranks, count)
    ]


def write_report(
    folder: str | Path,
    title: str,
    results: Results,
    log: str | Path | None = None,
    settings: Mapping[str, Mapping[str, object]] | None = None,
    captions: Sequence[CaptionExample] = (),
    molecules: Sequence[MoleculeExample] = (),
    retrieval: Sequence[RetrievalExample] = (),
    notes: Sequence[str] = (),
    slices: Mapping[str, Sequence[Slice]] | None = None,
    examples: str | Path | None = None,
) -> Path:
    """Write `report.html` into `folder`, whole or not at all; it needs no other file and no network.

    Args:
      title: the page's heading.
      results: heading -> system -> `Result`; the first system of each table is the one spoken of, the others are its
        floors.
      log: the run's `log.jsonl`; None leaves the curves out.
      settings: heading -> name -> value: configuration, versions, corpus; each a table at the end of the page.
      captions, molecules, retrieval: examples, see `caption_examples` and its sisters.
      notes: sentences under the title (what was trained on what, what a reader must know).
      slices: heading -> slices of its table, see `slices.sliced`.
      examples: the page of all rows (`examples.write_examples`), by a path from `folder`; linked where it is named.

    Returns: the path written.

    Raises: `UserError` for a missing log, or a table whose systems were not measured alike.
    """
    for table in results.values():
        tables.check_comparable(table)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["drawn"] = lambda smiles, width=250, height=180: Markup(drawing.svg(smiles, width, height))
    environment.filters["rank"] = lambda rank: f"{rank:,.0f}" if rank == int(rank) else f"{rank:,.1f}"
    page = environment.get_template("report.html.jinja").render(
        title=title,
        notes=notes,
        tables=[_shown(heading, table) for heading, table in results.items() if table],
        curves=[(name, Markup(svg)) for name, svg in curves(read_log(log))] if log else [],
        settings=settings or {},
        captions=captions,
        molecules=molecules,
        retrieval=retrieval,
        slices=[_sliced(heading, found) for heading, found in (slices or {}).items() if found],
        examples=None if examples is None else Path(examples).as_posix(),
    )
    return write_whole(Path(folder) / "report.html", page)


def _sliced(heading: str, found: Sequence[Slice]) -> dict:
    """Slices as the template takes them: lines of text under the names of the slicings."""
    columns = columns_of(found)
    groups: dict[str, list[dict]] = {}
    for one in found:
        scores = [(name, one.scores[system][name]) for system, name in columns]
        cells = [(tables.value_text(name, score.value), tables.interval_text(name, score)) for name, score in scores]
        groups.setdefault(one.slicing, []).append({"label": one.label, "rows": f"{one.rows:,}", "cells": cells})
    own = columns[0][0]
    return {
        "heading": heading,
        "columns": [
            (name if system == own else f"{system}: {name}", metric(name).meaning, metric(name).higher_is_better)
            for system, name in columns
        ],
        "groups": groups,
    }


def _shown(heading: str, table: Mapping[str, Result]) -> dict:
    """A table as the template takes it: text only, no arithmetic left to do."""
    names = tables.metrics_of(table)
    best = {name: tables.best_of(table, name) for name in names}
    rows = []
    for system, result in table.items():
        cells = []
        for name in names:
            score = result.scores.get(name)
            cells.append(
                {
                    "value": "–" if score is None else tables.value_text(name, score.value),
                    "interval": "" if score is None else tables.interval_text(name, score),
                    "best": best[name] == system,
                }
            )
        rows.append({"system": system, "cells": cells, "counts": {k: v for k, v in result.stamp.counts.items() if v}})
    return {
        "heading": heading,
        "metrics": [(name, metric(name).meaning, metric(name).higher_is_better) for name in names],
        "rows": rows,
        "verdict": tables.verdict(table),
        "stamp": tables.stamp_text(table),
    }
