"""Training an atom-wise tokenizer: one SentencePiece model for text and SMILES."""

import io
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from atomas_jax.errors import UserError
from atomas_jax.tokens.smiles import COMMON_BRACKETS, INNER, OUTER, split
from atomas_jax.tokens.tokenizer import INSIDE, MARK, SMILES_START, TEXT_START, Tokenizer

_FREQUENT_WORD = 10  # occurrences
_LONGEST_BRACKET = 24  # characters; longer bracket atoms are no atoms worth an id
_FIXED_IDS = 256 + 5  # bytes; pad, end, unknown and the two start tokens


def train(
    texts: Iterable[str],
    smiles: Iterable[str],
    vocab_size: int = 2048,
    *,
    at_most: bool = False,
    seed: int = 0,
    text_sample: int = 100_000,
    bracket_atoms: int = 128,
    bracket_count: int = 10,
    command: str = "",
) -> Tokenizer:
    """Learns a tokenizer from texts and SMILES; the same input and settings give the same bytes.

    The ids are, in order: pad, end, unknown, the two start tokens, 256 bytes, the text pieces (SentencePiece unigram,
    as many as are left of `vocab_size`), the SMILES pieces outside brackets with the bracket atoms frequent in
    `smiles`, the pieces inside. Memory is bounded by `text_sample`, however long the iterators are; `texts` is
    read to its end before `smiles`.

    Args:
      texts: captions; a uniform sample of them trains the text pieces.
      smiles: molecules, in any spelling; all are counted.
      vocab_size: ids in all.
      at_most: takes fewer ids where the text yields no more useful pieces, instead of raising.
      seed: of the sample of texts.
      text_sample: texts kept for training, at most.
      bracket_atoms: bracket atoms taken from `smiles` beyond the common ones, at most.
      bracket_count: occurrences a bracket atom needs for an id of its own.
      command: recorded in `tokenizer.json`, so that others can repeat it.

    Raises:
      UserError: no text at all, or `vocab_size` too small for the fixed pieces or (without `at_most`) too large for
        the text.
    """
    text_count, sample = _sample(texts, text_sample, seed)
    if not sample:
        raise UserError("a tokenizer cannot be trained without text: no caption was given")
    smiles_count, found = _frequent_brackets(smiles, bracket_atoms, bracket_count)
    added = [MARK + piece for piece in dict.fromkeys((*OUTER, *COMMON_BRACKETS, *found))]
    added += [MARK + "[", *(INSIDE + piece for piece in dict.fromkeys(INNER)), INSIDE + "]"]

    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(_train_text(sample, vocab_size - len(added), len(added), exact=not at_most))
    for piece in added:
        model.pieces.add(piece=piece, score=0.0, type=sentencepiece_model_pb2.ModelProto.SentencePiece.CONTROL)
    model.trainer_spec.vocab_size = len(model.pieces)
    training = {
        "command": command,
        "texts": text_count,
        "texts_sampled": len(sample),
        "smiles": smiles_count,
        "seed": seed,
        "smiles_pieces": len(added),
        "bracket_atoms_found": len(found),
        "sentencepiece": sentencepiece.__version__,
    }
    return Tokenizer(model.SerializeToString(deterministic=True), "atomwise", training)


def _sample(texts: Iterable[str], size: int, seed: int) -> tuple[int, list[str]]:
    """How many texts there are, and a uniform sample of `size` in one pass (Vitter 1985, algorithm R)."""
    texts = iter(texts)
    kept = list(islice(texts, size))
    count = len(kept)
    generator = random.Random(seed)
    for text in texts:
        count += 1
        place = generator.randrange(count)
        if place < size:
            kept[place] = text
    return count, kept


def _frequent_brackets(smiles: Iterable[str], most: int, least_count: int) -> tuple[int, list[str]]:
    """How many SMILES there are, and the bracket atoms worth an id of their own, most frequent first."""
    counts: Counter[str] = Counter()
    read = 0
    for string in smiles:
        read += 1
        if "[" in string:
            counts.update(piece for piece in split(string) if piece[0] == "[" and 2 < len(piece) <= _LONGEST_BRACKET)
    # An atom class (":1") numbers atoms of one reaction: it is no kind of atom.
    worthy = ((piece, n) for piece, n in counts.items() if n >= least_count and ":" not in piece and piece.isascii())
    new = ((piece, n) for piece, n in worthy if piece not in COMMON_BRACKETS)
    return read, [piece for piece, _ in sorted(new, key=lambda pair: (-pair[1], pair[0]))[:most]]


def _train_text(sample: list[str], pieces: int, smiles_pieces: int, exact: bool) -> bytes:
    """A SentencePiece unigram model of `pieces` ids (at most, unless `exact`), bytes and special ids among them."""
    if pieces <= _FIXED_IDS:
        raise UserError(
            f"vocabulary of {pieces + smiles_pieces} ids is too small: {_FIXED_IDS + smiles_pieces} are taken "
            "by bytes, SMILES and marks alone, and text needs some hundreds more"
        )
    written = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_training_texts(sample),
            model_writer=written,
            model_type="unigram",
            vocab_size=pieces,
            hard_vocab_limit=exact,
            character_coverage=0.9999,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            max_sentence_length=1 << 20,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            pad_piece="<pad>",
            control_symbols=[TEXT_START, SMILES_START],
            num_threads=1,  # threads would add floating-point numbers in another order, and give other pieces
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise UserError(_explained(str(error), pieces, smiles_pieces)) from error
    return written.getvalue()


def _training_texts(sample: list[str]) -> Iterator[str]:
    """The texts, then every frequent word once more, doubled.

    SentencePiece takes as candidate pieces the substrings that occur in two *different* words at least; a word that is
    always written alike, such as "and", would be none and be cut in bits. Doubled, it occurs in two.
    """
    words: Counter[str] = Counter()
    for text in sample:
        # The marks of SMILES pieces and of blanks are always written as bytes in text, so nothing is learned of them.
        text = text.replace(MARK, " ").replace("▁", " ").encode("utf-8", "replace").decode()
        words.update(text.split())
        yield text
    for word, count in words.items():
        if count >= _FREQUENT_WORD:
            yield word + word


def _explained(message: str, pieces: int, smiles_pieces: int) -> str:
    """One line for what SentencePiece says when the vocabulary does not fit the text."""
    asked = pieces + smiles_pieces
    if most := re.search(r"set it to a value <= (\d+)", message):
        return (
            f"vocabulary of {asked} ids is too large for this text: give more text, or vocab_size at most "
            f"{int(most[1]) + smiles_pieces}"
        )
    if least := re.search(r"smaller than required_chars. -?\d+ vs (\d+)", message):
        return f"vocabulary of {asked} ids is too small: vocab_size has to be at least {int(least[1]) + smiles_pieces}"
    return f"SentencePiece could not train on this text: {message.splitlines()[0]}"
