"""T5's own vocabulary with the missing characters: T5's ids for all T5 can write, and no printable character lost."""

import string

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from real_strings import table_strings
from test_tokens import SMILES, TEXTS

from atomas_jax.errors import UserError
from atomas_jax.tokens import Role, Tokenizer
from atomas_jax.tokens.checking import check
from atomas_jax.tokens.training import train

MISSING = set("\\{}~^<`")
PRINTABLE = "".join(map(chr, range(32, 127)))


@pytest.fixture(scope="module")
def model_file(shared):
    return shared / "data/vocab/t5_spiece.model"


@pytest.fixture(scope="module")
def original(model_file):
    return sentencepiece.SentencePieceProcessor(model_file=str(model_file))


@pytest.fixture(scope="module")
def tokenizer(model_file):
    return Tokenizer.from_t5(model_file)


def test_ids_leave_t5s_rows_alone(tokenizer, original):
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2)
    assert tokenizer.kind == "t5"
    assert tokenizer.vocab_size == 32_109 <= 32_128
    assert (tokenizer.text_start_id, tokenizer.smiles_start_id) == (32_107, 32_108)
    assert [tokenizer.surfaces[i].decode() for i in range(32_100, 32_107)] == ["\\", "{", "}", "~", "^", "<", "`"]
    pieces = [original.id_to_piece(i).replace("▁", " ").encode() for i in range(3, 32_000)]
    assert list(tokenizer.surfaces[3:32_000]) == pieces
    assert set(tokenizer.roles[32_000:32_100]) == {Role.CONTROL}


def test_masks(tokenizer):
    assert np.flatnonzero(~tokenizer.text_ids).tolist() == [0, 2, *range(32_000, 32_100), 32_107, 32_108]
    assert tokenizer.smiles_ids[[1, 32_100]].all()
    assert not tokenizer.smiles_ids[[0, 2, 32_050, 32_101, 32_107, 32_108]].any()
    assert not (tokenizer.smiles_ids & ~tokenizer.text_ids).any()
    for i in np.flatnonzero(tokenizer.smiles_ids):
        assert set(tokenizer.surfaces[i].decode().strip(" ")) <= set(string.printable[:94])


@given(text=st.text(alphabet=PRINTABLE, max_size=60))
@settings(max_examples=200, deadline=None)
def test_printable_ascii_comes_back(tokenizer, text):
    ids = tokenizer.encode_text(text)
    assert tokenizer.text_ids[ids].all()
    assert tokenizer.decode_text(ids) == text
    assert tokenizer.decode_smiles(tokenizer.encode_smiles(text)) == text


@given(text=st.text(max_size=40).map(lambda text: "".join(c for c in " ".join(text.split()) if c not in MISSING)))
@settings(max_examples=200, deadline=None)
def test_ids_are_t5s_for_whatever_t5_can_write(tokenizer, original, text):
    # T5 trims and collapses blanks, which its normalisation makes of some other characters too.
    theirs = original.encode(text)
    if original.decode(theirs) == text:
        assert tokenizer.encode_text(text) == [*theirs, 1]


def test_ids_are_t5s_on_real_strings(tokenizer, original, shared):
    table = {"chebi20/test.txt.gz": ((1,), (2,))}
    smiles, captions = (list(table_strings(shared, what, table)) for what in (0, 1))
    plain = [text for text in smiles + captions if not MISSING.intersection(text)]
    assert len(plain) == 3300 - 484 + 3300 - 52
    assert all(tokenizer.encode_text(text) == [*original.encode(text), 1] for text in plain)


def test_every_real_smiles_comes_back(tokenizer, shared):
    report = check(dict.fromkeys(table_strings(shared, 0)), tokenizer, "smiles")
    assert report.count > 48_000
    assert report.lost == ()
    assert report.unknown == 0


def test_real_captions_lose_only_what_is_not_ascii(tokenizer, shared):
    captions = list(dict.fromkeys(table_strings(shared, 1)))
    plain = [text for text in captions if text.isascii() and text.isprintable()]
    assert check(plain, tokenizer).lost == ()
    others = check([text for text in captions if not text.isascii()], tokenizer)
    assert others.lost_characters
    assert not any(character.isascii() for character in others.lost_characters)


def test_unknown_characters_become_the_unknown_id_and_are_reported(tokenizer):
    ids = tokenizer.encode_text("a ☃ b")
    assert ids.count(tokenizer.unk_id) == 1
    assert tokenizer.decode_text(ids) == "a � b"
    report = check(["a ☃ b", "plain", "20 ℃"], tokenizer)
    assert (report.lossless, report.unknown) == (1, 1)
    assert report.lost_characters == {"☃": 1, "℃": 1}


@given(st.lists(st.integers(-5, 32_200), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_ids_decode(tokenizer, ids):
    for decode in (tokenizer.decode_text, tokenizer.decode_smiles):
        decode(ids).encode()
        assert decode(np.array(ids, np.int32)) == decode(ids)


def test_files_keep_everything(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.kind, loaded.sha256) == ("t5", tokenizer.sha256)
    assert loaded.encode_smiles(r"F/C=C\F") == tokenizer.encode_smiles(r"F/C=C\F")


def test_only_t5s_vocabulary_is_taken(tmp_path):
    with pytest.raises(UserError, match="no file"):
        Tokenizer.from_t5(tmp_path / "spiece.model")
    (tmp_path / "spiece.model").write_bytes(b"no model at all")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        Tokenizer.from_t5(tmp_path / "spiece.model")
    train(TEXTS, SMILES, vocab_size=920).save(tmp_path)
    with pytest.raises(UserError, match="not T5's vocabulary"):
        Tokenizer.from_t5(tmp_path / "spiece.model")
