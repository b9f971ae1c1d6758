"""Slices of a result, spellings of a molecule, and results as CSV and LaTeX."""

import csv
import io
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from atomas_jax.chemistry.molecules import identity
from atomas_jax.chemistry.spellings import SPELLINGS
from atomas_jax.config import EvaluationConfig
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.evaluation import exports, floors, outputs, report, results, slices
from atomas_jax.evaluation.answers import evaluate_answers
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.examples import Sheet
from atomas_jax.evaluation.measuring import Training, measure_captions, measure_molecules, read_training
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.ranking import chance, ranking_metrics

SMILES = ["CCO", "C[C@H](N)C(=O)O", "C/C=C/C", "c1ccccc1O", "C/C=C/[C@H](N)C", "CCCCCCCC"]
PREDICTED = ["CCO", "C[C@@H](N)C(=O)O", "((", "c1ccccc1", "CC=CC(N)C", "CCCCCCC"]
TEXTS = [
    "An alcohol.",
    "An amino acid of nature.",
    "A butene.",
    "A phenol.",
    "An amine, and an alkene too.",
    "An alkane.",
]
SAID = ["An alcohol.", "An acid of nature.", "A butane.", "", "An amine.", "An alkane."]


def test_a_slice_has_the_metrics_of_its_rows_alone():
    rows = np.array([0, 1, 4])
    for whole, part in (
        (caption_metrics(TEXTS, SAID), caption_metrics([TEXTS[i] for i in rows], [SAID[i] for i in rows])),
        (
            molecule_metrics(SMILES, PREDICTED),
            molecule_metrics([SMILES[i] for i in rows], [PREDICTED[i] for i in rows]),
        ),
    ):
        found = slices.subset(whole, rows)
        assert set(found) == set(part.scores) - {"Uniqueness"}
        for name, score in found.items():
            assert (score.value, score.low, score.high) == pytest.approx(
                (part[name], part.scores[name].low, part.scores[name].high), nan_ok=True
            )
    ranks = np.array([1, 2.5, 60, 1, 4, 9])
    found, part = slices.subset(ranking_metrics(ranks, 99), rows), ranking_metrics(ranks[rows], 99)
    assert {name: score.value for name, score in found.items()} == pytest.approx({n: part[n] for n in part.scores})


def test_rows_go_where_their_labels_say():
    by_stereo = slices.by_stereo(SMILES)
    assert [by_stereo.labels[m] for m in by_stereo.member] == [
        "none", "centres (R/S)", "double bonds (E/Z)", "none", "both", "none",
    ]  # fmt: skip
    near = slices.by_similarity([0, 0.39, 0.4, 0.999, 1.0])
    assert [near.labels[m] for m in near.member] == ["0 to 0.4", "0 to 0.4", "0.4 to 0.6", "0.8 to 1", "1"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_lengths_are_cut_in_order_and_equal_lengths_stay_together(lengths):
    cut = slices.by_length(["x" * length for length in lengths], "SMILES")
    assert cut.name == "characters of the SMILES" and len(cut.labels) <= 4
    for length, member in zip(lengths, cut.member):
        low, high = map(int, cut.labels[member].split(" to "))
        assert low <= length <= high
    ends = [tuple(map(int, label.split(" to "))) for label in cut.labels]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(ends))
    assert set(cut.member) == set(range(len(cut.labels)))


