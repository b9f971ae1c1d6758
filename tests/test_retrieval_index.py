"""Indices on disk: what is in them, what they refuse, and that they stay whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small_index import ASPIRIN, ASPIRIN_AGAIN, L_ALANINE, LIBRARY, make_index, untrained, write_library

from atomas_jax.chemistry.molecules import canonical_smiles, identity
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.retrieval import building
from atomas_jax.retrieval.building import about, fill
from atomas_jax.retrieval.index import Index, writing


@pytest.fixture(scope="module")
def model():
    return untrained()


@pytest.fixture
def library(tmp_path):
    return write_library(tmp_path / "library.tsv")


def ids(index: Index) -> list[str]:
    return index.rows.column("id").filter(index.alive).to_pylist()


def test_spellings_merge_and_what_is_no_molecule_is_told(model, library, tmp_path):
    index, filled = make_index(tmp_path / "index", model, library)
    assert (filled.added, filled.merged, filled.rejected) == (8, 1, 1)
    assert "aspirin again" not in ids(index) and "aspirin" in ids(index)
    (reject,) = (json.loads(line) for path in index.folder.glob("*.rejects.jsonl") for line in path.open())
    assert reject["line"] == 4 and reject["raw"].startswith("not a molecule")
    row = index.rows.at(1)
    assert (row["formula"], row["charge"], row["activity"]) == ("C9H8O4", 0, "7.5")
    vectors = model.embed_molecules([canonical_smiles(ASPIRIN_AGAIN)])
    np.testing.assert_allclose(index.rows[1:2], vectors, atol=1e-5)
    np.testing.assert_array_equal(index.rows.take(np.array([7, 0])), index.rows[0:8][[7, 0]])


def test_rows_added_and_removed(model, library, tmp_path):
    folder = tmp_path / "index"
    before, _ = make_index(folder, model, library)
    more = write_library(tmp_path / "more.tsv", (("CCCl", "chloroethane", ""), (ASPIRIN, "aspirin, third", "")))
    with writing(folder, model) as writer:
        filled = fill(writer, model, Source(str(more)), ("activity",), workers=1)
        assert (filled.added, filled.merged) == (1, 1)
        writer.finish()
        numbers = writer.index.numbers_of([identity(ASPIRIN_AGAIN).key])
        assert writer.remove(numbers) == 1
        assert writer.remove(numbers) == 0
    index = Index.open(folder)
    assert "aspirin" not in ids(index) and "chloroethane" in ids(index)
    assert len(index) == len(before)  # one more, one less; who opened it before sees what was
    assert "aspirin" in ids(before)
    index.verify()
    with writing(folder, model) as writer:  # what was removed can come again
        assert fill(writer, model, Source(str(library)), ("activity",), workers=1).added == 1


def test_a_killed_build_goes_on_and_ends_as_an_unkilled_one(model, library, tmp_path, monkeypatch):
    monkeypatch.setattr(building, "CHUNK", 2)
    monkeypatch.setattr(building, "SEGMENT", 4)
    whole, _ = make_index(tmp_path / "whole", model, library)
    folder, embed, calls = tmp_path / "killed", model.embed_molecules, []

    def dying(*arguments, **settings):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embed(*arguments, **settings)

    monkeypatch.setattr(model, "embed_molecules", dying)
    with pytest.raises(KeyboardInterrupt):
        make_index(folder, model, library)
    assert Index.open(folder).manifest["unfinished"]["records"] == 4
    (folder / "segment-000001.vectors.npy").write_bytes(b"half of a file")
    other = write_library(tmp_path / "other.tsv", LIBRARY[:1])
    with pytest.raises(UserError, match="was interrupted; finish it first"):
        make_index(folder, model, other)
    index, filled = make_index(folder, model, library)
    assert (filled.added, filled.merged, filled.rejected) == (8, 1, 1)
    assert ids(index) == ids(whole)
    np.testing.assert_array_equal(index.rows[:], whole.rows[:])
    assert index.manifest["unfinished"] is None
    index.verify()


def test_another_model_is_refused(model, library, tmp_path):
    index, _ = make_index(tmp_path / "index", model, library)
    with pytest.raises(UserError, match="made by another model"):
        index.check_model(untrained(seed=1))
    with pytest.raises(UserError, match="made by another model"), writing(index.folder, untrained(seed=1)):
        pass


@pytest.mark.parametrize("name", ["segment-000000.vectors.npy", "segment-000000.rows.arrow"])
def test_a_file_cut_short_lost_or_changed_is_said_in_one_line(model, library, tmp_path, name):
    index, _ = make_index(tmp_path / "index", model, library)
    path = index.folder / name
    content = path.read_bytes()
    path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    with pytest.raises(UserError, match=f"{name} is damaged.*checksum"):
        Index.open(index.folder).verify()
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=f"{name} is damaged"):
        Index.open(index.folder)
    path.unlink()
    with pytest.raises(UserError, match=f"has lost {name}"):
        Index.open(index.folder)


def test_what_is_no_index_and_other_columns_are_refused(model, library, tmp_path):
    with pytest.raises(UserError, match="is no index"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(UserError, match="something that is no index"):
        make_index(tmp_path, model, library)
    index, _ = make_index(tmp_path / "index", model, library)
    with pytest.raises(UserError, match="keeps the columns activity"), writing(index.folder, model) as writer:
        fill(writer, model, Source(str(library)), (), workers=1)
    manifest = index.folder / "index.json"
    manifest.write_text(manifest.read_text()[:300])
    with pytest.raises(UserError, match=r"index\.json is damaged: .* build the index anew"):
        Index.open(index.folder)
    manifest.write_text("[]")
    with pytest.raises(UserError, match="describes no index"):
        Index.open(index.folder)


WRITER = """
import sys, time
sys.path[:0] = {path!r}
from atomas_jax.retrieval.index import writing
with writing({folder!r}):
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.multiprocess
def test_a_second_writer_is_refused_while_the_first_lives(model, library, tmp_path):
    index, _ = make_index(tmp_path / "index", model, library)
    path = [str(Path(__file__).resolve().parents[1])]
    program = WRITER.format(path=path, folder=str(index.folder))
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ)
    try:
        assert process.stdout.readline() == "writing\n"
        with pytest.raises(UserError, match=f"process {process.pid} is writing"), writing(index.folder):
            pass
        assert ids(Index.open(index.folder)) == ids(index)  # reading goes on
    finally:
        process.kill()
        process.wait()
    with writing(index.folder) as writer:  # its lock died with it
        assert writer.remove(writer.index.numbers_of([identity(L_ALANINE).key])) == 1


def test_a_new_index_says_what_it_is(model, library, tmp_path):
    index, _ = make_index(tmp_path / "index", model, library)
    made = index.manifest["model"]
    assert made["tokenizer"] == model.tokenizer.sha256 and made["step"] == 3
    assert "RDKit" in index.manifest["canonicalisation"]
    assert about(Path("run"), "best", ())["columns"] == []
