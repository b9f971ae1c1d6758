"""`atomas evaluate` and `atomas protocols`: figures, and what they are figures of."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional

from atomas_jax.commands import Unprefixed
from atomas_jax.commands.writable import check_folder
from atomas_jax.config import DecodingOverrides, EvaluationConfig
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.evaluation.prediction_files import Columns


def evaluate(
    run: Positional[Path],
    corpus: Path | None = None,
    checkpoint: str = "best",
    settings: Annotated[EvaluationConfig, Unprefixed] = EvaluationConfig(),  # noqa: B008  (frozen)
    # by its name, as in `train`: the evaluation has a seed of its own
    decoding: DecodingOverrides = DecodingOverrides(),  # noqa: B008  (frozen)
    task: Literal["", "captions", "molecules", "ranking"] = "",
    columns: Columns = Columns(),  # noqa: B008  (frozen)
    references: str = "",
    training: str = "",
    out: Path | None = None,
) -> None:
    """Measure a run on a split of its corpus, or a file of predictions, beside floors; writes report.html.

    Of a run captions, molecules and rankings; of a file what it holds. Beside the report lie a page of all rows, JSON,
    CSV and LaTeX.

    Args:
      run: A run folder, or a prediction file: a tab-separated table of input, ground truth and output; or .npz/.npy
        of embeddings (texts, molecules), scores, or ranks.
      corpus: Of a run: a prepared corpus; the one it was trained on when absent.
      checkpoint: Of a run: best, latest, or a step that was kept.
      task: Of a file: what was predicted; told by the name of its input column when empty.
      references: Of a file that has ids and outputs alone: the pairs that were asked; FILE[,id=COLUMN,...].
      training: Of a file: training pairs for floors, novelty and slices by similarity; FILE[,smiles=COLUMN,...].
      out: Of a file: the folder to write to; only tables are printed when absent.
    """
    check_folder(out)
    if run.is_file() and (task == "ranking" or run.suffix in (".npz", ".npy")):
        given = training or references or settings.pool
        others = corpus is not None or decoding.given() or given or columns != Columns()
        if others or task not in ("", "ranking"):
            raise UserError(f"{run} holds a ranking: --ranking, --positives, --seed and --out are for it")
        from atomas_jax.evaluation.ranking_files import evaluate_rankings

        evaluate_rankings(run, settings, out)
        return
    if run.is_file():
        default = EvaluationConfig()
        ours = ("split", "retrieval_limit", "ranking", "pool", "positives", "spellings")
        changed = [name for name in ours if getattr(settings, name) != getattr(default, name)]
        if corpus is not None or decoding.given() or changed or checkpoint != "best":
            told = "--corpus, --checkpoint, --decoding, --" + ", --".join(name.replace("_", "-") for name in ours)
            raise UserError(f"{run} is a file of predictions: {told} are for run folders")
        from atomas_jax.evaluation.answers import evaluate_file

        sources = [Source.parse(words) if words else None for words in (training, references)]
        evaluate_file(run, settings, columns, task, sources[0], out, sources[1])
        if out is not None:
            print(f"report: {out / 'report.html'}")
        return
    if training or references or out is not None or task or columns != Columns():
        told = "--training, --references, --out, --task and --columns are for those"
        raise UserError(f"{run} is no file of predictions: {told}")
    if run.suffix and not run.exists():
        raise UserError(f"no file at {run}: give a run folder, a table of predictions or a ranking")
    from atomas_jax.evaluate import evaluate as evaluate_run

    evaluate_run(run, settings, corpus, checkpoint, decoding.given())
    print(f"report: {run / 'report.html'}")


def protocols() -> None:
    """The protocols by name: what each tokenises, cuts, canonicalises and drops."""
    from rich.console import Console

    from atomas_jax.evaluation.protocols import INVALID_SAYS, PROTOCOLS
    from atomas_jax.evaluation.ranking_protocols import RANKINGS

    lines = ["captions and molecules (--protocol):"]
    for rule in PROTOCOLS.values():
        strings = "canonical SMILES of both" if rule.canonical else "raw strings"
        empty = "a molecule without atoms" if rule.empty_is_valid else "invalid"
        lines.append(f"  {rule.name}: {rule.about}")
        lines.append(f"    BLEU and METEOR on {rule.tokenizer} tokens; molecules as {strings}")
        lines.append(f"    invalid outputs: {INVALID_SAYS[rule.invalid]}; an empty output is {empty}")
        lines.append(f"    an output with a blank is {'read up to it' if rule.ends_at_blank else 'invalid'}")
    lines += ["rankings (--ranking):", *(f"  {rule.name}: {rule.about}" for rule in RANKINGS.values())]
    Console(soft_wrap=True).print("\n".join(lines), markup=False, highlight=False)