def test_every_system_is_sliced_and_shown_where_it_has_rows(capsys):
    table = {"model": molecule_metrics(SMILES, PREDICTED), "copy": molecule_metrics(SMILES, SMILES)}
    ranked = ranking_metrics(np.array([1, 2, 3, 4, 5, 6]), 6)
    cuts = slices.slicings(SMILES, TEXTS, [0.1, 0.5, 1, 1, 1, 1])
    found = {
        "Molecules": slices.sliced(table, cuts),
        "Text to molecule": slices.sliced({"model": ranked, "chance": chance(6, 6, ranked)}, cuts),
    }
    for parts in found.values():
        assert {one.slicing for one in parts} == {cut.name for cut in cuts}
        for cut in cuts:
            assert sum(one.rows for one in parts if one.slicing == cut.name) == 6
    assert list(found["Text to molecule"][0].scores) == ["model"]
    assert slices.columns_of(found["Molecules"])[-1] == ("copy", "Morgan")
    slices.print_slices(found, Console(width=200))
    said = capsys.readouterr().out
    assert "Molecules by similarity to training" in said and "0 to 0.4" in said and "copy: Morgan" in said
    lines = list(csv.DictReader(io.StringIO(slices.slices_csv(found))))
    chosen = [row for row in lines if (row["slice"], row["system"], row["metric"]) == ("1", "copy", "Exact")]
    assert [(row["rows"], row["value"]) for row in chosen] == [("4", "1")]


def test_spellings_are_the_same_molecule_in_other_words():
    for smiles in (*SMILES, "C[N+](C)(C)CC(=O)[O-].[Na+]", "[2H]c1ccc2[nH]cnc2c1", "OC/C=C\\CC", "[13CH4]"):
        for name, spell in SPELLINGS.items():
            spelled = spell(smiles, 3)
            assert identity(spelled).key == identity(smiles).key, name
            assert spelled == spell(smiles, 3)
    assert SPELLINGS["as given"]("OCC", 0) == "OCC"
    assert SPELLINGS["kekulised"]("c1ccccc1O", 0) == "OC1=CC=CC=C1"
    assert SPELLINGS["explicit hydrogens"]("O", 0) == "[H]O[H]"


def test_results_as_csv_and_latex():
    results = {
        "Captions": {"the model": caption_metrics(TEXTS, SAID)},
        "Molecules": {"a_b & c": molecule_metrics(SMILES, PREDICTED), "copy": molecule_metrics(SMILES, SMILES)},
    }
    first, second, _ = csv.DictReader(io.StringIO(exports.csv_text(results)))
    assert float(first["METEOR"]) == pytest.approx(results["Captions"]["the model"]["METEOR"], rel=1e-5)
    assert first["Exact"] == "" and second["METEOR"] == ""
    assert (second["task"], second["system"], second["rows"], second["protocol"]) == (
        "Molecules",
        "a_b & c",
        "6",
        "plain",
    )
    assert float(second["Exact low"]) <= float(second["Exact"]) <= float(second["Exact high"])
    latex = exports.latex_text(results)
    assert r"a\_b \& c & " in latex and r"\textbf{1.000}" in latex and r"Levenshtein $\downarrow$" in latex
    for line in latex.splitlines():
        if line.endswith(r"\\"):
            assert line.replace(r"\&", "").count("&") in (6, len(results["Molecules"]["copy"].scores))
    results["Molecules"]["copy"] = molecule_metrics(SMILES[:2], SMILES[:2])
    with pytest.raises(UserError, match="may not stand in one table"):
        exports.latex_text(results)


def test_captions_by_spelling_ask_for_each_spelling_once():
    asked = []

    def caption(smiles):
        asked.append(smiles)
        return [one if one in SMILES else "" for one in smiles]

    table = slices.by_spelling(SMILES, SMILES, caption, caption_metrics, seed=5)
    assert list(table) == list(SPELLINGS) and len(asked) == len(SPELLINGS) and asked[0] == SMILES
    assert table["as given"]["ROUGE-1"] == 1 > table["explicit hydrogens"]["ROUGE-1"]
    assert {result.stamp.data for result in table.values()} == {table["random"].stamp.data}


