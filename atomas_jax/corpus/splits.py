"""Splits decided by hashes: the same for every order of the rows and any number of workers, without holding them.

A hash of the seed and the row's group gives a number in [0, 1); the group goes to test below `test`, to validation
below `test + validation`, else to train. Shares are therefore expectations: of G groups, a share p has a standard
deviation of sqrt(p (1 - p) / G).
"""

import hashlib
from collections.abc import Iterable

from atomas_jax.corpus.configuration import SplitConfig
from atomas_jax.errors import UserError


def position(seed: int, text: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments, uniform over texts."""
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{text}".encode(), digest_size=7).digest()) / 2**56


def assign(split: SplitConfig, of_group: str) -> str:
    """ "train", "validation" or "test" for a group, by the configured method (given: all train)."""
    if split.method == "given":
        return "train"
    at = position(split.seed, of_group)
    if at < split.test:
        return "test"
    return "validation" if at < split.test + split.validation else "train"


def slice_of(keys: Iterable[str], rows: int, seed: int, name: str) -> set[str]:
    """Molecules of one source that together have `rows` of its rows, drawn by hash.

    keys: the molecule of each row of the source, as often as it has rows. Molecules are taken in the order of their
    hashes; one with more rows than are still wanted is passed over. Raises `UserError` when the source has too few.
    """
    count = {}
    for key in keys:
        count[key] = count.get(key, 0) + 1
    chosen, left = set(), rows
    for key in sorted(count, key=lambda each: (position(seed, each), each)):
        if count[key] <= left:
            chosen.add(key)
            left -= count[key]
        if not left:
            return chosen
    raise UserError(f"source {name!r} has {sum(count.values()):,} usable rows, not the {rows:,} asked for validation")


def check(split: SplitConfig) -> None:
    """Raises `UserError` for shares outside [0, 1) or settings that exclude each other."""
    if min(split.validation, split.test) < 0 or split.validation + split.test >= 1:
        raise UserError(f"split shares {split.validation} and {split.test}: each at least 0, together below 1")
    if bool(split.rows_from) != bool(split.rows) or split.rows < 0:
        raise UserError("split: rows_from and rows go together; rows is how many of the source's rows are validation")
    if split.rows_from and split.method != "given":
        raise UserError(f"split: rows_from wants method given, not {split.method}")
