"""The atom-wise tokenizer: lossless for every string, robust to every id, the same after a journey through files."""

import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.errors import UserError
from atomas_jax.tokens import Role, Tokenizer
from atomas_jax.tokens.training import train

STEMS = ("form", "acet", "propion", "butyr", "benz", "salicyl", "oxal", "malon", "citr", "lact", "pyr", "fur", "indol")
ENDS = ("ic acid", "ate", "aldehyde", "amide", "onitrile", "yl chloride", "anol", "enone", "ylamine", "oside", "azole")
TEXTS = [
    f"The molecule is {n}-{stem}{end}, a derivative of {other}{end}. It has a role as a metabolite."
    for n, end in enumerate(ENDS, 2)
    for stem in STEMS
    for other in STEMS
]
SMILES = ["CC(=O)[O-].[Na+]", "C[C@@H](N)C(=O)O", "c1cc[nH]c1", r"F/C=C\Cl", *["C[Xe+2]"] * 12, "[Fm@TB12H5-3:42]"]

# A text or a SMILES of any characters, with those that tokenizers stumble over made frequent.
anything = st.text(
    alphabet=st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(" \t\n▁⌬<>[]C@H0x\0€�")), max_size=40
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(TEXTS, SMILES, vocab_size=920)


@given(text=anything)
@settings(max_examples=200, deadline=None)
def test_every_text_comes_back(tokenizer, text):
    ids = tokenizer.encode_text(text)
    assert ids[-1] == tokenizer.eos_id
    assert tokenizer.eos_id not in ids[:-1]
    assert tokenizer.text_ids[ids].all()
    assert tokenizer.decode_text(ids) == text


@given(smiles=st.one_of(anything, st.text(alphabet="CNOcn[]()=#:/\\.-+@%*~<>0123456789HarB ", max_size=40)))
@settings(max_examples=200, deadline=None)
def test_every_string_comes_back_as_smiles(tokenizer, smiles):
    ids = tokenizer.encode_smiles(smiles)
    assert ids[-1] == tokenizer.eos_id
    assert tokenizer.eos_id not in ids[:-1]
    assert tokenizer.smiles_ids[ids].all()
    assert tokenizer.decode_smiles(ids) == smiles


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  blanks ",
        "\ttab\r\nline",
        "</s>",
        "<pad><unk><text><smiles>",
        "<0x41>",
        "⌬C ⌬⌬]",
        "a▁b",
        "▁",
        "℃ é 分子",
    ],
)
def test_awkward_texts_come_back(tokenizer, text):
    assert tokenizer.decode_text(tokenizer.encode_text(text)) == text
    assert tokenizer.decode_smiles(tokenizer.encode_smiles(text)) == text


def test_half_a_character_counts_as_a_replacement_character(tokenizer):
    assert tokenizer.decode_text(tokenizer.encode_text("a\ud800b")) == "a�b"
    assert tokenizer.decode_smiles(tokenizer.encode_smiles("C\udfff")) == "C�"


