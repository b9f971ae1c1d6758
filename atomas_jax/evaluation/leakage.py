"""What a test set shares with a training set: molecules by ever looser identities, scaffolds, captions, whole pairs.

A published number is worth little while nobody has looked. Every kind of sharing is counted for itself, and beside it
how many test rows it finds that no stricter kind of its family had found.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from atomas_jax.chemistry.molecules import InvalidMolecule, canonical_smiles, identity, parse, plain_smiles, scaffold
from atomas_jax.corpus.readers import Record
from atomas_jax.evaluation.caption_tokens import words
from atomas_jax.evaluation.workers import Progress, spread

NEAR = 0.9
"""Share of words (each as often as it occurs) two captions have in common, of those either has, to be nearly one."""


@dataclass(frozen=True)
class Kind:
    """One way in which a test row can be in the training set; kinds of a family go from strict to loose."""

    name: str
    family: str
    meaning: str


KINDS = (
    Kind("same pair", "pairs", "InChIKey and caption"),
    Kind("same string", "molecules", "SMILES character by character"),
    Kind("same canonical SMILES", "molecules", "RDKit's, with stereo"),
    Kind("same InChIKey", "molecules", "also tautomers and zwitterions that InChI takes for one molecule"),
    Kind("same without stereo", "molecules", "canonical SMILES without stereo marks: stereo twins"),
    Kind("same without stereo, isotopes", "molecules", "canonical SMILES without stereo marks and isotopes"),
    Kind("same skeleton", "molecules", "first block of the InChIKey: stereo, isotopes and protons aside"),
    Kind("same scaffold", "molecules", "Bemis-Murcko scaffold; molecules without rings have none"),
    Kind("same caption", "captions", "case and runs of blanks aside"),
    Kind("near-identical caption", "captions", "at least {near:.0%} of the words either has are in both"),
)


@dataclass(frozen=True)
class Leak:
    """A test row, the first training row it is found by, and how many training rows there are; row numbers from 0."""

    test: int
    train: int
    matches: int


@dataclass(frozen=True)
class Found:
    """All leaks of one kind: `leaks` by test row, `new` those of no stricter kind of the family, `train_rows` training
    rows that are met, `forms` distinct values in common (for near-identical captions: distinct test captions)."""

    kind: Kind
    leaks: tuple[Leak, ...]
    new: tuple[Leak, ...]
    train_rows: int
    forms: int


@dataclass(frozen=True)
class Audit:
    """What `audit` gives: rows of both sides, how many of them hold no molecule, and what was found of each kind."""

    train_rows: int
    test_rows: int
    train_unreadable: int
    test_unreadable: int
    found: tuple[Found, ...]

    def __getitem__(self, name: str) -> Found:
        """What was found of a kind, by its name."""
        return next(found for found in self.found if found.kind.name == name)


def audit(
    train: Sequence[Record],
    test: Sequence[Record],
    near: float = NEAR,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Look for every test row in the training rows.

    Args:
      train, test: rows; an empty caption is compared with nothing, and a SMILES that is no molecule only as a string.
      near: see `NEAR`, above 0 and at most 1.
      workers, progress: as in `workers.spread`; the unit is a molecule of either side.

    Returns: `Audit`; kinds that neither side can have (captions of a list of SMILES) are left out.
    """
    facts = spread(_facts, [row.smiles for row in (*train, *test)], workers, progress)
    sides = {"train": (train, facts[: len(train)]), "test": (test, facts[len(train) :])}
    captioned = all(any(row.text.strip() for row in rows) for rows, _ in sides.values())
    found: list[Found] = []
    seen: dict[str, set[int]] = {}
    for place, kind in enumerate(KINDS):
        if not captioned and kind.family != "molecules":
            continue
        there, here = (_values(place, *sides[side]) for side in ("train", "test"))
        leaks, met, forms = _equal(there, here) if kind.name != "near-identical caption" else _near(there, here, near)
        known = seen.setdefault(kind.family, set())
        new = tuple(leak for leak in leaks if leak.test not in known)
        known |= {leak.test for leak in leaks}
        shown = Kind(kind.name, kind.family, kind.meaning.format(near=near))
        found.append(Found(shown, tuple(leaks), new, met, forms))
    unreadable = {side: sum(fact is None for fact in facts) for side, (_, facts) in sides.items()}
    return Audit(len(train), len(test), unreadable["train"], unreadable["test"], tuple(found))


_MOLECULAR = (
    "same canonical SMILES",
    "same InChIKey",
    "same without stereo",
    "same without stereo, isotopes",
    "same skeleton",
    "same scaffold",
)


def _facts(rows: list[str]) -> list[tuple[str, ...] | None]:
    """The values of `_MOLECULAR` for each SMILES; None where it is no molecule."""
    return [_facts_of(smiles) for smiles in rows]


