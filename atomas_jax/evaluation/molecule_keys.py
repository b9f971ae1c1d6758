"""Which rows of a table are the same molecule, and a pool of further molecules to rank among."""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from atomas_jax import progress
from atomas_jax.chemistry.molecules import InvalidMolecule, identity
from atomas_jax.corpus import readers
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.evaluation.workers import spread


def molecule_keys(smiles: Sequence[str], positives: str) -> list[str]:
    """A key for each SMILES: equal for spellings of one molecule, with "twins" for its stereo twins too. What is no
    molecule has the string itself for its key."""
    return [key or one for one, key in zip(smiles, identify(smiles, flat=positives == "twins"))]


def identify(smiles: Sequence[str], what: str = "molecules", flat: bool = False) -> list[str | None]:
    """The `key` of each (see `chemistry.molecules.Identity`), or its `flat_key`; None for what is no molecule. `what`
    is named in the bar."""
    with progress.bar(f"identify {what}", len(smiles), "molecules") as bar:
        return spread(functools.partial(_keys, flat=flat), list(smiles), progress=progress.counter(bar))


def _keys(rows: list[str], flat: bool) -> list[str | None]:
    return [_key(smiles, flat) for smiles in rows]


def _key(smiles: str, flat: bool) -> str | None:
    try:
        found = identity(smiles)
    except InvalidMolecule:
        return None
    return found.flat_key if flat else found.key


@dataclass(frozen=True)
class Distractors:
    """Rows to rank among beside the queries' own: SMILES, their texts where the file was asked for them (else none),
    and what was left out: rows of the file that are the queries' own, and rows that cannot be read."""

    smiles: list[str]
    texts: list[str]
    own: int = 0
    refused: int = 0


def read_distractors(source: Source, own: Sequence[str]) -> Distractors:
    """The rows of a file of SMILES, and of texts where the source names their column, that are not the queries' own.

    A file of all splits may be given: for each molecule of `own` (SMILES) one row of the same molecule is left out.

    Raises: `UserError` as `corpus.readers.read`.
    """
    rows = list(progress.track(readers.read(source, captions=bool(source.text)), f"read {source.label}"))
    kept = [row for row in rows if isinstance(row, readers.Record)]
    if not kept:
        raise UserError(f"{source.path} holds no molecule to rank among")
    keys = molecule_keys([*own, *(row.smiles for row in kept)], "molecule")
    left = Counter(keys[: len(own)])
    others = []
    for row, key in zip(kept, keys[len(own) :], strict=True):
        if left[key]:
            left[key] -= 1
        else:
            others.append(row)
    texts = [row.text for row in others] if source.text else []
    return Distractors([row.smiles for row in others], texts, len(kept) - len(others), len(rows) - len(kept))
