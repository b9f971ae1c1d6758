"""Ways of measuring, by name: what is tokenised and how, what is canonicalised, and what becomes of odd rows.

A protocol says everything that changes a caption or molecule metric apart from the data and the versions of
libraries; its name and its choices go into every stamp.
"""

from dataclasses import dataclass
from typing import Literal

from atomas_jax.errors import UserError

Invalid = Literal["skip", "drop", "zero"]
"""What an output that is no molecule does to the metrics of molecules: it is not in the similarities ("skip"), in no
metric but validity ("drop"), or its similarities are 0 ("zero")."""

INVALID_SAYS: dict[Invalid, str] = {
    "skip": "in BLEU, Levenshtein and Exact; not in similarities",
    "drop": "in no metric but validity",
    "zero": "in BLEU, Levenshtein and Exact; similarity 0",
}


@dataclass(frozen=True)
class Protocol:
    """One row of `PROTOCOLS`.

    `tokenizer` names the entry of `caption_tokens.TOKENIZERS` for BLEU and METEOR; `strip_prefix` is cut from the start
    of predicted captions; `empty_is_valid`: an empty prediction is read as a molecule without atoms (valid, similar to
    nothing) as `Chem.MolFromSmiles("")` does, instead of as no molecule; `ends_at_blank`: likewise, what follows a
    blank is taken for a name and ignored, instead of making the output invalid; `canonical`: BLEU and Levenshtein
    compare RDKit's canonical SMILES of both molecules, not the strings.
    """

    name: str
    about: str
    tokenizer: str
    strip_prefix: str = ""
    empty_is_valid: bool = False
    ends_at_blank: bool = False
    canonical: bool = False
    invalid: Invalid = "skip"


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "plain", "needs no download: captions as lower-cased words, numbers and punctuation", tokenizer="words"
        ),
        Protocol(
            "molt5",
            "MolT5 (Edwards et al., EMNLP 2022), and LaMolT5, GIT-Mol, Mol-Instructions, BioT5, Atomas for captions: "
            "SciBERT WordPieces cut at 512, METEOR with WordNet; molecules as raw strings",
            tokenizer="scibert",
            strip_prefix="[CLS] ",
            empty_is_valid=True,
            ends_at_blank=True,
        ),
        Protocol(
            "molregpt",
            "MolReGPT (Li et al. 2023), likely ICMA and MolReFlect: pieces of T5's vocabulary, never cut; molecules as "
            "molt5, published on references with doubled backslashes",
            tokenizer="t5",
            empty_is_valid=True,
            ends_at_blank=True,
        ),
        Protocol(
            "biot5plus",
            "BioT5+ (Pei et al. 2024): captions as molt5; molecules canonicalised on both sides, invalid outputs "
            "dropped before all metrics",
            tokenizer="scibert",
            ends_at_blank=True,
            canonical=True,
            invalid="drop",
        ),
        Protocol(
            "lpm24",
            "L+M-24 (Edwards et al. 2024): as molt5, but an invalid output has similarity 0",
            tokenizer="scibert",
            strip_prefix="[CLS] ",
            empty_is_valid=True,
            ends_at_blank=True,
            invalid="zero",
        ),
    )
}
"""Of captions and molecules. Those of rankings differ in the pool alone: see `evaluation.ranking`."""


def protocol(name: str) -> Protocol:
    """The protocol of that name. Raises `UserError` naming those there are."""
    if name not in PROTOCOLS:
        raise UserError(f"no protocol '{name}'; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