def _facts_of(smiles: str) -> tuple[str, ...] | None:
    try:
        molecule = parse(smiles)
    except InvalidMolecule:
        return None
    one = identity(molecule)
    flat = canonical_smiles(molecule, stereo=False) if set("@/\\") & set(one.canonical) else one.canonical
    plain = plain_smiles(molecule) if "[" in flat else flat  # no bracket, no isotope
    skeleton = flat if one.key.startswith("SMILES:") else one.key.partition("-")[0]
    return one.canonical, one.key, flat, plain, skeleton, scaffold(molecule)


def _values(place: int, rows: Sequence[Record], facts: list[tuple[str, ...] | None]) -> list[Hashable | None]:
    """What makes two rows equal by the kind at this place of `KINDS`; None: nothing does."""
    name = KINDS[place].name
    if name == "same string":
        return [row.smiles or None for row in rows]
    if name in _MOLECULAR:
        column = _MOLECULAR.index(name)
        return [(fact[column] or None) if fact else None for fact in facts]
    captions = [" ".join(row.text.casefold().split()) or None for row in rows]
    if name == "same pair":
        key = _MOLECULAR.index("same InChIKey")
        return [(fact[key], text) if fact and text else None for fact, text in zip(facts, captions)]
    return captions


def _equal(train: list[Hashable | None], test: list[Hashable | None]) -> tuple[list[Leak], int, int]:
    first, count = _held(train)
    leaks = [Leak(row, first[value], count[value]) for row, value in enumerate(test) if value in first]
    shared = {value for value in test if value in first}
    return leaks, sum(count[value] for value in shared), len(shared)


def _held(values: list[Hashable | None]) -> tuple[dict, Counter]:
    first: dict[Hashable, int] = {}
    for row, value in enumerate(values):
        if value is not None:
            first.setdefault(value, row)
    return first, Counter(value for value in values if value is not None)


def _near(train: list[str | None], test: list[str | None], near: float) -> tuple[list[Leak], int, int]:
    """As `_equal`, for captions that are nearly one; the training row of a leak is the nearest, the first of such."""
    first, count = _held(train)
    asked = list(dict.fromkeys(text for text in test if text))
    pairs = similar_texts(asked, list(first), near)
    held = list(first)
    answers = {
        asked[query]: Leak(-1, first[held[matches[0][0]]], sum(count[held[index]] for index, _ in matches))
        for query, matches in pairs.items()
    }
    leaks = [Leak(row, answers[text].train, answers[text].matches) for row, text in enumerate(test) if text in answers]
    met = {index for matches in pairs.values() for index, _ in matches}
    return leaks, sum(count[held[index]] for index in met), len(pairs)


def similar_texts(queries: Sequence[str], library: Sequence[str], near: float) -> dict[int, list[tuple[int, float]]]:
    """For each query that has any: (library row, Jaccard similarity of the words' multisets) of all texts at least
    `near`, nearest first, then by row.

    Exact, and without comparing all with all: two sets with Jaccard similarity t have one of their n - ceil(t n) + 1
    rarest members in common. Source: Bayardo, Ma, Srikant, Scaling up all pairs similarity search, WWW 2007.
    """
    tokenize = words()
    bags = [_numbered(tokens) for tokens in tokenize([*library, *queries])]
    frequency = Counter(word for bag in bags for word in bag)
    rare_first = [sorted(bag, key=lambda word: (frequency[word], word)) for bag in bags]
    prefixes = [bag[: len(bag) - math.ceil(near * len(bag) - 1e-9) + 1] for bag in rare_first]
    index: dict[tuple[str, int], list[int]] = {}
    for row in range(len(library)):
        for word in prefixes[row]:
            index.setdefault(word, []).append(row)
    found = {}
    for query, place in enumerate(range(len(library), len(bags))):
        mine = bags[place]
        candidates = {row for word in prefixes[place] for row in index.get(word, ())}
        matches = []
        for row in sorted(candidates):
            theirs = bags[row]
            if min(len(mine), len(theirs)) >= near * max(len(mine), len(theirs)) - 1e-9:
                shared = len(mine & theirs)
                similarity = shared / (len(mine) + len(theirs) - shared)
                if similarity >= near - 1e-9:
                    matches.append((row, similarity))
        if matches:
            found[query] = sorted(matches, key=lambda match: (-match[1], match[0]))
    return found


def _numbered(tokens: list[str]) -> frozenset[tuple[str, int]]:
    """A multiset as a set: the n-th occurrence of a word is a member of its own."""
    seen: Counter[str] = Counter()
    members = []
    for token in tokens:
        seen[token] += 1
        members.append((token, seen[token]))
    return frozenset(members)
