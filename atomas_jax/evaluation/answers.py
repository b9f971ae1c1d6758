"""Answers that somebody already has, a file's or another program's, against their references: measured, sliced, shown.

Needs neither a model nor JAX.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console

from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.evaluation import report, slices, tables
from atomas_jax.evaluation.configuration import EvaluationConfig
from atomas_jax.evaluation.measuring import (
    MODEL,
    Training,
    measure_captions,
    measure_molecules,
    read_training,
    sample_rows,
)
from atomas_jax.evaluation.outputs import EXAMPLES, write_outputs
from atomas_jax.evaluation.prediction_files import Columns, read_predictions
from atomas_jax.evaluation.results import Results


def evaluate_file(
    path: Path,
    config: EvaluationConfig,
    columns: Columns = Columns(),  # noqa: B008  (frozen)
    task: str = "",
    training: Source | None = None,
    folder: Path | None = None,
    references: Source | None = None,
) -> Results:
    """Measure a prediction file (`prediction_files.read_predictions`), a sample of it where the settings say so.

    Args:
      training: a file of training pairs, for floors, novelty and slices by similarity. folder: as `evaluate_answers`.
    """
    read = read_predictions(path, columns, task, references)
    count = len(read.inputs)
    chosen = sample_rows(count, config.limit, config.seed)
    rows = [[column[i] for i in chosen] for column in (read.inputs, read.references, read.answers)]
    which = "all" if len(chosen) == count else f"a sample of {len(chosen):,} (seed {config.seed}) of the"
    notes = [f"Column {columns.output!r} of {path.name}: {which} {count:,} rows."]
    if training is not None:
        notes.append(f"Floors and similarity are of the training pairs in {training.label}.")
    known = read_training(training) if training is not None else None
    return evaluate_answers(read.task, *rows, config, folder, f"{columns.output}, {path.name}", known, notes)


def evaluate_answers(
    task: Literal["captions", "molecules"],
    inputs: Sequence[str],
    references: Sequence[str],
    answers: Sequence[str],
    config: EvaluationConfig,
    folder: Path | None = None,
    title: str = "Predictions",
    training: Training | None = None,
    notes: Sequence[str] = (),
    console: Console | None = None,
) -> Results:
    """Measure one task beside its floors, print tables, and leave every output in a folder.

    Args:
      task: "captions": inputs are N SMILES, references and answers texts; "molecules": inputs are texts, the others
        SMILES.
      folder: gets report.html and what `outputs.write_outputs` writes; None: nothing is written.
      training: pairs for floors, novelty and slices by similarity (`measuring.read_training`); floors need two rows.
      notes: sentences under the title.

    Raises: `UserError` for unequal numbers of rows, FCD of captions, and as the metrics do.
    """
    if not len(inputs) == len(references) == len(answers):
        counts = f"{len(inputs):,} inputs, {len(references):,} references, {len(answers):,} answers"
        raise UserError(f"{counts}: want one of each for every row")
    if config.fcd and task == "captions":
        raise UserError("FCD is of molecules, and these are captions: do without (--no-fcd)")
    measure = measure_captions if task == "captions" else measure_molecules
    measured = measure(inputs, references, answers, config, training)
    results: Results = {measured.sheet.name: measured.table}
    odd = [f"{count:,} {what}" for what, count in measured.table[MODEL].stamp.counts.items() if count]
    notes = [*notes, *([f"Among the rows: {', '.join(odd)}."] if odd else [])]
    tables.print_results(results, console, notes)
    if folder is None:
        return results
    found = write_outputs(folder, title, results, [measured.sheet], config.seed)
    slices.print_slices(found, console)
    own = measured.table[MODEL]
    shown = (
        {"captions": report.caption_examples(own, inputs, references, answers)}
        if task == "captions"
        else {"molecules": report.molecule_examples(own, inputs, references, answers)}
    )
    report.write_report(folder, title, results, notes=notes, slices=found, examples=EXAMPLES, **shown)
    return results
