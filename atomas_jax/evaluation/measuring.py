"""One task measured: a system's answers, the floors beside them, and the sheet of all rows.

The same for a model that has just answered and for a file of predictions that somebody else made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atomas_jax import assets, progress
from atomas_jax.chemistry import fingerprints
from atomas_jax.corpus import readers
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.evaluation import floors, slices
from atomas_jax.evaluation.caption_tokens import TOKENIZERS
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.configuration import EvaluationConfig
from atomas_jax.evaluation.examples import Sheet
from atomas_jax.evaluation.meteor import synonyms_of
from atomas_jax.evaluation.molecule_keys import identify
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.protocols import protocol
from atomas_jax.evaluation.results import Result, Table
from atomas_jax.evaluation.slices import Slicing

MODEL, CAPTIONS, MOLECULES = "model", "Captions", "Molecules"
"""Names of the measured system and of the tasks in tables."""


class Training:
    """Training pairs at hand: what floors copy from, and what similarity is measured to.

    smiles, texts: N >= 1 pairs, every SMILES a molecule. keys: full InChIKeys of the molecules, for novelty.
    """

    def __init__(self, smiles: Sequence[str], texts: Sequence[str], keys: Sequence[str]):
        self.smiles, self.texts, self.keys = list(smiles), list(texts), frozenset(keys)
        self._nearest: dict[str, tuple[int, float]] = {}

    def nearest(self, smiles: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The most similar training molecule of each, (row int64 [Q], Tanimoto float64 [Q]); answers are remembered."""
        missing = [one for one in dict.fromkeys(smiles) if one not in self._nearest]
        if missing:
            queries = progress.track(missing, "nearest training molecules", len(missing), "molecules")
            index, similarity = fingerprints.nearest(queries, self.smiles)
            self._nearest |= dict(zip(missing, zip(index.tolist(), similarity.tolist())))
        found = [self._nearest[one] for one in smiles]
        return np.array([row for row, _ in found], np.int64), np.array([value for _, value in found], np.float64)


def read_training(source: Source) -> Training:
    """The training pairs of a file (see `corpus.readers`), rows that are refused or hold no molecule left out. Raises
    `UserError` for a file without a single pair."""
    read = progress.track(readers.read(source), f"read {source.label}")
    records = [row for row in read if isinstance(row, readers.Record)]
    keys = identify([row.smiles for row in records], "training molecules")
    kept = [(row.smiles, row.text, key) for row, key in zip(records, keys) if key is not None]
    if not kept:
        raise UserError(f"{source.path} holds no pair of a molecule and a caption to make floors of")
    return Training(*zip(*kept))


@dataclass(frozen=True)
class Measured:
    """A task's table, the measured system first, and the rows behind it."""

    table: Table
    sheet: Sheet


def measure_captions(
    smiles: Sequence[str],
    texts: Sequence[str],
    answers: Sequence[str],
    config: EvaluationConfig,
    training: Training | None = None,
) -> Measured:
    """Captions `answers` of N molecules against `texts`; with training pairs, floors and similarity too."""
    systems = {MODEL: list(answers)}
    if training:
        copied = [training.texts[row] for row in training.nearest(smiles)[0]]
        systems |= {floors.RANDOM: floors.random_answers(texts, config.seed), floors.NEAREST: copied}
    table = {system: caption_result(texts, said, config, system) for system, said in systems.items()}
    columns = {"Reference": texts, "Model": answers}
    cuts = cuts_of(smiles, texts, training)
    return Measured(table, Sheet(CAPTIONS, table[MODEL], {"Molecule": smiles}, columns, True, cuts))


def measure_molecules(
    texts: Sequence[str],
    smiles: Sequence[str],
    answers: Sequence[str],
    config: EvaluationConfig,
    training: Training | None = None,
) -> Measured:
    """Molecules `answers` for N texts against `smiles`; with training pairs, floors, novelty and similarity too."""
    systems = {MODEL: list(answers)}
    if training:
        with progress.bar("nearest training texts", 1, "searches") as bar:
            systems |= floors.molecule_floors(texts, smiles, training.texts, training.smiles, config.seed)
            bar.advance()
    table = {}
    for system, written in systems.items():
        with progress.bar(f"measure molecules, {system}", len(smiles)) as bar:
            table[system] = molecule_metrics(
                smiles,
                written,
                config.protocol,
                training_keys=training.keys if training else None,
                progress=progress.counter(bar),
                seed=config.seed,
                with_fcd=config.fcd and system == MODEL,
            )
    columns = {"Reference": smiles, "Generated": answers}
    cuts = cuts_of(smiles, texts, training)
    return Measured(table, Sheet(MOLECULES, table[MODEL], columns, {"Text": texts}, cuts=cuts))


def check_means(config: EvaluationConfig) -> None:
    """Look for what the settings measure captions with. Raises `UserError` for an unknown protocol, a vocabulary that
    the protocol needs and that is not there, or a WordNet that is named and is not there."""
    TOKENIZERS[protocol(config.protocol).tokenizer](Path(config.vocabulary) if config.vocabulary else None)
    synonyms_of((), Path(place) if (place := _wordnet(config)) else None)


def caption_result(references: Sequence[str], answers: Sequence[str], config: EvaluationConfig, title: str) -> Result:
    """`caption_metrics` as the settings say, under a bar."""
    with progress.bar(f"measure captions, {title}", len(references)) as bar:
        return caption_metrics(
            references,
            answers,
            config.protocol,
            config.vocabulary or None,
            _wordnet(config),
            progress=progress.counter(bar),
            seed=config.seed,
        )


def _wordnet(config: EvaluationConfig) -> str | Path | None:
    """Where METEOR's synonyms are. `plain` must give one number on every machine, so it takes only what is named."""
    if config.wordnet == "none":
        return None
    return config.wordnet or (None if config.protocol == "plain" else assets.find("wordnet"))


def cuts_of(smiles: Sequence[str], texts: Sequence[str], training: Training | None) -> list[Slicing]:
    """All slicings of N pairs; by similarity where there are training pairs."""
    return slices.slicings(smiles, texts, training.nearest(smiles)[1] if training else None)


def sample_rows(count: int, limit: int, seed: int) -> np.ndarray:
    """Ascending row numbers: all of `count`, or `limit` of them drawn with the seed."""
    if not limit or limit >= count:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, limit, replace=False))
