"""The two steps of a preparation that workers do, as picklable callables on chunks of rows."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from atomas_jax.chemistry.molecules import InvalidMolecule, identity, parse, random_spelling, scaffold
from atomas_jax.corpus.curation import Curated, clean_caption, digest, refuse
from atomas_jax.corpus.readers import Record, Reject


@dataclass(frozen=True)
class Examine:
    """Finds each row's molecule: Records become `Curated`, or `Reject` with the reason; Rejects pass through.

    A chunk is (tag, describe, rows); the tag comes back with the results. describe: write the caption from structure.
    """

    scaffolds: bool
    seed: int

    def __call__(self, chunk):
        tag, describe, rows = chunk
        return tag, [row if isinstance(row, Reject) else self._examine(row, describe) for row in rows]

    def _examine(self, record: Record, describe: bool) -> Curated | Reject:
        found = _identity(record.smiles, self.scaffolds)
        if isinstance(found, str):
            return refuse(record, f"invalid molecule: {found}")
        if describe:
            from atomas_jax.corpus.embedded import describe_record

            written = describe_record(record.smiles, self.seed)
            record = replace(
                record, text=written["text"], phrases=json.dumps(written["phrases"], separators=(",", ":"))
            )
        else:
            record = replace(record, text=clean_caption(record.text))
        return Curated(record, *found)


# Captions of one molecule usually follow each other; InChI is most of the cost of a row.
@lru_cache(maxsize=1024)
def _identity(smiles, scaffolds):
    """(key, flat key, group), or the reason why there is none."""
    try:
        mol = parse(smiles)
    except InvalidMolecule as error:
        return str(error)
    found = identity(mol)
    return found.key, found.flat_key, (scaffolds and scaffold(mol)) or found.flat_key


def seed_of(seed: int, text: str) -> int:
    """A seed in [0, 2**31) for one row."""
    return int.from_bytes(digest(str(seed), text)[:4]) >> 1


@dataclass(frozen=True)
class Encoded:
    """Token ids of a chunk as two flat int32 arrays, which pickle faster than lists; lengths say where to cut them."""

    smiles_ids: np.ndarray
    smiles_lengths: list[list[int]]
    text_ids: np.ndarray
    text_lengths: list[int]

    def spellings(self) -> Iterator[list[np.ndarray]]:
        """The ids of each spelling of each row."""
        cut = _cut(self.smiles_ids, [length for of_row in self.smiles_lengths for length in of_row])
        for of_row in self.smiles_lengths:
            yield [next(cut) for _ in of_row]

    def texts(self) -> Iterator[np.ndarray]:
        """The ids of each caption."""
        return _cut(self.text_ids, self.text_lengths)


def _cut(ids, lengths):
    start = 0
    for length in lengths:
        yield ids[start : start + length]
        start += length


@dataclass(frozen=True)
class Encode:
    """Token ids of rows (smiles, text, key, spellings wanted); spelling 0 is the given one, repeats are dropped."""

    tokenizer: object
    seed: int

    def __call__(self, rows) -> Encoded:
        spelled = [self._spellings(smiles, key, wanted) for smiles, _, key, wanted in rows]
        smiles = [[self.tokenizer.encode_smiles(each) for each in of_row] for of_row in spelled]
        texts = [self.tokenizer.encode_text(text) for _, text, _, _ in rows]
        return Encoded(
            np.array([i for of_row in smiles for ids in of_row for i in ids], np.int32),
            [[len(ids) for ids in of_row] for of_row in smiles],
            np.array([i for ids in texts for i in ids], np.int32),
            [len(ids) for ids in texts],
        )

    def _spellings(self, smiles, key, wanted):
        if not wanted:
            return [smiles]
        mol = parse(smiles)
        drawn = [random_spelling(mol, seed_of(self.seed + i, key)) for i in range(wanted)]
        return list(dict.fromkeys([smiles, *drawn]))
