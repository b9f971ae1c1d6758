"""`atomas index` and `atomas search` as a user meets them, on a run that was trained."""

import json
import shutil

import pytest
from test_cli import atomas

ROWS = (
    "smiles id use",
    "CCO ethanol drink",
    "OCC again -",
    "nonsense bad -",
    "CCCCN butylamine -",
    "CC#N nitrile solvent",
)
LIBRARY = "".join(row.replace(" ", "\t") + "\n" for row in ROWS)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("searching") / "library.tsv"
    path.write_text(LIBRARY)
    return path


@pytest.fixture(scope="module")
def built(small_run, library, tmp_path_factory):
    from atomas_jax.commands.indexing import build

    index = tmp_path_factory.mktemp("index") / "index"
    build(small_run, str(library), index, columns=("use",))
    return index


@pytest.fixture
def index(built, tmp_path):
    return shutil.copytree(built, tmp_path / "index")


def test_build_add_remove_and_info(capsys, small_run, library, tmp_path, index):
    code, out, _ = atomas(capsys, "index", "info", index, "--verify")
    assert code == 0 and "3 molecules" in out and "1 duplicates merged, 0 removed, 1 rows refused" in out
    assert "every file is what was written" in out and "scores are not calibrated" in out
    more = tmp_path / "more.csv"
    more.write_text("smiles,use\nCCCCl,\n")
    code, out, _ = atomas(capsys, "index", "add", index, more)
    assert code == 0 and "1 molecules added" in out
    code, out, _ = atomas(capsys, "index", "remove", index, "OCC", "N#CC")
    assert code == 0 and "2 molecules removed, 2 left" in out
    code, out, _ = atomas(capsys, "search", index, "a chloride")
    assert (code == 0 and [line.split("\t")[5] for line in out.splitlines()[1:]] == ["1", "butylamine"]) or "2" in out
    assert "CCCCl" in out and "CCO\t" not in out
    code, out, err = atomas(capsys, "index", "build", small_run, library, "-o", index)
    assert code == 2 and "is a finished index" in err


def test_a_run_that_names_no_corpus_indexes_uncalibrated_and_is_evaluated_on_a_named_one(
    capsys, small_run, library, tmp_path
):
    run = shutil.copytree(small_run, tmp_path / "imported", ignore=shutil.ignore_patterns("corpus.json"))
    code, out, err = atomas(capsys, "index", "build", run, library, "-o", tmp_path / "index")
    assert code == 0 and "3 molecules added" in out and "scores are not calibrated" in err
    code, out, err = atomas(capsys, "evaluate", run)
    assert code == 2 and len(err.splitlines()) == 1 and "name one with --corpus" in err and not out


def test_a_large_index_without_faiss_is_searched_exactly(capsys, small_run, library, tmp_path, monkeypatch):
    monkeypatch.setattr("atomas_jax.retrieval.approximate.WORTHWHILE", 1)
    monkeypatch.setattr("atomas_jax.retrieval.approximate.find_spec", lambda name: None)
    index = tmp_path / "large"
    code, out, err = atomas(capsys, "index", "build", small_run, library, "-o", index, "--columns", "use")
    assert code == 0 and "3 molecules added" in out and "searches are exact" in err
    code, out, _ = atomas(capsys, "search", index, "An alcohol.", "-k", "3")
    assert code == 0 and len(out.splitlines()) == 4


def test_search_in_every_form(capsys, index, tmp_path):
    queries = tmp_path / "queries.txt"
    queries.write_text("An alcohol with 2 carbon atoms.\n\nAn amine.\n")
    code, out, _ = atomas(capsys, "search", index, "--file", queries, "-k", 2, "--format", "json")
    answers = json.loads(out)
    assert code == 0 and [len(answer["hits"]) for answer in answers] == [2, 2]
    assert answers[0]["query"] == "An alcohol with 2 carbon atoms."
    code, out, _ = atomas(capsys, "search", index, "OCC", "--smiles", "-k", 1)
    header, line = (line.split("\t") for line in out.splitlines())
    row = dict(zip(header, line))
    assert (row["id"], row["use"], row["similarity"], row["score"]) == ("ethanol", "drink", "1.0000", "1.0000")
    page = tmp_path / "hits.html"
    code, _, _ = atomas(
        capsys, "search", index, "An amine.", "--where", "use!=drink", "--format", "html", "--out", page
    )
    assert code == 0 and page.read_text().count("<svg") == 2 and "butylamine" in page.read_text()
    code, out, _ = atomas(capsys, "search", index, "An amine.", "--also", index, "--but-not", "An alcohol.")
    assert code == 0 and len(out.splitlines()) == 4


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["search", "INDEX"], "no queries"),
        (["search", "INDEX", " "], "query 1: a question is a text or a molecule: this one is empty"),
        (["search", "INDEX", "x" * 100_000], "query 1: the text has 100,000 characters; at most 10,000"),
        (["search", "INDEX", "C1CC", "--smiles"], "query 1: "),
        (["search", "INDEX", "an acid", "-k", "0"], "-k is 0"),
        (["search", "INDEX", "an acid", "--where", "price<3"], "has no column 'price'"),
        (["search", "INDEX", "an acid", "--similar-to", "C1CC"], "not valid SMILES syntax"),
        (["search", "INDEX", "an acid", "--run", "nowhere"], "is not at nowhere: name it with --run"),
        (["search", "NOWHERE", "an acid"], "is no index"),
        (["index", "add", "INDEX", "nowhere.smi"], "no such file: nowhere.smi"),
        (["index", "remove", "INDEX", "CCCCCCCC"], "holds none of these"),
        (["index", "remove", "INDEX", "C1CC"], "not valid SMILES syntax"),
        (["index", "info", "NOWHERE"], "is no index"),
    ],
)
def test_what_is_wrong_is_one_line_and_the_index_stays_whole(capsys, index, tmp_path, arguments, told):
    named = {"INDEX": index, "NOWHERE": tmp_path / "nowhere"}
    code, out, err = atomas(capsys, *(named.get(argument, argument) for argument in arguments))
    assert code == 2 and told in err and len(err.splitlines()) == 1 and not out
    code, out, _ = atomas(capsys, "index", "info", index, "--verify")
    assert code == 0 and "every file is what was written" in out