@given(st.lists(st.integers(-10, 1200), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_ids_decode_to_well_formed_strings(tokenizer, ids):
    for decode in (tokenizer.decode_text, tokenizer.decode_smiles):
        written = decode(ids)
        written.encode()
        assert decode(np.array(ids, np.int32)) == written
        if tokenizer.eos_id in ids:
            assert decode(ids[: ids.index(tokenizer.eos_id)]) == written


def test_decoding_skips_what_is_not_of_its_kind(tokenizer):
    text, smiles = tokenizer.encode_text("acetic acid"), tokenizer.encode_smiles("CC(=O)O")
    special = [tokenizer.pad_id, tokenizer.text_start_id, tokenizer.smiles_start_id, tokenizer.unk_id, -100, 10**6]
    assert tokenizer.decode_text([*special, *smiles[:-1], *text, *text]) == "acetic acid"
    assert tokenizer.decode_smiles([*special, *text[:-1], *smiles, *smiles]) == "CC(=O)O"


def test_ids_and_masks(tokenizer):
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2)
    assert tokenizer.vocab_size == 920 == len(tokenizer.text_ids) == len(tokenizer.smiles_ids) == len(tokenizer.roles)
    special = [0, 2, tokenizer.text_start_id, tokenizer.smiles_start_id]
    assert len(set(special)) == 4
    for mask in (tokenizer.text_ids, tokenizer.smiles_ids):
        assert mask.dtype == bool
        assert mask[tokenizer.eos_id]
        assert not mask[special].any()
    both = np.flatnonzero(tokenizer.text_ids & tokenizer.smiles_ids)
    assert {tokenizer.roles[i] for i in both if i != tokenizer.eos_id} == {Role.BYTE}


def test_atoms_are_single_ids_and_text_never_writes_them(tokenizer):
    assert len(tokenizer.encode_smiles(r"C[C@@H](Br)/C=C\[nH][Na+]%12")) == 13 + 1
    atoms = np.flatnonzero(tokenizer.smiles_ids & ~tokenizer.text_ids)
    assert not set(tokenizer.encode_text("C[C@@H](Br)[nH]")) & set(atoms)


def test_frequent_bracket_atoms_are_learned_and_others_spelled_inside_brackets(tokenizer):
    assert len(tokenizer.encode_smiles("[Xe+2]")) == 2
    ids = tokenizer.encode_smiles("C[Fm@TB12H5-3:42]C")
    roles = [tokenizer.roles[i] for i in ids[:-1]]
    assert roles == [Role.OUTER, Role.OPEN, *[Role.INNER] * 11, Role.CLOSE, Role.OUTER]
    assert b"".join(tokenizer.surfaces[i] for i in ids) == b"C[Fm@TB12H5-3:42]C"
    assert {tokenizer.roles[i] for i in tokenizer.encode_smiles("][")[:-1]} == {Role.BYTE}


def test_a_word_is_the_same_piece_at_the_start_and_later(tokenizer):
    word = tokenizer.encode_text("metabolite")[:-1]
    assert tokenizer.encode_text("a metabolite")[-1 - len(word) : -1] == word


def test_words_always_written_alike_are_whole_pieces(tokenizer):
    for word in ("The", "is", "derivative", "of", "It", "has", "role"):
        assert len(tokenizer.encode_text(word)) == 2


def test_training_is_deterministic_and_samples_by_seed(tokenizer):
    again = train(iter(TEXTS), iter(SMILES), vocab_size=920)
    assert again.sha256 == tokenizer.sha256
    sampled = [train(TEXTS, SMILES, vocab_size=900, text_sample=300, seed=seed) for seed in (0, 0, 1)]
    assert sampled[0].sha256 == sampled[1].sha256 != sampled[2].sha256
    assert sampled[0].training["texts"] == len(TEXTS)
    assert sampled[0].training["texts_sampled"] == 300


def test_training_is_silent(capfd):
    train(TEXTS, SMILES, vocab_size=900)
    assert capfd.readouterr() == ("", "")


def test_training_says_what_to_do_when_the_vocabulary_does_not_fit():
    with pytest.raises(UserError, match=r"too large for this text.*at most (\d+)") as caught:
        train(TEXTS, SMILES, vocab_size=5000)
    most = int(str(caught.value).split()[-1])
    assert train(TEXTS, SMILES, vocab_size=most).vocab_size == most
    assert train(TEXTS, SMILES, vocab_size=5000, at_most=True).vocab_size == most
    for size in (10, 300, 840):
        with pytest.raises(UserError, match="too small"):
            train(TEXTS, SMILES, vocab_size=size)
    with pytest.raises(UserError, match="without text"):
        train([], SMILES)


def test_files_keep_everything(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "a" / "b")
    loaded = Tokenizer.load(tmp_path / "a" / "b")
    copied = pickle.loads(pickle.dumps(tokenizer))
    for other in (loaded, copied):
        assert other.sha256 == tokenizer.sha256
        assert other.training == tokenizer.training
        assert other.kind == "atomwise"
        assert other.encode_text(TEXTS[0]) == tokenizer.encode_text(TEXTS[0])
        assert other.encode_smiles(SMILES[-1]) == tokenizer.encode_smiles(SMILES[-1])
    assert json.loads((tmp_path / "a" / "b" / "tokenizer.json").read_text("utf-8"))["vocab_size"] == 920


def test_sha256_tells_models_apart(tokenizer):
    assert train(TEXTS, SMILES, vocab_size=919).sha256 != tokenizer.sha256


def spoil(name: str, content: bytes):
    return lambda folder: (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (lambda folder: (folder / "spiece.model").unlink(), "holds no spiece.model"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "holds no tokenizer.json"),
        (spoil("spiece.model", b"no model"), "cannot be read"),
        (spoil("spiece.model", b""), "cannot be read"),
        (spoil("tokenizer.json", b"{"), "no tokenizer description"),
        (spoil("tokenizer.json", b"[1]"), "no tokenizer description"),
        (spoil("tokenizer.json", b"\xff\xfe"), "no tokenizer description"),
        (spoil("tokenizer.json", b'{"format": 1, "kind": "t5", "training": 3}'), "no tokenizer description"),
        (spoil("tokenizer.json", b'{"format": 99, "kind": "atomwise"}'), "format 99"),
        (spoil("tokenizer.json", b'{"format": 1, "kind": "bpe"}'), "kind 'bpe' is unknown"),
        (spoil("tokenizer.json", b'{"format": 1, "kind": "atomwise", "vocab_size": 7}'), "do not belong together"),
    ],
)
def test_broken_folders_are_refused_in_one_line(tokenizer, tmp_path, spoiled, message):
    tokenizer.save(tmp_path)
    spoiled(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        Tokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_cut_model_and_a_missing_folder_are_refused(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    model = (tmp_path / "spiece.model").read_bytes()
    for share in (0.01, 0.3, 0.5, 0.9, 0.99):
        (tmp_path / "spiece.model").write_bytes(model[: int(len(model) * share)])
        with pytest.raises(UserError):
            Tokenizer.load(tmp_path)
    middle = len(model) // 2  # a damaged byte that SentencePiece would not notice
    (tmp_path / "spiece.model").write_bytes(model[:middle] + bytes([model[middle] ^ 1]) + model[middle + 1 :])
    with pytest.raises(UserError):
        Tokenizer.load(tmp_path)
    with pytest.raises(UserError, match="no tokenizer folder"):
        Tokenizer.load(tmp_path / "nowhere")


def test_using_a_tokenizer_imports_nothing_heavy():
    code = (
        "import sys, atomas_jax.tokens; "
        "print([m for m in ('rdkit', 'datasets', 'jax', 'google.protobuf', 'torch') if m in sys.modules])"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
