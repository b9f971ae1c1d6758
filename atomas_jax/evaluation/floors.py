"""Floors: what is reached without any model. A number is worth what it is above these.

Two kinds for each direction: the answer of another row (no information about the query) and the answer of the nearest
training row (a copy). Each is a list of answers that goes through the same metrics as a model's.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.evaluation.caption_tokens import words

RANDOM, NEAREST = "another row", "nearest training pair"
"""What the floors are called in tables."""


def molecule_floors(
    texts: Sequence[str], smiles: Sequence[str], known_texts: Sequence[str], known_smiles: Sequence[str], seed: int = 0
) -> dict[str, list[str]]:
    """Both floors for N texts whose molecules are `smiles`, from training pairs: {floor: SMILES [N]}."""
    return {
        RANDOM: random_answers(smiles, seed),
        NEAREST: nearest_molecules(texts, known_texts, known_smiles)[0],
    }


def other_rows(rows: int, seed: int = 0) -> np.ndarray:
    """For each of N >= 2 rows another one, int64 [N]: a random cyclic permutation (Sattolo), so that no row gets
    itself and each is used once. Raises `UserError` for fewer than two rows."""
    if rows < 2:
        raise UserError("the answer of another row needs at least two rows")
    random = np.random.default_rng(seed)
    order = np.arange(rows)
    for i in range(rows - 1, 0, -1):
        j = random.integers(i)
        order[i], order[j] = order[j], order[i]
    return order


def random_answers(answers: Sequence[str], seed: int = 0) -> list[str]:
    """The reference answer of another row of the same table, for each row."""
    return [answers[i] for i in other_rows(len(answers), seed)]


def nearest_molecules(
    captions: Sequence[str], training_captions: Sequence[str], training_molecules: Sequence[str]
) -> tuple[list[str], np.ndarray]:
    """The molecule of the nearest training caption: cosine of TF-IDF vectors; ties to the lowest index.

    Returns:
      (SMILES [Q], cosine float64 [Q]).
    """
    index, similarity = nearest_texts(captions, training_captions)
    return [training_molecules[i] for i in index], similarity


def nearest_texts(queries: Sequence[str], library: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The most alike text of a library for each query, (index int64 [Q], cosine float64 [Q]).

    A text is the vector of (1 + ln count) * ln(1 + N / n) over its distinct words (lower-cased words, numbers and
    punctuation), with N texts in the library, n of them holding the word; words the library lacks count in no length.
    Source: Manning, Raghavan, Schuetze, Introduction to Information Retrieval, 2008, section 6.4 (log TF, smoothed
    IDF, cosine). The library is an inverted index, so a query costs the postings of its words and nothing of size
    queries x library is held.
    """
    if not len(library):
        raise UserError("no training texts to search")
    tokenize = words()
    bags = [Counter(tokens) for tokens in tokenize(library)]
    held: dict[str, list[int]] = {}
    for row, bag in enumerate(bags):
        for word in bag:
            held.setdefault(word, []).append(row)
    rarity = {word: float(np.log1p(len(library) / len(rows))) for word, rows in held.items()}
    norms = np.array([np.sqrt(sum(((1 + np.log(c)) * rarity[w]) ** 2 for w, c in bag.items())) for bag in bags])
    norms = np.where(norms > 0, norms, 1.0)
    postings = {
        word: (np.array(rows), np.array([1 + np.log(bags[r][word]) for r in rows]) * rarity[word] / norms[rows])
        for word, rows in held.items()
    }
    index, cosine = np.zeros(len(queries), np.int64), np.zeros(len(queries))
    for number, tokens in enumerate(tokenize(queries)):
        found = np.zeros(len(library))
        length = 0.0
        for word, count in Counter(tokens).items():
            if word in postings:
                weight = (1 + np.log(count)) * rarity[word]
                rows, values = postings[word]
                found[rows] += weight * values  # rows of one word are distinct
                length += weight**2
        # Equal texts must tie exactly, whatever the order their sums were taken in.
        found = np.round(found / np.sqrt(length) if length else found, 12)
        index[number] = np.argmax(found)
        cosine[number] = found[index[number]]
    return index, cosine
