"""Tokenizers by name for BLEU and METEOR of captions. A number means nothing without its tokenizer's name."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from atomas_jax import assets
from atomas_jax.errors import UserError

Tokenize = Callable[[Sequence[str]], list[list[str]]]

_WORDS = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*|[^\w\s]|_")
_LONGEST = 512  # WordPieces kept of a caption, as the field's evaluators do


def words(_vocabulary: Path | None = None) -> Tokenize:
    """Lower-cased words, numbers (with their decimals) and punctuation marks; only blanks are dropped."""
    return lambda texts: [_WORDS.findall(text.lower()) for text in texts]


def scibert(vocabulary: Path | None) -> Tokenize:
    """WordPieces of a BERT vocabulary file, lower-cased, no special tokens, cut at 512.

    With `scibert_scivocab_uncased`, which is taken from `atomas_jax.assets` when None is given, this is the tokenizer
    of MolT5's evaluation. Raises `UserError` without a readable vocabulary.
    """
    from tokenizers import BertWordPieceTokenizer

    vocabulary = vocabulary or assets.find("scibert")
    if vocabulary is None:
        raise UserError("SciBERT tokens need its vocabulary: run `atomas assets scibert`, or name the file")
    try:
        pieces = Path(vocabulary).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the SciBERT vocabulary {vocabulary}: {error}") from None
    table = {piece.rstrip("\r"): index for index, piece in enumerate(pieces) if piece.strip()}
    if "[UNK]" not in table:
        raise UserError(f"{vocabulary} is not a BERT vocabulary: one piece a line, [UNK] among them")
    tokenizer = BertWordPieceTokenizer(vocab=table, lowercase=True)
    tokenizer.enable_truncation(_LONGEST)
    return lambda texts: [e.tokens for e in tokenizer.encode_batch(list(texts), add_special_tokens=False)]


def t5(vocabulary: Path | None) -> Tokenize:
    """Pieces of T5's SentencePiece model, case kept, never cut.

    Its `spiece.model` is taken from `atomas_jax.assets` when None is given. Raises `UserError` without it.
    """
    import sentencepiece

    vocabulary = vocabulary or assets.find("t5")
    if vocabulary is None:
        raise UserError("T5's pieces need its spiece.model: run `atomas assets t5`, or name the file")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=Path(vocabulary).read_bytes())
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot read T5's spiece.model {vocabulary}: {error}") from None
    return lambda texts: processor.encode(list(texts), out_type=str)


TOKENIZERS: dict[str, Callable[[Path | None], Tokenize]] = {"words": words, "scibert": scibert, "t5": t5}
