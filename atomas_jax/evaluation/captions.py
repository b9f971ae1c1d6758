"""Captions against references: BLEU-2, BLEU-4, METEOR, ROUGE-1, ROUGE-2, ROUGE-L.

Definitions are those of MolT5's evaluation (Edwards et al., EMNLP 2022); the tokenizer under BLEU and METEOR is the
protocol's.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from atomas_jax import assets
from atomas_jax.errors import UserError
from atomas_jax.evaluation import bleu, bootstrap
from atomas_jax.evaluation.caption_tokens import TOKENIZERS
from atomas_jax.evaluation.meteor import Synonyms, meteor, stem, synonyms_of
from atomas_jax.evaluation.protocols import protocol as protocol_named
from atomas_jax.evaluation.results import Result, Stamp, check_pairs, data_hash, versions_of
from atomas_jax.evaluation.rouge import NAMES as ROUGE
from atomas_jax.evaluation.rouge import rouge
from atomas_jax.evaluation.workers import Progress, spread


def caption_metrics(
    references: Sequence[str],
    predictions: Sequence[str],
    protocol: str = "plain",
    vocabulary: str | Path | None = None,
    wordnet: str | Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Result:
    """Measure predicted captions, row by row against one reference each.

    Args:
      references, predictions: N strings each; empty predictions are measured (they score 0) and counted.
      protocol: a name of `PROTOCOLS`; it fixes the tokenizer.
      vocabulary: the WordPiece vocabulary file, where the protocol's tokenizer needs one.
      wordnet: where WordNet is (see `meteor.synonyms_of`); None: METEOR has its exact and stem stages only, and the
        stamp says so.
      workers: processes; None: all cores above 500 rows. progress: called with (rows done, rows). seed: of the
        bootstrap.

    Returns:
      `Result` with the six metrics. Its `rows` hold METEOR and the ROUGEs per row, each row's own BLEU, and the
      n-gram counts "BLEU counts" int [N, 10] of which corpus BLEU is a function (`bleu.COLUMNS`).

    Raises:
      UserError: no rows, unequal numbers, an unknown protocol, a missing vocabulary or WordNet.
    """
    rule = protocol_named(protocol)
    references, predictions = list(references), list(predictions)
    check_pairs(references, predictions)
    for name, column in (("reference", references), ("prediction", predictions)):
        wrong = next((i for i, text in enumerate(column) if not isinstance(text, str)), None)
        if wrong is not None:
            raise UserError(f"{name} number {wrong + 1} is {type(column[wrong]).__name__}, not text")
    predictions = [text.removeprefix(rule.strip_prefix) for text in predictions]
    tokenize = TOKENIZERS[rule.tokenizer](Path(vocabulary) if vocabulary else None)
    there, here = tokenize(references), tokenize(predictions)
    synonyms = synonyms_of({stem(token) for tokens in here for token in tokens}, Path(wordnet) if wordnet else None)
    rows = [
        (reference, prediction, t, h, _restricted(synonyms, t, h))
        for reference, prediction, t, h in zip(references, predictions, there, here, strict=True)
    ]
    measured = spread(_measure, rows, workers, progress)
    counts = np.array([row[0] for row in measured], dtype=np.int64)
    each = dict(zip(("METEOR", *ROUGE), np.array([row[1:] for row in measured], dtype=np.float64).T, strict=True))
    estimators = {
        "BLEU-2": bleu.bleu_of(counts, 2),
        "BLEU-4": bleu.bleu_of(counts, 4),
        **{name: bootstrap.mean_of(values) for name, values in each.items()},
    }
    return Result(
        scores=bootstrap.scores(estimators, len(rows), seed=seed),
        rows={"BLEU-2": bleu.bleu(counts, 2), "BLEU-4": bleu.bleu(counts, 4), **each, "BLEU counts": counts},
        stamp=Stamp(
            task="captions",
            protocol=rule.name,
            rows=len(rows),
            data=data_hash(references),
            settings={
                "tokenizer": _stamped(rule.tokenizer, rule.tokenizer, vocabulary),
                "wordnet": _stamped("3.0", "wordnet", wordnet) if wordnet else "no: METEOR without synonyms",
                "bootstrap": f"{bootstrap.RESAMPLES} resamples, seed {seed}",
            },
            counts={"empty predictions": sum(not text.strip() for text in predictions)},
            versions=versions_of("nltk", "rouge-score", "tokenizers"),
        ),
    )


def _stamped(name: str, asset: str, given: str | Path | None) -> str:
    """A name for the stamp; a file of other contents than the asset's is another thing, and its name says so."""
    other = assets.other_contents(asset, Path(given)) if given and asset in assets.ASSETS else ""
    return f"{name}, from other contents ({other})" if other else name


def _restricted(synonyms: Synonyms, reference: list[str], prediction: list[str]) -> Synonyms:
    """The synonyms that can matter in one row: of its prediction's stems, among its reference's."""
    if not synonyms:
        return {}
    there = {stem(token) for token in reference}
    pairs = ((one, synonyms[one] & there) for one in {stem(token) for token in prediction} if one in synonyms)
    return {one: shared for one, shared in pairs if shared}


def _measure(rows: list[tuple]) -> list[tuple]:
    """For each row: BLEU counts, METEOR, then the F-measures of `ROUGE`."""
    return [
        (bleu.counts(there, here), meteor(there, here, synonyms), *rouge(reference, prediction))
        for reference, prediction, there, here, synonyms in rows
    ]
