"""METEOR of tokenised sentences by NLTK, with or without WordNet's synonyms, and without its slow parts.

NLTK stems every unmatched token and asks WordNet for every one still left, anew in every sentence. Here the stems are
remembered, and the synonyms are looked up once for the distinct tokens of a whole table, so that a worker needs no
WordNet.
"""

import functools
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from nltk.stem.porter import PorterStemmer
from nltk.translate.meteor_score import meteor_score

from atomas_jax.errors import UserError

Synonyms = Mapping[str, frozenset[str]]
"""Stem to the one-word lemmas of its WordNet synsets; a stem without any is not in it. (NLTK's synonym stage sees
stems, not tokens.)"""


class _Stemmer:
    def __init__(self) -> None:
        self.stem = functools.lru_cache(maxsize=200_000)(PorterStemmer().stem)


@dataclass(frozen=True)
class _Lemma:
    text: str

    def name(self) -> str:
        return self.text


@dataclass(frozen=True)
class _Synset:
    words: frozenset[str]

    def lemmas(self) -> list[_Lemma]:
        return [_Lemma(word) for word in self.words]


class _Lookup:
    """What `meteor_score` asks of a WordNet reader, answered from a table."""

    def __init__(self, synonyms: Synonyms) -> None:
        self._synonyms = synonyms

    def synsets(self, token: str) -> list[_Synset]:
        return [_Synset(self._synonyms[token])] if token in self._synonyms else []


_STEMMER = _Stemmer()


def stem(token: str) -> str:
    """The Porter stem NLTK's METEOR compares in its second and third stages."""
    return _STEMMER.stem(token.lower())


def meteor(reference: list[str], prediction: list[str], synonyms: Synonyms) -> float:
    """METEOR in [0, 1] of one sentence; alpha .9, beta 3, gamma .5; without synonyms, two stages.

    Source: Lavie and Agarwal, WMT 2007, in the form of `nltk.translate.meteor_score`.
    """
    return float(meteor_score([reference], prediction, stemmer=_STEMMER, wordnet=_Lookup(synonyms)))


def synonyms_of(stems: Iterable[str], wordnet: Path | None) -> dict[str, frozenset[str]]:
    """The synonyms of the given stems. `wordnet` is an NLTK data folder (holding `corpora/wordnet` or
    `corpora/wordnet.zip`), a folder with `wordnet.zip`, or that file; None gives no synonyms. Raises `UserError` when
    there is no WordNet there."""
    if wordnet is None:
        return {}
    reader = _reader(Path(wordnet).resolve())
    found = {}
    for one in sorted(set(stems)):
        names = {lemma.name() for synset in reader.synsets(one) for lemma in synset.lemmas()}
        words = frozenset(name for name in names if "_" not in name)
        if words:
            found[one] = words
    return found


@functools.lru_cache(maxsize=2)
def _reader(place: Path):
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader
    from nltk.data import FileSystemPathPointer, ZipFilePathPointer

    class Reader(WordNetCorpusReader):
        def map_wn(self, version="wordnet"):
            """No map to other versions: synonyms need none, and building it takes most of the loading time."""
            return None

    folders = [place / "corpora" / "wordnet", place / "wordnet", place]
    archives = [place / "corpora" / "wordnet.zip", place / "wordnet.zip", place]
    folder = next((f for f in folders if (f / "index.noun").is_file()), None)
    archive = next((a for a in archives if a.is_file() and a.suffix == ".zip"), None)
    if folder is None and archive is None:
        raise UserError(
            f"no WordNet at {place}: give NLTK's data folder, which holds corpora/wordnet or corpora/wordnet.zip"
        )
    home = str((folder or archive).parent)
    if home not in nltk.data.path:
        nltk.data.path.append(home)  # NLTK opens files only below its data path
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that other languages are not at hand
            root = FileSystemPathPointer(str(folder)) if folder else ZipFilePathPointer(str(archive), "wordnet/")
            return Reader(root, None)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise UserError(f"cannot read WordNet at {folder or archive}: {error}") from None
