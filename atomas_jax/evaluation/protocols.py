"""Ways of measuring, by name: what is tokenised and how, and what becomes of odd rows.

A protocol says everything that changes a caption or molecule metric apart from the data and the versions of
libraries; its name and its choices go into every stamp.
"""

from dataclasses import dataclass

from atomas_jax.errors import UserError


@dataclass(frozen=True)
class Protocol:
    """One row of `PROTOCOLS`.

    `tokenizer` names the entry of `caption_tokens.TOKENIZERS` for BLEU and METEOR; `strip_prefix` is cut from the start
    of predicted captions; `empty_is_valid`: an empty prediction is read as a molecule without atoms (valid, similar to
    nothing) as `Chem.MolFromSmiles("")` does, instead of as no molecule.
    """

    name: str
    about: str
    tokenizer: str
    strip_prefix: str = ""
    empty_is_valid: bool = False


PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "plain", "needs no download: captions as lower-cased words, numbers and punctuation", tokenizer="words"
        ),
        Protocol(
            "molt5",
            "MolT5 (Edwards et al., EMNLP 2022): SciBERT WordPieces cut at 512, raw strings, METEOR with WordNet",
            tokenizer="scibert",
            strip_prefix="[CLS] ",
            empty_is_valid=True,
        ),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol of that name. Raises `UserError` naming those there are."""
    if name not in PROTOCOLS:
        raise UserError(f"no protocol '{name}'; there are: {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]
