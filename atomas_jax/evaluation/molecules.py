"""Generated molecules against reference molecules: how alike the strings and the molecules, how many are valid.

Definitions are those of MolT5's evaluation (Edwards et al., EMNLP 2022), with what string metrics hide beside them:
exactness without stereo, uniqueness, novelty.
"""

import functools
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from atomas_jax.chemistry import fingerprints
from atomas_jax.chemistry.molecules import Identity, InvalidMolecule, Mol, identity, parse
from atomas_jax.errors import UserError
from atomas_jax.evaluation import bleu, bootstrap
from atomas_jax.evaluation.protocols import protocol as protocol_named
from atomas_jax.evaluation.results import Result, Stamp, check_pairs, data_hash, versions_of
from atomas_jax.evaluation.workers import Progress, spread

FINGERPRINTS = {"MACCS": fingerprints.maccs, "RDK": fingerprints.rdk, "Morgan": fingerprints.morgan}


def molecule_metrics(
    references: Sequence[str],
    predictions: Sequence[str],
    protocol: str = "plain",
    training_keys: Collection[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Result:
    """Measure generated SMILES, row by row against one reference each. What does not parse is invalid.

    Args:
      references, predictions: N SMILES each. String metrics take them as they are: repair doubled backslashes before.
      protocol: a name of `PROTOCOLS`; it says what an empty prediction is.
      training_keys: full InChIKeys (`chemistry.molecules.identity(...).key`) of the training molecules; with them
        novelty is measured.
      workers: processes; None: all cores above 500 rows. progress: called with (rows done, rows). seed: of the
        bootstrap.

    Returns:
      `Result`. BLEU, Exact, Levenshtein and Validity are over all rows; MACCS, RDK and Morgan over valid outputs (NaN
      in `rows` for the others). Uniqueness has no interval: a resample repeats molecules by itself.

    Raises:
      UserError: no rows, unequal numbers, an unknown protocol, a reference that is no molecule.
    """
    rule = protocol_named(protocol)
    references, predictions = list(references), list(predictions)
    check_pairs(references, predictions)
    measure = functools.partial(_measure, empty_is_valid=rule.empty_is_valid)
    measured = spread(measure, list(zip(references, predictions, strict=True)), workers, progress)
    for number, row in enumerate(measured, start=1):
        if row.refused is not None:
            raise UserError(f"reference number {number} is no molecule: {row.refused}")

    counts = np.array([row.counts for row in measured], dtype=np.int64)
    keys = [row.key for row in measured]
    valid = np.array([row.valid for row in measured])
    each = {
        "Exact": np.array([row.exact for row in measured], dtype=np.float64),
        "Exact, no stereo": np.array([row.exact_flat for row in measured], dtype=np.float64),
        "Levenshtein": np.array([row.distance for row in measured], dtype=np.float64),
        **{name: np.array([row.similar[i] for row in measured]) for i, name in enumerate(FINGERPRINTS)},
        "Validity": valid.astype(np.float64),
    }
    if training_keys is not None:
        known = frozenset(training_keys)
        each["Novelty"] = np.array([float(key not in known) if key else np.nan for key in keys])
    estimators = {"BLEU": bleu.bleu_of(counts), **{name: bootstrap.mean_of(values) for name, values in each.items()}}
    scores = bootstrap.scores(estimators, len(measured), seed=seed)
    molecules = [key for key in keys if key]
    scores["Uniqueness"] = bootstrap.Score(len(set(molecules)) / len(molecules) if molecules else np.nan)
    doubled = any("\\\\" in reference for reference in references)
    return Result(
        scores=scores,
        rows={"BLEU": bleu.bleu(counts), **each, "BLEU counts": counts},
        stamp=Stamp(
            task="molecules",
            protocol=rule.name,
            rows=len(measured),
            data=data_hash(references),
            settings={
                "backslashes": "doubled, as shipped" if doubled else "single",
                "invalid outputs": "in BLEU, Levenshtein and Exact; not in similarities",
                "empty outputs": "valid" if rule.empty_is_valid else "invalid",
                "bootstrap": f"{bootstrap.RESAMPLES} resamples, seed {seed}",
            },
            counts={
                "invalid predictions": int((~valid).sum()),
                "empty predictions": sum(not text.strip() for text in predictions),
            },
            versions=versions_of("rdkit", "rapidfuzz"),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """One row; `similar` follows `FINGERPRINTS`, NaN when invalid; `key` is '' without a molecule."""

    counts: list[int]
    distance: int
    valid: bool = False
    exact: bool = False
    exact_flat: bool = False
    similar: tuple[float, ...] = (np.nan,) * len(FINGERPRINTS)
    key: str = ""
    refused: str | None = None


def _measure(rows: list[tuple[str, str]], empty_is_valid: bool) -> list[_Measured]:
    return [_measure_one(reference, prediction, empty_is_valid) for reference, prediction in rows]


def _measure_one(reference: str, prediction: str, empty_is_valid: bool) -> _Measured:
    counts, distance = bleu.counts(reference, prediction), Levenshtein.distance(reference, prediction)
    try:
        wanted = _known(reference)
    except InvalidMolecule as error:
        return _Measured(counts, distance, refused=str(error))
    if empty_is_valid and not prediction.strip():
        return _Measured(counts, distance, valid=True, similar=(0.0,) * len(FINGERPRINTS))
    try:
        made = _known(prediction)
    except InvalidMolecule:
        return _Measured(counts, distance)
    return _Measured(
        counts,
        distance,
        valid=True,
        exact=made.identity.key == wanted.identity.key,
        exact_flat=made.identity.flat_key == wanted.identity.flat_key,
        similar=tuple(fingerprints.tanimoto(w, m) for w, m in zip(wanted.prints, made.prints)),
        key=made.identity.key,
    )


@dataclass(frozen=True)
class _Known:
    identity: Identity
    prints: tuple


@functools.lru_cache(maxsize=64)
def _known(smiles: str) -> _Known:
    """Identity and fingerprints of a string; remembered, as an exact copy of the reference is common."""
    molecule: Mol = parse(smiles)
    return _Known(identity(molecule), tuple(make(molecule) for make in FINGERPRINTS.values()))
