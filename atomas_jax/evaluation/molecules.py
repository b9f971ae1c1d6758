"""Generated molecules against reference molecules: how alike the strings and the molecules, how many are valid.

Definitions are those of MolT5's evaluation (Edwards et al., EMNLP 2022), with what string metrics hide beside them:
exactness without stereo and with either kind of it, uniqueness, novelty.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from rapidfuzz.distance import Levenshtein

from atomas_jax.chemistry import fingerprints
from atomas_jax.chemistry.molecules import (
    Identity,
    InvalidMolecule,
    Mol,
    centres_alone,
    double_bonds_alone,
    identity,
    parse,
)
from atomas_jax.errors import UserError
from atomas_jax.evaluation import bleu, bootstrap, fcd
from atomas_jax.evaluation.protocols import INVALID_SAYS, Protocol
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
    with_fcd: bool = False,
) -> Result:
    """Measure generated SMILES, row by row against one reference each. What does not parse is invalid.

    Args:
      references, predictions: N SMILES each. String metrics take them as they are: repair doubled backslashes before.
      protocol: a name of `PROTOCOLS`; it says what an empty or invalid prediction is, and what is canonicalised.
      training_keys: full InChIKeys (`chemistry.molecules.identity(...).key`) of the training molecules; with them
        novelty is measured.
      workers: processes; None: all cores above 500 rows. progress: called with (rows done, rows). seed: of the
        bootstrap. with_fcd: measure the Fréchet ChemNet distance too, as slow as all the rest.

    Returns:
      `Result`. Which rows are in a metric is the protocol's to say; rows outside are NaN in `rows`. In Uniqueness a row
      counts 1 / (how often its molecule was written); its interval keeps these, as a resample repeats molecules by
      itself. FCD has a jackknife's interval (`fcd.distance`).

    Raises:
      UserError: no rows, unequal numbers, an unknown protocol, a reference that is no molecule; FCD asked for without
        its library or with too few molecules.
    """
    rule = protocol_named(protocol)
    references, predictions = list(references), list(predictions)
    check_pairs(references, predictions)
    measured = spread(functools.partial(_measure, rule=rule), list(zip(references, predictions)), workers, progress)
    for number, row in enumerate(measured, start=1):
        if row.refused is not None:
            raise UserError(f"reference number {number} is no molecule: {row.refused}")

    counts = np.array([row.counts for row in measured], dtype=np.int64)
    keys = [row.key for row in measured]
    valid = np.array([row.valid for row in measured])
    each = {name: np.array([row.shares[i] for row in measured], np.float64) for i, name in enumerate(SHARES)}
    each["Levenshtein"] = np.array([row.distance for row in measured], dtype=np.float64)
    each |= {name: np.array([row.similar[i] for row in measured]) for i, name in enumerate(FINGERPRINTS)}
    own_bleu = bleu.bleu(counts)
    if rule.invalid == "drop":
        counts[~valid] = 0
        for values in (*each.values(), own_bleu):
            values[~valid] = np.nan
    elif rule.invalid == "zero":
        for name in FINGERPRINTS:
            each[name][~valid] = 0.0
    each["Validity"] = valid.astype(np.float64)
    if training_keys is not None:
        known = frozenset(training_keys)
        each["Novelty"] = np.array([float(key not in known) if key else np.nan for key in keys])
    written = Counter(keys)
    each["Uniqueness"] = np.array([1 / written[key] if key else np.nan for key in keys])
    estimators = {"BLEU": bleu.bleu_of(counts), **{name: bootstrap.mean_of(values) for name, values in each.items()}}
    scores = bootstrap.scores(estimators, len(measured), seed=seed)
    libraries = ["rdkit", "rapidfuzz"]
    if with_fcd:
        libraries.append("fcd")
        molecules = [text if row.key else None for text, row in zip(predictions, measured)]
        scores["FCD"] = fcd.distance(references, molecules, seed)
    doubled = any("\\\\" in reference for reference in references)
    return Result(
        scores=scores,
        rows={"BLEU": own_bleu, **each, "BLEU counts": counts},
        stamp=Stamp(
            task="molecules",
            protocol=rule.name,
            rows=len(measured),
            data=data_hash(references),
            settings={
                "backslashes": "doubled, as shipped" if doubled else "single",
                "strings": "canonical" if rule.canonical else "raw",
                "invalid outputs": INVALID_SAYS[rule.invalid],
                "empty outputs": "valid" if rule.empty_is_valid else "invalid",
                "outputs with blanks": "read up to the blank" if rule.ends_at_blank else "invalid",
                **({"training": data_hash(sorted(training_keys))} if training_keys is not None else {}),
                "bootstrap": f"{bootstrap.RESAMPLES} resamples, seed {seed}",
            },
            counts={
                "invalid predictions": int((~valid).sum()),
                "empty predictions": sum(not text.strip() for text in predictions),
            },
            versions=versions_of(*libraries),
        ),
    )


SHARES = ("Exact", "Exact, R/S", "Exact, E/Z", "Exact, no stereo")


@dataclass(frozen=True, slots=True)
class _Measured:
    """One row; `shares` follows `SHARES`, `similar` `FINGERPRINTS`, NaN when invalid; `key` is '' without a
    molecule."""

    counts: list[int]
    distance: int
    valid: bool = False
    shares: tuple[bool, ...] = (False,) * len(SHARES)
    similar: tuple[float, ...] = (np.nan,) * len(FINGERPRINTS)
    key: str = ""
    refused: str | None = None


def _measure(rows: list[tuple[str, str]], rule: Protocol) -> list[_Measured]:
    return [_measure_one(reference, prediction, rule) for reference, prediction in rows]


def _measure_one(reference: str, prediction: str, rule: Protocol) -> _Measured:
    def compared(one: str, other: str) -> tuple[list[int], int]:
        return bleu.counts(one, other), Levenshtein.distance(one, other)

    try:
        wanted = _known(reference)
    except InvalidMolecule as error:
        return _Measured(*compared(reference, prediction), refused=str(error))
    if rule.empty_is_valid and not prediction.strip():
        return _Measured(*compared(reference, prediction), valid=True, similar=(0.0,) * len(FINGERPRINTS))
    try:
        made = _known(" ".join(prediction.split()[:1]) if rule.ends_at_blank else prediction)
    except InvalidMolecule:
        return _Measured(*compared(reference, prediction))
    one, other = wanted.identity, made.identity
    exact, flat = other.key == one.key, other.flat_key == one.flat_key
    return _Measured(
        *(compared(one.canonical, other.canonical) if rule.canonical else compared(reference, prediction)),
        valid=True,
        shares=(
            exact,
            exact or (flat and _alike(centres_alone, wanted.molecule, made.molecule)),
            exact or (flat and _alike(double_bonds_alone, wanted.molecule, made.molecule)),
            flat,
        ),
        similar=tuple(fingerprints.tanimoto(w, m) for w, m in zip(wanted.prints, made.prints)),
        key=other.key,
    )


def _alike(reduced: Callable[[Mol], str], one: Mol, other: Mol) -> bool:
    """Whether two molecules of one connectivity are the same when one kind of stereo is dropped. By InChI, as `Exact`:
    canonical SMILES would tell tautomers apart."""
    return identity(reduced(one)).key == identity(reduced(other)).key


@dataclass(frozen=True)
class _Known:
    molecule: Mol
    identity: Identity
    prints: tuple


@functools.lru_cache(maxsize=64)
def _known(smiles: str) -> _Known:
    """Identity and fingerprints of a string; remembered, as an exact copy of the reference is common."""
    molecule: Mol = parse(smiles)
    return _Known(molecule, identity(molecule), tuple(make(molecule) for make in FINGERPRINTS.values()))