def test_the_folder_of_an_evaluation_holds_all_of_it(tmp_path):
    cuts = slices.slicings(SMILES, TEXTS, [0.1, 0.5, 1, 1, 1, 1])
    captions = {"model": caption_metrics(TEXTS, SAID), "another row": caption_metrics(TEXTS, TEXTS[::-1])}
    ranked = ranking_metrics(np.array([1, 2.5, 3, 4, 5, 6]), 6)
    measured = {"Captions": captions, "Text to molecule": {"model": ranked, "chance": chance(6, 6, ranked)}}
    sheets = [
        Sheet("Captions", captions["model"], {"Molecule": SMILES}, {"Reference": TEXTS, "Model": SAID}, True, cuts),
        Sheet("Text to molecule", ranked, {"Molecule": SMILES, "First hit": SMILES[::-1]}, {"Text": TEXTS}, cuts=cuts),
    ]
    found = outputs.write_outputs(tmp_path / "test", "A run", measured, sheets)
    names = {path.name for path in (tmp_path / "test").iterdir()}
    assert names == {"results.json", "results.csv", "results.tex", "slices.csv", "examples.html"}
    assert list(results.load(tmp_path / "test/results.json")) == list(measured)
    assert '"name":"Rank"' in (tmp_path / "test/examples.html").read_text()
    page = report.write_report(tmp_path, "A run", measured, slices=found, examples="test/examples.html").read_text()
    assert '<a href="test/examples.html">' in page and 'id="slices"' in page
    for label in ("double bonds (E/Z)", "0.4 to 0.6", "another row: METEOR"):
        assert label in page
    assert page.count("<table") == page.count("</table>") == 4


def test_a_task_is_measured_beside_its_floors_and_cut_by_similarity():
    keys = [identity(one).key for one in SMILES[::2]]
    training = Training(SMILES[::2], TEXTS[::2], keys)
    config = EvaluationConfig()
    told = measure_captions(SMILES, TEXTS, SAID, config, training)
    assert list(told.table) == ["model", floors.RANDOM, floors.NEAREST]
    assert told.sheet.result is told.table["model"] and told.sheet.cuts[0].name == "similarity to training"
    copied = told.table[floors.NEAREST].rows["ROUGE-L"]
    assert list(copied[::2]) == [1, 1, 1] and (copied[1::2] < 1).all()
    assert list(training.nearest(["CCO"])[1]) == [1]
    made = measure_molecules(TEXTS, SMILES, PREDICTED, config, training)
    assert list(made.table[floors.NEAREST].rows["Exact"][::2]) == [1, 1, 1]
    assert made.table[floors.NEAREST]["Novelty"] == 0 < made.table["model"]["Novelty"]
    alone = measure_captions(SMILES, TEXTS, SAID, config)
    assert list(alone.table) == ["model"] and len(alone.sheet.cuts) == 3


def test_training_pairs_are_read_from_a_file_without_what_is_no_molecule(tmp_path):
    path = tmp_path / "train.tsv"
    path.write_text("SMILES\tdescription\nOCC\tAn alcohol.\nnone\tNothing.\nC\t\n")
    training = read_training(Source(str(path)))
    assert (training.smiles, training.texts, training.keys) == (["OCC"], ["An alcohol."], {identity("CCO").key})
    path.write_text("SMILES\tdescription\nnone\tNothing.\n")
    with pytest.raises(UserError, match="holds no pair"):
        read_training(Source(str(path)))


@pytest.mark.parametrize("task", ["captions", "molecules"])
def test_answers_at_hand_are_measured_and_shown_without_a_model(tmp_path, capsys, task):
    training = Training(SMILES[::2], TEXTS[::2], [])
    columns = (SMILES, TEXTS, SAID) if task == "captions" else (TEXTS, SMILES, PREDICTED)
    found = evaluate_answers(task, *columns, EvaluationConfig(), tmp_path, "A file", training, ["By somebody."])
    (table,) = found.values()
    assert list(table) == ["model", floors.RANDOM, floors.NEAREST]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"report.html", "results.json", "results.csv", "results.tex", "slices.csv", "examples.html"}
    page = (tmp_path / "report.html").read_text()
    assert '<a href="examples.html">' in page and f'id="{task}"' in page and "By somebody." in page
    said = capsys.readouterr().out
    assert "nearest training pair" in said and "similarity to training" in said
    with pytest.raises(UserError, match="6 inputs, 6 references, 1 answers"):
        evaluate_answers(task, columns[0], columns[1], ["C"], EvaluationConfig())
