"""The prepared corpus: written whole or not at all, read memory-mapped and without rdkit or `datasets`."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atomas_jax.corpus import prepared
from atomas_jax.corpus.prepared import REJECTS, PreparedCorpus, PreparedWriter
from atomas_jax.errors import UserError

SPLIT_ROWS = {"train": 1000, "validation": 37, "test": 1}


def row(i):
    """A row whose every value tells its number."""
    rng = np.random.default_rng(i)
    return dict(
        molecule=i // 2,
        key=f"KEY{i // 2}",
        flat_key=f"FLAT{i // 2}",
        smiles="C" * (1 + i % 9),
        text=f"caption {i} ℃ “quoted”",
        source=f"source{i % 3}",
        id=str(i),
        smiles_tokens=[rng.integers(3, 99, rng.integers(1, 40)) for _ in range(1 + i % 4)],
        text_tokens=list(range(3, 4 + i % 30)),
        phrases=json.dumps([[0, 7, [i]]]) if i % 2 else "",
    )


def write(folder, manifest=None, **options):
    with PreparedWriter(folder, **options) as writer:
        for split, count in SPLIT_ROWS.items():
            for i in range(count):
                writer.add(split, **row(i))
        writer.reject(file="f.tsv", line=3, reason="empty SMILES", raw="\t℃")
        return writer.finish(manifest or {"note": "made by a test"})


@pytest.fixture(params=[prepared.BATCH_ROWS, 64])
def corpus(tmp_path, monkeypatch, request):
    monkeypatch.setattr(prepared, "BATCH_ROWS", request.param)
    write(tmp_path / "corpus")
    return PreparedCorpus.open(tmp_path / "corpus")


def test_every_value_comes_back(corpus):
    assert corpus.splits == ("train", "validation", "test")
    assert corpus.manifest["note"] == "made by a test"
    (refused,) = (corpus.folder / REJECTS).read_text("utf-8").splitlines()
    assert json.loads(refused) == {"file": "f.tsv", "line": 3, "reason": "empty SMILES", "raw": "\t℃"}
    for name, count in SPLIT_ROWS.items():
        split = corpus.split(name)
        assert len(split) == count
        for i in [*range(0, count, 61), count - 1]:
            want = row(i)
            assert split.row(i) == {k: v for k, v in want.items() if not k.endswith("_tokens")}
            assert split.text_tokens(i).tolist() == want["text_tokens"]
            got = [split.smiles_tokens(i, k).tolist() for k in range(split.spellings[i])]
            assert got == [each.tolist() for each in want["smiles_tokens"]]
    assert corpus.split("train").column("id") == [str(i) for i in range(1000)]
    corpus.verify()


def test_the_arrays_of_a_split(corpus):
    split, rows = corpus.split("train"), [row(i) for i in range(1000)]
    assert split.molecule.tolist() == [each["molecule"] for each in rows]
    assert split.spellings.tolist() == [len(each["smiles_tokens"]) for each in rows]
    assert split.smiles_length.tolist() == [max(map(len, each["smiles_tokens"])) for each in rows]
    assert split.text_length.tolist() == [len(each["text_tokens"]) for each in rows]
    for name in ("molecule", "smiles_length", "text_length", "spellings"):
        assert getattr(split, name).dtype == np.int32


def test_rows_are_views_and_errors_are_index_errors(corpus):
    split = corpus.split("train")
    tokens = split.smiles_tokens(5)
    assert tokens.dtype == np.int32 and not tokens.flags.owndata and not tokens.flags.writeable
    assert split.row(-1) == split.row(999)
    for bad in (lambda: split.row(1000), lambda: split.text_tokens(-1001), lambda: split.smiles_tokens(0, 1)):
        with pytest.raises(IndexError):
            bad()
    with pytest.raises(ValueError, match="no string column"):
        split.column("molecule")


def test_a_split_pickles_as_its_path(corpus):
    split = corpus.split("train")
    data = pickle.dumps(split)
    assert len(data) < 1000 and pickle.loads(data).row(17) == split.row(17)


def test_the_same_rows_give_the_same_bytes(tmp_path):
    assert write(tmp_path / "a") == write(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_an_interrupted_preparation_is_no_corpus(tmp_path):
    with pytest.raises(KeyboardInterrupt), PreparedWriter(tmp_path / "a") as writer:
        writer.add("train", **row(0))
        raise KeyboardInterrupt
    assert not (tmp_path / "a").exists()
    write(tmp_path / "a")
    with pytest.raises(KeyboardInterrupt), PreparedWriter(tmp_path / "a", overwrite=True) as writer:
        writer.add("train", **row(0))
        raise KeyboardInterrupt
    assert not (tmp_path / "a" / "manifest.json").exists()
    # A killed process cleans nothing up: what it leaves is recognised.
    writer = PreparedWriter(tmp_path / "b")
    writer.add("train", **row(0))
    with pytest.raises(UserError, match="interrupted preparation"):
        PreparedCorpus.open(tmp_path / "b")
    write(tmp_path / "b")
    assert PreparedCorpus.open(tmp_path / "b").splits


def test_nothing_is_overwritten_unasked(tmp_path):
    write(tmp_path / "a")
    with pytest.raises(UserError, match="already holds"):
        PreparedWriter(tmp_path / "a")
    write(tmp_path / "a", overwrite=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"thesis\.tex"):
        PreparedWriter(tmp_path / "b", overwrite=True)
    (tmp_path / "c").write_text("")
    with pytest.raises(UserError, match="is a file"):
        PreparedWriter(tmp_path / "c")


def _cut(folder):
    path = folder / "train.arrow"
    path.write_bytes(path.read_bytes()[:-100])


def _flip(folder):
    path = folder / "train.arrow"
    data = bytearray(path.read_bytes())
    data[-20:] = bytes(20)
    path.write_bytes(data)


def _change(**values):
    def change(folder):
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda folder: (folder / "train.arrow").unlink(), "missing"),
        (_cut, "damaged"),
        (_flip, "damaged"),
        (_change(version=99), "version 99"),
        (_change(format="other"), "not a prepared corpus"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "damaged"),
    ],
)
def test_damage_is_one_clear_line(tmp_path, damage, message):
    write(tmp_path / "a")
    damage(tmp_path / "a")
    with pytest.raises(UserError, match=message) as caught:
        PreparedCorpus.open(tmp_path / "a").split("train")
    assert "\n" not in str(caught.value) and str(tmp_path / "a") in str(caught.value)


def test_a_flipped_bit_is_found_by_verify(tmp_path):
    write(tmp_path / "a")
    path = tmp_path / "a" / "train.arrow"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="SHA-256"):
        PreparedCorpus.open(tmp_path / "a").verify()


def test_wrong_folders_and_names(tmp_path):
    write(tmp_path / "a")
    with pytest.raises(UserError, match="has no split 'dev'; it has train, validation, test"):
        PreparedCorpus.open(tmp_path / "a").split("dev")
    with pytest.raises(UserError, match="no such folder"):
        PreparedCorpus.open(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="not a prepared corpus"):
        PreparedCorpus.open(tmp_path / "empty")


READS_WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("rdkit", "datasets", "pandas", "tyro"):
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
from atomas_jax.corpus.prepared import PreparedCorpus

corpus = PreparedCorpus.open(sys.argv[1])
split = corpus.split("train")
print(len(split), split.smiles_tokens(3).tolist(), split.text_tokens(3).tolist(), split.row(3)["text"])
if sys.argv[2:]:
    print(corpus.tokenizer.decode_text(split.text_tokens(3)))
"""


def test_reading_needs_neither_rdkit_nor_datasets(tmp_path):
    write(tmp_path / "a")
    command = [sys.executable, "-c", READS_WITHOUT, str(tmp_path / "a")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    want = row(3)
    shown = f"1000 {want['smiles_tokens'][0].tolist()} {want['text_tokens']} {want['text']}\n"
    assert done.stdout == shown, done.stderr
