"""Which rows stay: one identity a molecule, duplicates merged, held-out molecules and captions refused.

Captions are changed as little as possible: blanks at the end go, all else stays, Unicode as given (no normalisation: a
tokenizer that is lossless needs none, and published captions are compared character by character).
"""

import hashlib
from dataclasses import dataclass

from atomas_jax.corpus.configuration import LeakageConfig
from atomas_jax.corpus.readers import EXCERPT, Record, Reject


@dataclass(frozen=True, slots=True)
class Curated:
    """A row with its molecule's identity.

    key, flat_key: InChIKey, and that without stereo. group: what a split keeps together: the
    Bemis-Murcko scaffold where one is asked for and there is one, else the flat key.
    """

    record: Record
    key: str
    flat_key: str
    group: str


def clean_caption(text: str) -> str:
    """The caption without blanks and line breaks at its end."""
    return text.rstrip()


def refuse(record: Record, reason: str) -> Reject:
    """The refusal of a row that was read."""
    return Reject(record.file, record.line, reason, f"{record.smiles}\t{record.text}"[:EXCERPT], record.text)


def digest(*parts: str) -> bytes:
    """16 bytes that stand for strings in the sets below: a million rows cost some 100 MB whatever their lengths."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def caption_digest(text: str) -> bytes:
    """Equal for captions that differ in case or in runs of blanks only."""
    return digest(" ".join(text.casefold().split()))


class Duplicates:
    """Pairs seen so far. The same molecule with the same caption is one pair; with another caption it is another."""

    def __init__(self):
        self._seen = set()

    def seen(self, key: str, text: str) -> bool:
        """Whether the pair was given before; it is remembered."""
        pair = digest(key, text)
        if pair in self._seen:
            return True
        self._seen.add(pair)
        return False


class HeldOut:
    """Molecules and captions that must not be trained on, each with the name of the source that holds it."""

    def __init__(self, leakage: LeakageConfig):
        self._leakage = leakage
        self._keys: dict[bytes, str] = {}
        self._flat_keys: dict[bytes, str] = {}
        self._captions: dict[bytes, str] = {}

    def add(self, name: str, row: Curated) -> None:
        """Hold out a row's molecule and caption."""
        self._keys.setdefault(digest(row.key), name)
        self._flat_keys.setdefault(digest(row.flat_key), name)
        self.add_caption(name, row.record.text)

    def add_caption(self, name: str, text: str) -> None:
        """Hold out a caption alone, of a row whose molecule cannot be read."""
        if text:
            self._captions.setdefault(caption_digest(text), name)

    def reason(self, row: Curated) -> str | None:
        """Why the row may not be trained on, or None: "in held-out NAME by identity", "... by identity without stereo",
        "... by caption"."""
        if self._leakage.by_identity and self._keys and (name := self._keys.get(digest(row.key))):
            return f"in held-out {name} by identity"
        if self._leakage.ignore_stereo and self._flat_keys and (name := self._flat_keys.get(digest(row.flat_key))):
            return f"in held-out {name} by identity without stereo"
        if (
            self._leakage.by_caption
            and self._captions
            and (name := self._captions.get(caption_digest(row.record.text)))
        ):
            return f"in held-out {name} by caption"
        return None
