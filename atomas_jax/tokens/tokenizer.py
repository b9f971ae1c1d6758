"""The tokenizer: text and SMILES to ids and back, two kinds behind one face.

A tokenizer is a folder of two files: `spiece.model`, a SentencePiece unigram model (Kudo 2018; Kudo & Richardson
2018), and `tokenizer.json`, its kind, its special ids and how it was made. Reading it needs only sentencepiece and
NumPy.

Kind `atomwise`, lossless for every string:

- Text is encoded by SentencePiece: no normalisation, no blank removed, characters it does not know as UTF-8 bytes.
- SMILES are cut at atoms (`smiles.split`) and looked up among pieces stored in the same model as CONTROL pieces, which
  SentencePiece never gives to text. The marks before them are not part of what they write:

      mark    example      stands
      ⌬       ⌬C ⌬[nH]     outside brackets: atoms (bracket atoms whole), bonds, ring closures, branches, dots
      ⌬       ⌬[           alone: opens a bracket atom that is spelled piece by piece
      ⌬⌬      ⌬⌬C ⌬⌬@@     inside such a bracket atom; ⌬⌬] closes it
      (none)  <0x41>       a UTF-8 byte, inside or outside, shared with text: whatever no piece writes

  The pieces inside brackets are other ids than the same letters outside, so the id alone tells what it does: the
  grammar of SMILES is a state machine over ids without look-ahead. Decoding only concatenates.

Kind `t5`: T5's own vocabulary for both, as MolT5 does, with the characters it lacks appended (see `t5.py`). The few
characters still unknown become `unk_id`, written back as U+FFFD.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

import numpy as np
import sentencepiece

from atomas_jax.errors import UserError
from atomas_jax.tokens import smiles as smiles_pieces

FORMAT = 1
MARK = "⌬"
INSIDE = MARK + MARK
TEXT_START = "<text>"
SMILES_START = "<smiles>"
MODEL_FILE = "spiece.model"
SETTINGS_FILE = "tokenizer.json"

_BLANK = "▁"  # SentencePiece's mark for a blank
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_T5_SMILES = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789[]()=#$:/\\.-+@%*")
"""Characters a decoder may write. Not those of dative and any bonds (-> <- ~): T5 lacks two of them as it lacks the
backslash, and a model that cannot tell the three apart must write the backslash."""


class Role(StrEnum):
    """What an id is for."""

    CONTROL = "control"  # pad, end, unknown, the start tokens, T5's sentinels: writes nothing
    TEXT = "text"  # a piece of text (kind t5: of SMILES too)
    BYTE = "byte"  # one UTF-8 byte, of text or SMILES
    OUTER = "outer"  # SMILES outside brackets, bracket atoms whole
    OPEN = "open"  # opens a spelled bracket atom
    INNER = "inner"  # SMILES inside a spelled bracket atom
    CLOSE = "close"  # closes it


class Tokenizer:
    """Text and SMILES to ids and back.

    Attributes:
      kind: "atomwise" or "t5".
      vocab_size: how many ids are in use; a model may pad its tables beyond.
      pad_id, eos_id, unk_id: 0, 1, 2.
      text_start_id, smiles_start_id: the decoder's first token, which tells it what to write.
      roles: `Role` of each id, tuple of vocab_size.
      surfaces: the bytes each id writes, tuple of vocab_size (b"" for control ids; text pieces write a blank for "▁").
      text_ids, smiles_ids: bool [vocab_size], the ids a decoder may write in a text, in a SMILES; the end mark
        is in both.
      sha256: hex digest of the model and of the settings that decide ids; equal digests encode equally.
      training: how the vocabulary was made (counts, sizes, command, versions), for people; no part of `sha256`.
    """

    def __init__(self, model: bytes, kind: str, training: dict | None = None):
        """`model` is a serialised SentencePiece ModelProto; `UserError` when it is broken or lacks special ids."""
        if kind not in ("atomwise", "t5"):
            raise UserError(f"tokenizer kind {kind!r} is unknown: it is 'atomwise' or 't5'")
        try:
            if not model:
                raise RuntimeError("no bytes")  # SentencePiece takes them for a model not yet given
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, OSError) as error:
            raise UserError(
                "the tokenizer's SentencePiece model cannot be read: it is empty, cut short or no model"
            ) from error
        processor = self._processor
        self._model = model
        self.kind = kind
        self.training = dict(training or {})
        self.vocab_size: int = processor.get_piece_size()
        self.pad_id, self.eos_id, self.unk_id = processor.pad_id(), processor.eos_id(), processor.unk_id()
        self.text_start_id: int = processor.piece_to_id(TEXT_START)
        self.smiles_start_id: int = processor.piece_to_id(SMILES_START)
        starts = (self.text_start_id, self.smiles_start_id)
        if (self.pad_id, self.eos_id, self.unk_id) != (0, 1, 2) or self.unk_id in starts:
            raise UserError(
                "the SentencePiece model is not one of atomas_jax: it wants pad 0, end 1, unknown 2 and start tokens; "
                "make one with `atomas tokenizer train`, or Tokenizer.from_t5 for T5's spiece.model"
            )
        pieces = [processor.id_to_piece(i) for i in range(self.vocab_size)]
        self.roles = tuple(self._role(i, piece) for i, piece in enumerate(pieces))
        self.surfaces = tuple(map(_surface, pieces, self.roles))
        self.text_ids = np.array([role in (Role.TEXT, Role.BYTE) for role in self.roles])
        if kind == "t5":
            self.smiles_ids = np.array(
                [r == Role.TEXT and _T5_SMILES.issuperset(p.removeprefix(_BLANK)) for p, r in zip(pieces, self.roles)]
            )
        else:
            self.smiles_ids = np.array([role not in (Role.CONTROL, Role.TEXT) for role in self.roles])
        self.text_ids[self.eos_id] = self.smiles_ids[self.eos_id] = True
        for mask in (self.text_ids, self.smiles_ids):
            mask.flags.writeable = False
        settings = json.dumps(self._settings(), sort_keys=True).encode()
        self.sha256 = hashlib.sha256(len(model).to_bytes(8, "big") + model + settings).hexdigest()

        # What decoding writes for each id; ids of the other modality write nothing. T5's pieces are of both.
        self._text_surfaces = tuple(s if text else b"" for s, text in zip(self.surfaces, self.text_ids.tolist()))
        self._smiles_surfaces = tuple(
            s if smiles else b"" for s, smiles in zip(self.surfaces, self.smiles_ids.tolist())
        )
        if kind == "t5":
            unknown = _REPLACEMENT.encode()
            self._text_surfaces = (*self._text_surfaces[:2], unknown, *self._text_surfaces[3:])
            self._smiles_surfaces = self._text_surfaces
        self._byte_ids = {surface[0]: i for surface, i in self._ids_of(Role.BYTE)}
        self._outer = {surface.decode(): i for surface, i in self._ids_of(Role.OUTER)}
        self._inner = {surface.decode(): i for surface, i in self._ids_of(Role.INNER)}
        if kind == "atomwise":
            if len(self._byte_ids) != 256 or Role.OPEN not in self.roles or Role.CLOSE not in self.roles:
                raise UserError(
                    "the SentencePiece model lacks byte or bracket pieces: it was not trained as an atomwise one"
                )
            self._open, self._close = self.roles.index(Role.OPEN), self.roles.index(Role.CLOSE)
        self._spell = lru_cache(maxsize=1 << 16)(self._spell_piece)

    @property
    def model_bytes(self) -> bytes:
        """The SentencePiece model, serialised."""
        return self._model

    # ---- files -------------------------------------------------------------------------------------------------------

    @classmethod
    def load(cls, path: str | Path) -> "Tokenizer":
        """The tokenizer in the folder `path`. Raises `UserError` when it is missing, broken or of a later format."""
        folder = Path(path)
        if not folder.is_dir():
            raise UserError(f"no tokenizer folder at {folder}: give a folder holding {MODEL_FILE} and {SETTINGS_FILE}")
        for name in (MODEL_FILE, SETTINGS_FILE):
            if not (folder / name).is_file():
                raise UserError(f"{folder} holds no {name}: a tokenizer folder has {MODEL_FILE} and {SETTINGS_FILE}")
        try:
            settings = json.loads((folder / SETTINGS_FILE).read_text("utf-8"))
            written, kind, training = settings["format"], settings["kind"], dict(settings.get("training", {}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{folder / SETTINGS_FILE} is no tokenizer description: {error!r}") from error
        if written != FORMAT:
            raise UserError(f"{folder / SETTINGS_FILE} has format {written!r}; this atomas_jax reads format {FORMAT}")
        try:
            tokenizer = cls((folder / MODEL_FILE).read_bytes(), kind, training)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error
        expected = {**tokenizer._settings(), "sha256": tokenizer.sha256}
        if differ := [name for name, value in expected.items() if settings.get(name) != value]:
            raise UserError(
                f"{folder}: {MODEL_FILE} and {SETTINGS_FILE} do not belong together, or one is damaged "
                f"({', '.join(differ)} differ)"
            )
        return tokenizer

    @classmethod
    def from_t5(cls, path: str | Path, added: Sequence[str] = ()) -> "Tokenizer":
        """Kind `t5` from T5's own `spiece.model` (32,000 pieces), with the tokens a checkpoint adds to it. Raises
        `UserError` when the file is no such model."""
        from atomas_jax.tokens.t5 import extended_model

        return cls(*extended_model(path, added))

    def save(self, folder: str | Path) -> None:
        """Writes `spiece.model` and `tokenizer.json` into `folder`, made if missing."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).write_bytes(self._model)
        settings = {**self._settings(), "sha256": self.sha256, "training": self.training}
        (folder / SETTINGS_FILE).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", "utf-8")

    def __reduce__(self):
        return Tokenizer, (self._model, self.kind, self.training)

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size}, sha256={self.sha256[:12]}...)"

    # ---- strings to ids ----------------------------------------------------------------------------------------------

    def encode_text(self, text: str) -> list[int]:
        """The ids of a text, `eos_id` last. Lone surrogates, which are no characters, count as U+FFFD."""
        if self.kind == "atomwise" and _BLANK in text:
            # SentencePiece would read its own blank mark as a blank; such rare texts are spelled, a blank put before.
            return [*self._bytes(" " + text), self.eos_id]
        try:
            ids = self._processor.encode(text)
        except (RuntimeError, UnicodeEncodeError):
            ids = self._processor.encode(_well_formed(text))
        ids.append(self.eos_id)
        return ids

    def encode_smiles(self, smiles: str) -> list[int]:
        """The ids of a SMILES, `eos_id` last; any string, parsable or not (lone surrogates count as U+FFFD)."""
        if self.kind == "t5":
            return self.encode_text(smiles)
        outer = self._outer
        pieces = smiles_pieces.split(smiles)
        try:
            ids = [outer[piece] for piece in pieces]
        except KeyError:
            ids = [i for piece in pieces for i in ((outer[piece],) if piece in outer else self._spell(piece))]
        ids.append(self.eos_id)
        return ids

    def encode_prefix(self, smiles: str) -> list[int]:
        """The ids of the beginning of a SMILES: of a bracket atom that it leaves open the pieces, for what follows goes
        on with pieces."""
        head, bracket, inside = smiles.rpartition("[")
        if self.kind == "t5" or not bracket or "]" in inside:
            return self.encode_smiles(smiles)[:-1]
        return [*self.encode_smiles(head)[:-1], *self._spell(f"[{inside}]")[:-1]]

    def _spell_piece(self, piece: str) -> tuple[int, ...]:
        """Ids of a SMILES piece outside the vocabulary: a bracket atom from inner pieces, anything else from bytes."""
        if not (piece.startswith("[") and piece.endswith("]")):
            return tuple(self._bytes(piece))
        inside = (part for part in smiles_pieces.split_bracket(piece))
        spelled = (i for part in inside for i in ([self._inner[part]] if part in self._inner else self._bytes(part)))
        return (self._open, *spelled, self._close)

    def _bytes(self, text: str) -> list[int]:
        return [self._byte_ids[byte] for byte in _well_formed(text).encode()]

    # ---- ids to strings ----------------------------------------------------------------------------------------------

    def decode_text(self, ids: Iterable[int] | np.ndarray) -> str:
        """The text of `ids` [L], any integers: stops at the end mark; ids that write no text are skipped; bytes that
        are no UTF-8 become U+FFFD."""
        return self._decode(ids, self._text_surfaces, blank_first=True)

    def decode_smiles(self, ids: Iterable[int] | np.ndarray) -> str:
        """The SMILES of `ids` [L], any integers: as `decode_text`, for ids that write SMILES. No validity check."""
        return self._decode(ids, self._smiles_surfaces, blank_first=self.kind == "t5")

    def _decode(self, ids: Iterable[int] | np.ndarray, surfaces: tuple[bytes, ...], blank_first: bool) -> str:
        ids = ids.ravel().tolist() if hasattr(ids, "ravel") else [int(i) for i in ids]
        if self.eos_id in ids:
            ids = ids[: ids.index(self.eos_id)]
        written = b"".join([surfaces[i] for i in ids if 0 <= i < self.vocab_size])
        # Encoding puts one blank before a text, so that a word is the same piece wherever it stands.
        return (written.removeprefix(b" ") if blank_first else written).decode("utf-8", "replace")

    # ---- the vocabulary ----------------------------------------------------------------------------------------------

    def _role(self, i: int, piece: str) -> Role:
        processor = self._processor
        if processor.is_byte(i):
            return Role.BYTE
        if processor.is_control(i):
            if piece.startswith(INSIDE):
                return Role.CLOSE if piece == INSIDE + "]" else Role.INNER
            if piece.startswith(MARK):
                return Role.OPEN if piece == MARK + "[" else Role.OUTER
            return Role.CONTROL
        return Role.CONTROL if processor.is_unknown(i) or processor.is_unused(i) else Role.TEXT

    def _ids_of(self, role: Role) -> list[tuple[bytes, int]]:
        return [(self.surfaces[i], i) for i, each in enumerate(self.roles) if each == role]

    def _settings(self) -> dict:
        return {
            "format": FORMAT,
            "kind": self.kind,
            "vocab_size": self.vocab_size,
            "pad_id": self.pad_id,
            "eos_id": self.eos_id,
            "unk_id": self.unk_id,
            "text_start_id": self.text_start_id,
            "smiles_start_id": self.smiles_start_id,
        }


def _surface(piece: str, role: Role) -> bytes:
    if role == Role.CONTROL:
        return b""
    if role == Role.BYTE:
        return bytes([int(piece[1:-1], 16)])
    if role == Role.TEXT:
        return piece.replace(_BLANK, " ").encode()
    return piece.lstrip(MARK).encode()


def _well_formed(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
