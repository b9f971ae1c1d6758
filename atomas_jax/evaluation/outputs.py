"""What an evaluation leaves in its folder: results for machines, papers and readers, and the slices behind them."""

from collections.abc import Sequence
from pathlib import Path

from atomas_jax import progress
from atomas_jax.evaluation import exports, results
from atomas_jax.evaluation.examples import Sheet, write_examples
from atomas_jax.evaluation.results import Results
from atomas_jax.evaluation.slices import Slice, sliced, slices_csv
from atomas_jax.files import write_whole

EXAMPLES = "examples.html"


def write_results(folder: str | Path, measured: Results) -> None:
    """Write results.json, results.csv and results.tex into `folder`, each whole or not at all. Raises `UserError`
    where systems of one table were not measured alike."""
    folder = Path(folder)
    tex = exports.latex_text(measured)  # before anything is written: it refuses tables that mean nothing
    results.save(folder / "results.json", measured)
    write_whole(folder / "results.csv", exports.csv_text(measured))
    write_whole(folder / "results.tex", tex)


def write_outputs(
    folder: str | Path, title: str, measured: Results, sheets: Sequence[Sheet], seed: int = 0
) -> dict[str, list[Slice]]:
    """Write results.json, results.csv, results.tex, slices.csv and examples.html into `folder`, each whole or not at
    all.

    Args:
      measured: heading -> system -> result. sheets: the rows of a heading each, by its name; tables without one are
        neither sliced nor shown row by row.

    Returns: heading -> slices, for `slices.print_slices` and `report.write_report`.

    Raises: `UserError` where systems of one table were not measured alike, or a sheet's columns lack rows.
    """
    folder = Path(folder)
    write_results(folder, measured)
    found = {}
    for sheet in progress.track(sheets, "slice", unit="tables"):
        found[sheet.name] = sliced(measured[sheet.name], sheet.cuts, seed)
    write_whole(folder / "slices.csv", slices_csv(found))
    molecules = {smiles for sheet in sheets for column in sheet.molecules.values() for smiles in column}
    with progress.bar("lay out molecules", len(molecules), "molecules") as bar:
        write_examples(folder / EXAMPLES, f"{title}: row by row", sheets, progress=progress.counter(bar))
    return found
