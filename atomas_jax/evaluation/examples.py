"""One self-contained page with every row of an evaluation: scores to sort by, texts, molecules drawn where one looks.

Pictures are not stored but laid out once (`chemistry.outlines`) and drawn by the page for the rows in view, so that a
page of some thousand rows is a few megabytes and opens at once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
from markupsafe import Markup

from atomas_jax.chemistry.outlines import outline
from atomas_jax.errors import UserError
from atomas_jax.evaluation import tables
from atomas_jax.evaluation.results import METRICS, Metric, Result
from atomas_jax.evaluation.slices import Slicing
from atomas_jax.evaluation.workers import Progress, spread
from atomas_jax.files import write_whole

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Sheet:
    """All rows of one task.

    Attributes:
      name: of the task, "Captions". result: whose row arrays are the scores; N rows.
      molecules: columns of N SMILES by what they are, {"Reference": [...], "Generated": [...]}; drawn.
      texts: columns of N texts likewise. compared: the reference is the first of two, and words of the second that it
        has not are marked.
      cuts: slicings of the N rows, to choose rows by.
    """

    name: str
    result: Result
    molecules: dict[str, Sequence[str]]
    texts: dict[str, Sequence[str]]
    compared: bool = False
    cuts: Sequence[Slicing] = ()


def write_examples(
    path: str | Path,
    title: str,
    sheets: Sequence[Sheet],
    workers: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write the page, whole or not at all; it needs no other file and no network.

    Args:
      workers, progress: as in `workers.spread`; the unit is a distinct molecule laid out.

    Raises: `UserError` for a column that has not a row for each of the result.
    """
    for sheet in sheets:
        for name, column in (*sheet.molecules.items(), *sheet.texts.items()):
            if len(column) != sheet.result.stamp.rows:
                rows = sheet.result.stamp.rows
                raise UserError(f"{sheet.name}: {len(column):,} rows of {name!r} beside {rows:,} measured")
    distinct = list(dict.fromkeys(s for sheet in sheets for column in sheet.molecules.values() for s in column))
    place = {smiles: number for number, smiles in enumerate(distinct)}
    data = {
        "outlines": spread(_outlines, distinct, workers, progress),
        "smiles": distinct,
        "sheets": [_plain(sheet, place) for sheet in sheets],
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("examples.html.jinja").render(
        title=title, data=_embedded(data), program=Markup((_TEMPLATES / "examples.js").read_text(encoding="utf-8"))
    )
    return write_whole(path, page)


def _outlines(rows: list[str]) -> list[dict | str]:
    return [outline(smiles) for smiles in rows]


def _embedded(data: dict) -> Markup:
    """JSON that may stand in a script element: nothing in it can close the element or open a comment."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _plain(sheet: Sheet, place: dict[str, int]) -> dict:
    """A sheet as the page's program takes it."""
    names = [name for name, array in sheet.result.rows.items() if array.ndim == 1 and _metric(name)]
    primary = next((name for name in tables.PRIMARY if name in names), names[0])
    shown = {name: _metric(name) for name in names}
    return {
        "name": sheet.name,
        "primary": names.index(primary),
        "metrics": [
            {
                "name": name,
                "meaning": how.meaning,
                "higher": how.higher_is_better,
                "decimals": how.decimals,
                "flag": bool(np.isin(sheet.result.rows[name], (0, 1)).all()),
            }
            for name, how in shown.items()
        ],
        "drawn": list(sheet.molecules),
        "told": list(sheet.texts),
        "compared": sheet.compared,
        "cuts": [{"name": cut.name, "labels": cut.labels, "member": cut.member.tolist()} for cut in sheet.cuts],
        "scores": [_column(sheet.result.rows[name], how.decimals) for name, how in shown.items()],
        "molecules": [[place[smiles] for smiles in column] for column in sheet.molecules.values()],
        "texts": [list(column) for column in sheet.texts.values()],
    }


def _metric(name: str) -> Metric | None:
    """How a row array is shown; None for what is no score of a row (n-gram counts)."""
    if name == "Rank":
        return Metric("rank of the query's partner; halves are ties", 1, False)
    return METRICS.get("R@k" if name.startswith("R@") else name)


def _column(values: np.ndarray, decimals: int) -> list[float | None]:
    rounded = np.round(values.astype(np.float64), decimals + 1)
    return [None if np.isnan(value) else int(value) if value == int(value) else value for value in rounded.tolist()]
