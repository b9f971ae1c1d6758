"""`atomas evaluate`: figures."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from atomas_jax.commands import Unprefixed
from atomas_jax.config import DecodingOverrides, EvaluationConfig


def evaluate(
    run: Positional[Path],
    corpus: Path | None = None,
    checkpoint: str = "best",
    settings: Annotated[EvaluationConfig, Unprefixed] = EvaluationConfig(),  # noqa: B008  (frozen)
    # by its name, as in `train`: the evaluation has a seed of its own
    decoding: DecodingOverrides = DecodingOverrides(),  # noqa: B008  (frozen)
) -> None:
    """Measure a run on a split of its corpus: captions, molecules, rankings, beside floors; writes report.html.

    Args:
      run: A run folder.
      corpus: A prepared corpus; the one it was trained on when absent.
      checkpoint: best, latest, or a step that was kept.
    """
    from atomas_jax.evaluate import evaluate as evaluate_run

    evaluate_run(run, settings, corpus, checkpoint, decoding.given())
    print(f"report: {run / 'report.html'}")
