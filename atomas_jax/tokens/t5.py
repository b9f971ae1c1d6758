r"""T5's own vocabulary, with the characters it lacks.

The `spiece.model` of T5 (Raffel et al. 2020) has 32,000 pieces and knows neither the backslash of SMILES nor
`{ } ~ ^ <` and the backquote. The tables of T5 checkpoints have 32,128 rows: 32,000-32,099 are the sentinels of its
pre-training and 32,100-32,127 are free. Here the missing characters and the two start tokens take the first of the free
ones, so that the tables of any T5 checkpoint fit and no id that T5 uses changes its meaning.

Of the model's own preparation of strings one thing is changed: blanks are no longer collapsed or trimmed (T5 has a
piece for a single blank), which makes printable ASCII lossless. Its normalisation (nmt_nfkc) stays, because the ids of
all other strings have to remain T5's: tabs and line breaks become blanks and "℃" becomes "°C".
"""

from collections.abc import Sequence
from pathlib import Path

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2

from atomas_jax.errors import UserError
from atomas_jax.tokens.tokenizer import SMILES_START, TEXT_START

PIECES = 32_000
SENTINELS = 100
MISSING = ("\\", "{", "}", "~", "^", "<", "`")

_Piece = sentencepiece_model_pb2.ModelProto.SentencePiece


def extended_model(path: str | Path, added: Sequence[str] = ()) -> tuple[bytes, str, dict]:
    """T5's model with sentinels, missing characters and start tokens appended, as the arguments of `Tokenizer`.

    `added`: tokens that a checkpoint's authors put on the ids from 32,100 (BioT5's SELFIES, for one), in order. They
    are cut out of strings whole, before anything else, and the rest follows behind them.

    Raises `UserError` when the file at `path` is missing or is not the 32,000-piece T5 model.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no file {path}: give the spiece.model of a T5 checkpoint")
    model = sentencepiece_model_pb2.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f"{path} is not a SentencePiece model") from error
    if len(model.pieces) != PIECES or [p.piece for p in model.pieces[:3]] != ["<pad>", "</s>", "<unk>"]:
        raise UserError(f"{path} is not T5's vocabulary of {PIECES:,} pieces (it has {len(model.pieces):,})")
    known = {p.piece for p in model.pieces}
    if present := known.intersection(MISSING):
        raise UserError(f"{path} is not T5's vocabulary: it has {' '.join(sorted(present))} already")

    # The lowest score there is. Were it lower, the score of unknown characters, derived from the lowest, would change.
    score = min(p.score for p in model.pieces if p.type == _Piece.NORMAL)
    for k in reversed(range(SENTINELS)):  # T5 counts them down: <extra_id_0> is the last id
        model.pieces.add(piece=f"<extra_id_{k}>", score=0.0, type=_Piece.CONTROL)
    for token in added:
        model.pieces.add(piece=token, score=0.0, type=_Piece.USER_DEFINED)
    missing = [character for character in MISSING if character not in added]
    for character in missing:
        model.pieces.add(piece=character, score=score, type=_Piece.NORMAL)
    for start in (TEXT_START, SMILES_START):
        model.pieces.add(piece=start, score=0.0, type=_Piece.CONTROL)
    model.normalizer_spec.remove_extra_whitespaces = False
    model.trainer_spec.vocab_size = len(model.pieces)
    training = {"from": "T5's spiece.model", "own": [*added], "added": [*missing, TEXT_START, SMILES_START]}
    return model.SerializeToString(deterministic=True), "t5", training
