"""What a tokenizer does to a user's strings: what is lost, and how long they become."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Lost:
    """A string that did not come back: its line (1 is the first), itself, and what came back."""

    line: int
    string: str
    back: str

    def excerpt(self, text: str, width: int = 60) -> str:
        """`width` characters of `text` (the string or what came back) about the first difference between the two."""
        pairs = enumerate(zip(self.string, self.back))
        first = next((place for place, (a, b) in pairs if a != b), min(len(self.string), len(self.back)))
        start = max(0, first - width // 2)
        shown = repr(text[start : start + width])
        return ("..." if start else "") + shown + ("..." if len(text) > start + width else "")


@dataclass(frozen=True)
class Report:
    """The round trip of some strings through a tokenizer.

    Attributes:
      what: "text" or "smiles".
      count, lossless: strings read; those that came back as they were.
      lost: the first few of the others.
      lost_characters: character -> how often it went missing (a changed character counts as missing).
      unknown: ids that were the unknown id.
      tokens_median, tokens_p95, tokens_max: ids per string, the end mark included.
      characters_per_token: characters of all strings / ids of all strings, the end marks left out.
    """

    what: str
    count: int
    lossless: int
    lost: tuple[Lost, ...]
    lost_characters: dict[str, int]
    unknown: int
    tokens_median: float
    tokens_p95: float
    tokens_max: int
    characters_per_token: float

    @property
    def rate(self) -> float:
        """Share of lossless strings, 0 to 1; 1 for no strings."""
        return self.lossless / self.count if self.count else 1.0

    def table(self) -> str:
        """The report as plain text of several lines."""
        rows = [
            ("strings", f"{self.count:,} ({self.what})"),
            ("lossless", f"{self.lossless:,} ({_percent(self.lossless, self.count)})"),
            ("tokens per string", f"median {self.tokens_median:g}, p95 {self.tokens_p95:g}, max {self.tokens_max:,}"),
            ("characters per token", f"{self.characters_per_token:.2f}"),
            ("unknown tokens", f"{self.unknown:,}"),
        ]
        lines = [f"{name:<22}{value}" for name, value in rows]
        if self.lost_characters:
            lines += ["", "characters lost"]
            ranked = sorted(self.lost_characters.items(), key=lambda item: (-item[1], item[0]))
            lines += [f"  {_shown(c):<6}U+{ord(c):04X}{n:>12,}" for c, n in ranked]
        if self.lost:
            lines += ["", f"the first {len(self.lost)} of {self.count - self.lossless:,} strings lost"]
            for lost in self.lost:
                lines += [
                    f"  line {lost.line}: {lost.excerpt(lost.string)}",
                    f"    came back: {lost.excerpt(lost.back)}",
                ]
        return "\n".join(lines)


def check(
    strings: Iterable[str], tokenizer: Tokenizer, what: Literal["text", "smiles"] = "text", examples: int = 5
) -> Report:
    """Encodes and decodes every string and reports what was lost and how long they are. Memory: 4 bytes a string.

    Raises `UserError` when `what` is neither "text" nor "smiles".
    """
    if what not in ("text", "smiles"):
        raise UserError(f"cannot check {what!r}: it is 'text' or 'smiles'")
    encode = tokenizer.encode_text if what == "text" else tokenizer.encode_smiles
    decode = tokenizer.decode_text if what == "text" else tokenizer.decode_smiles
    lengths: list[np.ndarray] = []
    block: list[int] = []
    lost: list[Lost] = []
    characters: Counter[str] = Counter()
    lossless = unknown = length = 0
    for line, string in enumerate(strings, 1):
        ids = encode(string)
        back = decode(ids)
        if back == string:
            lossless += 1
        else:
            characters.update(Counter(string) - Counter(back))
            if len(lost) < examples:
                lost.append(Lost(line, string, back))
        unknown += ids.count(tokenizer.unk_id)
        length += len(string)
        block.append(len(ids))
        if len(block) == 1 << 16:
            lengths.append(np.array(block, np.int32))
            block.clear()
    tokens = np.concatenate([*lengths, np.array(block, np.int32)])
    count = len(tokens)
    written = int(tokens.sum(dtype=np.int64)) - count
    return Report(
        what=what,
        count=count,
        lossless=lossless,
        lost=tuple(lost),
        lost_characters=dict(characters),
        unknown=unknown,
        tokens_median=float(np.median(tokens)) if count else 0.0,
        tokens_p95=float(np.percentile(tokens, 95)) if count else 0.0,
        tokens_max=int(tokens.max()) if count else 0,
        characters_per_token=length / written if written else 0.0,
    )


def _percent(part: int, whole: int) -> str:
    """Rounded down, so that 100 % is said of all and of nothing less."""
    return f"{part * 10_000 // whole / 100:.2f} %" if whole else "of none"


def _shown(character: str) -> str:
    return character if character.isprintable() and not character.isspace() else repr(character)[1:-1]
