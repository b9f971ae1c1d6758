"""The audit of two files: what it finds by hand-made rows, by brute force, and on ChEBI-20's known faults."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atomas_jax.cli import main
from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.readers import Record, read
from atomas_jax.evaluation.caption_tokens import words
from atomas_jax.evaluation.leakage import audit, similar_texts

TRAIN = [
    ("C[C@H](N)C(=O)O", "The molecule is an alanine that has R configuration."),
    ("Oc1ccccc1", "A phenol."),
    ("OC1=CC=CC=C1", "A phenol, again."),
    ("CC(=O)Oc1ccccc1C(=O)O", "An aspirin."),
    ("[13CH3]CCC", ""),
    ("CC(=O)[O-]", "An anion of one acid, that is found in many places and much used in kitchens."),
]
TEST = [
    ("C[C@@H](N)C(=O)O", "The molecule is an  alanine that has r configuration."),
    ("c1ccccc1O", "A phenol."),
    ("CC(=O)O", "An anion of one acid, that is found in many places and much used in a kitchens."),
    ("CCCC", ""),
    ("not one", "An Aspirin."),
]


def records(rows, file="f"):
    return [Record(file, number, str(number), *row) for number, row in enumerate(rows, 1)]


def test_each_kind_finds_what_it_means_and_says_what_is_new():
    found = audit(records(TRAIN), records(TEST))
    by_kind = {one.kind.name: [leak.test for leak in one.leaks] for one in found.found}
    assert by_kind == {
        "same pair": [1],
        "same string": [],
        "same canonical SMILES": [1],
        "same InChIKey": [1],
        "same without stereo": [0, 1],
        "same without stereo, isotopes": [0, 1, 3],
        "same skeleton": [0, 1, 2, 3],
        "same scaffold": [1],
        "same caption": [0, 1, 4],
        "near-identical caption": [0, 1, 2, 4],
    }
    assert [leak.test for leak in found["same skeleton"].new] == [2]
    (phenol,) = found["same canonical SMILES"].leaks
    assert (phenol.train, phenol.matches) == (1, 2)
    assert (found["same scaffold"].train_rows, found["same scaffold"].forms) == (3, 1)
    assert (found.test_rows, found.test_unreadable, found.train_unreadable) == (5, 1, 0)


def test_lists_of_smiles_are_compared_without_captions():
    found = audit(records([("C", "")]), records([("[CH4]", "Methane.")]))
    assert {one.kind.family for one in found.found} == {"molecules"}
    assert not found["same string"].leaks and found["same canonical SMILES"].leaks


texts = st.lists(st.lists(st.sampled_from("abcde"), max_size=9).map(" ".join), max_size=12)


@given(texts, texts, st.sampled_from([0.3, 0.5, 0.75, 0.9, 1.0]))
def test_similar_texts_are_those_a_comparison_of_all_with_all_finds(queries, library, near):
    def similarity(one, other):
        a, b = (sorted(tokens) for tokens in words()([one, other]))
        shared = sum(min(a.count(word), b.count(word)) for word in set(a))
        return shared / (len(a) + len(b) - shared) if a or b else 0.0

    expected = {}
    for place, query in enumerate(queries):
        matches = [(row, similarity(query, text)) for row, text in enumerate(library)]
        if matches := [match for match in matches if match[1] >= near - 1e-9]:
            expected[place] = sorted(matches, key=lambda match: (-match[1], match[0]))
    assert similar_texts(queries, library, near) == expected


def test_the_command_prints_counts_and_writes_rows(tmp_path, capsys):
    for name, rows in (("train.tsv", TRAIN), ("test.tsv", TEST)):
        lines = ["SMILES\tdescription", *("\t".join(row) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    (tmp_path / "list.smi").write_text("Oc1ccccc1\nCCO\n")
    train, test, smiles = (str(tmp_path / name) for name in ("train.tsv", "test.tsv", "list.smi"))
    with pytest.raises(SystemExit) as end:
        main(["leakage", train, test, "--out", str(tmp_path / "leaks.tsv")])
    assert not end.value.code
    said = capsys.readouterr().out
    assert "4 rows (1 refused)" in said and "1 SMILES are no molecules" in said
    head, *rows = [line.split("\t") for line in (tmp_path / "leaks.tsv").read_text().splitlines()]
    assert {len(row) for row in rows} == {len(head)}
    phenol = dict(zip(head, next(row for row in rows if row[0] == "same pair")))
    assert (phenol["test_smiles"], phenol["train_line"], phenol["train_matches"]) == ("c1ccccc1O", "3", "1")
    with pytest.raises(SystemExit):
        main(["leakage", smiles, test])
    assert "Captions were not compared" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["{}/none.tsv", "{}/a.tsv"], "no such file"),
        (["{}/a.tsv", "{}/b.tsv"], "no SMILES column among words, more"),
        (["{}/a.tsv", "{}/a.tsv", "--near", "0"], "above 0"),
        (["{}/a.tsv", "{}/a.tsv", "--out", "{}/none/x.tsv"], "no folder"),
        (["{}/a.tsv,text=gone", "{}/a.tsv"], "no column 'gone'"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, arguments, says):
    (tmp_path / "a.tsv").write_text("SMILES\tcaption\nC\tMethane.\n")
    (tmp_path / "b.tsv").write_text("words\tmore\nC\tMethane.\n")
    with pytest.raises(SystemExit) as end:
        main(["leakage", *(argument.format(tmp_path) for argument in arguments)])
    said = capsys.readouterr().err.strip().splitlines()
    assert end.value.code == 2 and says in said[-1]


def pairs(path, **settings):
    return list(read(Source(str(path), **settings)))


def test_captions_chebi_20_has_twice(shared):
    """The counts of shared/data/README.md, by molecules that need no chemistry to be told apart."""
    folder = shared / "data/chebi20"
    test, validation, train = (
        [Record(row.file, row.line, row.id, "", row.text) for row in pairs(folder / name)]
        for name in ("test.txt.gz", "validation.txt.gz", "train_partial.tsv.gz")
    )
    assert audit(validation, test, workers=1)["same caption"].forms == 4
    assert audit(train, test, workers=1)["same caption"].forms == 8


@pytest.mark.slow
def test_stereo_twins_of_chebi_20(shared, tmp_path):
    folder = shared / "data/chebi20"
    test, validation = (pairs(folder / name) for name in ("test.txt.gz", "validation.txt.gz"))
    held_out = {row.id for row in (*test, *validation)}
    with gzip.open(folder / "cid_to_smiles.tsv.gz", "rt") as file:
        head, *lines = file.read().splitlines()
    rest = tmp_path / "train.tsv"
    rest.write_text("\n".join([head, *(line for line in lines if line.split("\t")[0] not in held_out)]) + "\n")
    train = list(read(Source(str(rest)), captions=False))
    assert len(train) == 26_409
    found = audit(train, test)
    assert len(found["same without stereo, isotopes"].leaks) == 490
    assert len(found["same without stereo"].leaks) == 484
    assert not found["same canonical SMILES"].leaks
    found = audit(validation, test)
    assert found["same without stereo, isotopes"].forms == 94
    assert not found["same canonical SMILES"].leaks
    assert found["same caption"].forms == 4
