"""English for captions: articles, numbers, plurals, lists, and text that remembers the atoms each phrase speaks of."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


def number(value: int) -> str:
    """A whole number from 0 to 9,999 in words: 21 is "twenty-one"."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        return _TENS[value // 10] + (f"-{_ONES[value % 10]}" if value % 10 else "")
    if value < 1000:
        rest = f" and {number(value % 100)}" if value % 100 else ""
        return f"{_ONES[value // 100]} hundred{rest}"
    rest = value % 1000
    joint = "" if not rest else f" and {number(rest)}" if rest < 100 else f" {number(rest)}"
    return f"{number(value // 1000)} thousand{joint}"


_VOWEL_SOUND = re.compile(r"(?!uni|ure|eu|one|us|ubi|uri|ura)[aeiou]|N-|O-|S-|8|11|18|hour", re.IGNORECASE)
_LETTER_VOWELS = "AEFHILMNORSX"


def article(noun: str) -> str:
    """ "a" or "an", by sound: an ester, a urea, an (S)-stereocentre, an N-oxide, an 8-oxabicycle."""
    label = re.match(r"\(?([A-Z])\)?-|\(([A-Z])\)", noun)
    if label:
        return "an" if (label[1] or label[2]) in _LETTER_VOWELS else "a"
    return "an" if _VOWEL_SOUND.match(noun.lstrip("[(")) else "a"


def plural(noun: str) -> str:
    """The plural of a noun phrase that ends in its head noun; what follows a preposition stays as it is."""
    head, joint, tail = re.match(r"(.*?)( with | of | in |$)(.*)", noun).groups()
    if re.search(r"(s|x|ch|sh)$", head):
        head += "es"
    elif re.search(r"[^aeiou]y$", head):
        head = head[:-1] + "ies"
    else:
        head += "s"
    return head + joint + tail


@dataclass(frozen=True, slots=True)
class Mention:
    """A piece of text that speaks of `atoms`."""

    text: str
    atoms: tuple[int, ...]


Clause = list["str | Mention"]


def counted(noun: str, atoms: Iterable[int], count: int = 1, definite: bool = False) -> Clause:
    """ "a chloro group", "two chloro groups" or "the chloro group": the mention is noun and number, no article."""
    where = tuple(sorted(set(atoms)))
    if count == 1:
        return [("the" if definite else article(noun)) + " ", Mention(noun, where)]
    text = f"{number(count)} {plural(noun)}"
    return ["the ", Mention(text, where)] if definite else [Mention(text, where)]


def listed(clauses: Sequence[Clause], joint: str = "and") -> Clause:
    """ "a, b and c"."""
    result: Clause = []
    for position, clause in enumerate(clauses):
        if position:
            result.append(f" {joint} " if position == len(clauses) - 1 else ", ")
        result.extend(clause)
    return result


def sentence(clause: Clause) -> Clause:
    """The clause with a capital letter and a full stop."""
    first, *rest = clause
    if isinstance(first, Mention):
        first = Mention(first.text[0].upper() + first.text[1:], first.atoms)
    else:
        first = first[0].upper() + first[1:]
    return [first, *rest, "."]


def words(clause: Clause) -> int:
    """How many words a clause has."""
    return len("".join(piece if isinstance(piece, str) else piece.text for piece in clause).split())
