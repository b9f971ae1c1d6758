"""The command and the Python face, as a user meets them."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import atomas_jax
from atomas_jax import cli
from atomas_jax.errors import UserError


def atomas(capsys, *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    capsys.readouterr()
    try:
        cli.main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out, err


def test_importing_the_package_imports_nothing_heavy():
    heavy = ("jax", "rdkit", "datasets", "flax")
    for imports, unwanted in (("atomas_jax.cli", heavy), ("atomas_jax.config", (*heavy, "tyro"))):
        program = f"import sys, atomas_jax, {imports}; print([m for m in {unwanted} if m in sys.modules])"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"


def test_run_asks_for_what_it_will_measure_with_before_anything_else(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("ATOMAS_DATA", str(tmp_path / "empty"))
    folders = ["--corpus", tmp_path / "corpus", "--run", tmp_path / "run"]
    for settings, told in (
        (["--evaluation.protocol", "molt5"], "SciBERT tokens need its vocabulary: run `atomas assets scibert`"),
        (["--evaluation.wordnet", tmp_path / "none"], "no WordNet at"),
    ):
        code, _, err = atomas(capsys, "run", "quickstart", *folders, *settings)
        assert code == 2 and told in err and err.count("\n") == 1
    assert not (tmp_path / "corpus").exists() and not (tmp_path / "run").exists()


def test_help_lists_every_command_and_every_setting(capsys):
    code, out, _ = atomas(capsys, "--help")
    assert code == 0
    for command in ("prepare", "tokenizer", "train", "run", "caption", "generate", "retrieve", "evaluate", "info"):
        assert f"\n  {command} " in out
        code, text, _ = atomas(capsys, command, "--help")
        assert code == 0
        assert command in text
    _, out, _ = atomas(capsys, "train", "tiny", "--help")
    for setting in ("--training.steps", "--model.transformer.d-model", "--objectives.queue-size", "--optimizer.clip"):
        assert setting in out
    assert "(default: 128)" in out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["fly"], "no command 'fly': choose one of prepare, tokenizer, train"),
        (["train"], "name the experiment first: atomas train EXPERIMENT --run"),
        (["train", "--training.steps", "3", "tiny"], "name the experiment first: atomas train EXPERIMENT --run"),
        (["prepare", "--overwrite", "tiny"], "name the experiment first: atomas prepare EXPERIMENT --out"),
        (["train", "gigantic"], "no experiment 'gigantic': name a Python file"),
        (["train", "tiny", "--training.stepps", "3"], "--training.stepps"),
        (["train", "tiny", "--training.steps", "many"], "--training.steps: invalid literal for int"),
        (["train", "tiny", "--corpus", "nowhere"], "nowhere"),
        (["train", "tiny", "--objectives.language", "-1"], "objectives.language = -1.0 is negative"),
        (["caption", "nowhere", "C"], "no run folder at nowhere"),
        (["caption", "."], "inputs"),
        (["caption", "nowhere", "C", "--batch-size", "0"], "--batch-size is 0: want 1 or more"),
        (["caption", "nowhere", "C", "--out", "missing/captions.tsv"], "no folder missing to write captions.tsv in"),
        (["caption", "nowhere", "C", "--out", "/proc/captions.tsv"], "/proc/captions.tsv cannot be written"),
        (["generate", "nowhere", "C", "--out", "."], ". is a folder: give --out the name of a file"),
        (["generate", "nowhere", "C", "--out", "/dev/null"], "/dev/null is no plain file"),
        (["generate", "nowhere", "C", "--out", "-"], "without --out standard output is written to"),
        (["generate", "nowhere", "C", "--out", "x" * 250], "cannot be written: File name too long"),
        (["search", "nowhere", "C", "--out", "missing/hits.html"], "no folder missing to write hits.html in"),
        (["export", "nowhere", "/proc/exported"], "/proc/exported cannot be written"),
        (["index", "build", "nowhere", "a.smi", "--out", "/dev/null/index"], "/dev/null is a file: name a folder"),
        (["retrieve", "nowhere", "C", "-k", "0"], "-k is 0: want 1 or more"),
        (["evaluate", "nowhere"], "no run folder at nowhere"),
        (["info", "nowhere"], "nowhere is no run folder, prepared corpus or tokenizer"),
        (["tokenizer", "chek"], "no subcommand 'chek': choose train or check"),
        (["tokenizer", "check", "nowhere.tsv"], "nowhere.tsv"),
        (["prepare", "tiny", "--sources", "nowhere.tsv"], "nowhere.tsv"),
        (["prepare", "tiny", "--corpus.sources", "nowhere.tsv,quotes=csv"], "nowhere.tsv"),
        (["prepare", "tiny", "--sources", "a.tsv,colour=red"], "'colour=red' is no setting=value"),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    code, out, err = atomas(capsys, *arguments)
    assert code == 2
    assert err.count("\n") == 1, err
    assert told in err
    assert err.startswith(f"atomas {arguments[0]}: ")
    assert not out


def test_a_damaged_run_folder_is_one_line(capsys, small_run, tmp_path):
    broken = tmp_path / "broken"
    for name, damage in (("config.json", "{"), ("tokenizer/spiece.model", "x"), ("best", None)):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(small_run, broken)
        if damage is None:
            for folder in (broken / "best", broken / "checkpoints"):
                shutil.rmtree(folder)
        else:
            (broken / name).write_text(damage)
        code, _, err = atomas(capsys, "caption", broken, "CCO")
        assert code == 2, name
        assert err.count("\n") == 1, err
    unknown = json.loads((small_run / "config.json").read_text())
    unknown["model"]["transformer"]["d_modle"] = 3
    shutil.copytree(small_run, broken, dirs_exist_ok=True)
    (broken / "config.json").write_text(json.dumps(unknown))
    code, _, err = atomas(capsys, "caption", broken, "CCO")
    assert (code, err.count("\n")) == (2, 1)
    assert "d_modle" in err


@pytest.mark.parametrize("content", ["[]", "null", "5", '{"model": 5}', '{"model": {"transformer": []}}'])
def test_settings_that_are_none_are_one_line(capsys, tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    for command in (["info", tmp_path], ["evaluate", tmp_path]):
        code, _, err = atomas(capsys, *command)
        assert (code, err.count("\n")) == (2, 1), err
        assert "config.json" in err


@pytest.mark.parametrize("content", ["{", "{}", "[]"])
def test_a_damaged_manifest_is_one_line(capsys, tmp_path, content):
    (tmp_path / "manifest.json").write_text(content)
    code, out, err = atomas(capsys, "info", tmp_path)
    assert (code, err.count("\n"), out) == (2, 1, ""), err
    assert "manifest.json" in err


def test_a_file_the_system_refuses_is_one_line(capsys, tmp_path, monkeypatch):
    from atomas_jax.commands import info

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(tmp_path / "two\nlines"))

    monkeypatch.setattr(info, "print_run", refuse)
    (tmp_path / "config.json").write_text("{}")
    code, _, err = atomas(capsys, "info", tmp_path)
    assert (code, err.count("\n")) == (2, 1)
    assert err.endswith("two lines: Permission denied\n")


def test_a_file_that_is_no_experiment_is_one_line(capsys, tmp_path):
    for text, told in (
        ("x = 1", "defines no `experiment"),
        ("import nothing_of_that_name", "cannot be read as an experiment"),
        ("{}['steps']", "KeyError"),
        ("open('nothing_of_that_name')", "FileNotFoundError"),
        ("int('many')", "ValueError"),
    ):
        path = tmp_path / "wrong.py"
        path.write_text(text)
        code, _, err = atomas(capsys, "train", path)
        assert (code, err.count("\n")) == (2, 1)
        assert told in err


def test_caption_and_generate_answer_in_order(capsys, small_run, tmp_path):
    molecules = ["CCO", "CCCCN", "C"]
    code, out, _ = atomas(capsys, "caption", small_run, *molecules)
    assert code == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == molecules
    listed = tmp_path / "molecules.smi"
    listed.write_text("\n".join(molecules) + "\n\n")
    code, _, _ = atomas(capsys, "caption", small_run, "--file", listed, "--out", tmp_path / "captions.tsv")
    assert code == 0
    assert (tmp_path / "captions.tsv").read_text() == out
    code, _, err = atomas(
        capsys, "caption", small_run, "C", "--method", "beam", "--beams", "2", "--results", "3", "--out", tmp_path / "x"
    )
    assert (code, err.count("\n")) == (2, 1), err
    assert "3 results from 2 beams" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.tsv", "molecules.smi"]
    sampled = ["--method", "sample", "--results", "3", "--seed", "7", "--valid", "False"]
    code, out, _ = atomas(capsys, "generate", small_run, "An alcohol.", *sampled)
    assert code == 0
    assert len(out.splitlines()) == 3
    assert atomas(capsys, "generate", small_run, "An alcohol.", *sampled)[1] == out


def test_retrieve_ranks_the_library(capsys, small_run, tmp_path):
    library = tmp_path / "library.smi"
    library.write_text("CCO\nCCN\nCCCl\nCCC#N\n")
    code, out, _ = atomas(capsys, "retrieve", small_run, "An amine.", "An alcohol.", "--library", library, "-k", "3")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[1] for row in rows] == ["1", "2", "3"] * 2
    scores = [float(row[2]) for row in rows[:3]]
    assert scores == sorted(scores, reverse=True)
    assert all(library.read_text().splitlines()[int(row[3]) - 1] == row[4] for row in rows)


def test_retrieve_reads_the_molecule_of_a_line_and_not_its_name(capsys, small_run, tmp_path):
    bare, named, texts = (tmp_path / name for name in ("bare.smi", "named.smi", "texts.txt"))
    bare.write_text("CCO\nCCN\nCCC#N\n")
    named.write_text("CCO ethanol\nCCN\tethyl amine\nnonsense here\nC1CC open\nCCC#N\n")
    _, plain, _ = atomas(capsys, "retrieve", small_run, "An amine.", "--library", bare)
    code, out, err = atomas(capsys, "retrieve", small_run, "An amine.", "--library", named)
    rows, wanted = ([line.split("\t") for line in each.splitlines()] for each in (out, plain))
    assert code == 0 and [(row[1:3], row[4].split()[0]) for row in rows] == [(row[1:3], row[4]) for row in wanted]
    assert {row[3]: row[4] for row in rows} == {"1": "CCO ethanol", "2": "CCN ethyl amine", "5": "CCC#N"}
    (told,) = [line for line in err.splitlines() if "no molecule" in line]
    assert "2 of 5 lines" in told and "line 3: not valid SMILES syntax: 'nonsense'" in told
    named.write_text("nonsense\n\nC1CC open\n")
    code, out, err = atomas(capsys, "retrieve", small_run, "An amine.", "--library", named)
    assert (code, out, len(err.splitlines())) == (2, "", 1) and "2 of 2 lines hold no molecule" in err

    texts.write_text("An amine.\nAn alcohol.\n")
    backwards = ("retrieve", small_run, "--library", texts, "--find", "texts")
    _, plain, _ = atomas(capsys, *backwards, "CCO")
    code, out, _ = atomas(capsys, *backwards, "CCO\tethanol")
    assert code == 0 and out == plain.replace("CCO\t", "CCO ethanol\t")
    for query, told in (("CCO(", "query 2: not valid SMILES syntax"), (" ", "query 2: the SMILES is empty")):
        code, out, err = atomas(capsys, *backwards, "CCO", query)
        assert (code, out, len(err.splitlines())) == (2, "", 1) and told in err


def test_retrieve_counts_lines_as_an_editor_does(capsys, small_run, tmp_path):
    library = tmp_path / "library.txt"
    library.write_text("An alcohol.\n\n  \nAn amine,\u2028of two lines.\r\nA nitrile.\n")
    code, out, _ = atomas(capsys, "retrieve", small_run, "CCO", "--library", library, "--find", "texts")
    assert code == 0
    found = dict(line.split("\t")[3:] for line in out.rstrip("\n").split("\n"))
    assert found == {"1": "An alcohol.", "4": "An amine,\u2028of two lines.", "5": "A nitrile."}


def test_info_outlives_a_log_cut_by_a_kill_and_needs_no_jax(capsys, small_run, tmp_path):
    killed = tmp_path / "killed"
    shutil.copytree(small_run, killed)
    with (killed / "log.jsonl").open("a") as log:
        log.write('{"step": 13, "kind": "tr')
    code, out, err = atomas(capsys, "info", killed)
    assert code == 0, err
    assert "step 12 of 12" in out and "last validation, at step 12" in out
    program = "import sys; from atomas_jax.commands.info import info; from pathlib import Path; info(Path(sys.argv[1]))"
    program += "; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", program, str(killed)], check=True, stdout=subprocess.DEVNULL)


def test_every_series_of_a_run_has_its_place_in_the_report(small_run):
    from atomas_jax.evaluation.curves import PANELS, curves, read_log

    drawn = [title for title, _ in curves(read_log(small_run / "log.jsonl"))]
    assert drawn == [title for title, _ in PANELS]


def test_info_tells_what_a_folder_is(capsys, small_run, small_corpus):
    assert "step 12 of 12" in atomas(capsys, "info", small_run)[1]
    assert "prepared corpus" in atomas(capsys, "info", small_corpus)[1]
    assert "tokenizer" in atomas(capsys, "info", small_corpus / "tokenizer")[1]


def test_the_tokenizer_commands(capsys, tmp_path):
    pairs = tmp_path / "pairs.tsv"
    rows = [(r"F/C=C\F", "An alkene at 25 ℃."), ("[13CH4]", 'Methane, "heavy".')] * 20
    pairs.write_text("SMILES\tdescription\n" + "".join(f"{s}\t{t} {i}\n" for i, (s, t) in enumerate(rows)))
    code, out, _ = atomas(capsys, "tokenizer", "train", pairs, "--out", tmp_path / "made", "--vocab-size", "1000")
    assert code == 0, out
    code, out, _ = atomas(capsys, "tokenizer", "check", pairs, "--tokenizer", tmp_path / "made")
    assert code == 0
    assert "100.00 %" in out and "rows read 40, refused by the reader 0" in out


def test_the_tokenizer_to_check_may_lie_in_a_run_or_be_the_shipped_one(capsys, small_corpus, tmp_path, monkeypatch):
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("SMILES\tdescription\nCCO\tAn alcohol.\nCCN\nCCC\tAn alkane.\n")
    monkeypatch.chdir(tmp_path)
    for chosen in (["--tokenizer", small_corpus], []):
        code, out, err = atomas(capsys, "tokenizer", "check", pairs, *chosen)
        assert code == 0, err
        assert "rows read 2, refused by the reader 1 (the first on line 3: " in out
    monkeypatch.setattr("atomas_jax.commands.tokenizer.SHIPPED_TOKENIZER", tmp_path / "none")
    code, _, err = atomas(capsys, "tokenizer", "check", pairs)
    assert (code, err.count("\n")) == (2, 1)
    assert "--tokenizer" in err


def test_evaluate_takes_decoding_settings_and_names_the_checkpoint(capsys, small_run, tmp_path):
    run, pool = tmp_path / "run", tmp_path / "pool.smi"
    shutil.copytree(small_run, run)
    pool.write_text("CCCCCCCCBr\nCCCCCCCCI\n")
    ranked = ["--ranking", "text2mol33k", "--pool", pool, "--positives", "twins"]
    options = ["--checkpoint", "9", "--limit", "3", "--decoding.max-length", "12", "--spellings", "2", *ranked]
    code, out, err = atomas(capsys, "evaluate", run, *options)
    assert code == 0, err
    assert "2 more molecules and 0 more texts" in " ".join(out.split())
    assert "checkpoint of step 9 of 12" in " ".join(out.split())
    assert "of at most 12 tokens" in " ".join(out.split())
    assert '<a href="evaluation/test/examples.html">' in (run / "report.html").read_text()
    written = {path.name for path in (run / "evaluation/test").iterdir()}
    assert {"results.json", "results.csv", "results.tex", "slices.csv", "examples.html"} < written
    assert "kekulised" in (run / "evaluation/test/results.csv").read_text()
    assert "explicit hydrogens" in out and "by similarity to training" in out
    code, _, err = atomas(capsys, "evaluate", run, "--decoding.beams", "0")
    assert (code, err.count("\n")) == (2, 1)


@pytest.fixture(scope="module")
def model(small_run):
    return atomas_jax.load(small_run)


def test_the_python_face(model):
    captions = model.caption(["CCO", "CCN"])
    assert len(captions) == 2 and all(isinstance(caption, str) for caption in captions)
    several = model.generate(["An amine."], method="beam", beams=3, results=2)
    assert len(several[0]) == 2
    molecules, texts = model.embed_molecules(["CCO", "CCCCN", "C"]), model.embed_text(["An alcohol."])
    assert molecules.shape == (3, 8) and texts.shape == (1, 8)
    np.testing.assert_allclose(np.linalg.norm(molecules, axis=1), 1, rtol=1e-5)
    alone = model.embed_molecules(["CCCCN"])
    np.testing.assert_allclose(alone[0], molecules[1], atol=1e-5)


def test_what_the_face_refuses(model, small_run):
    with pytest.raises(UserError, match="a list of molecules is wanted, not one string"):
        model.caption("CCO")
    with pytest.raises(UserError, match=r"molecule 1 .counted from 0. is empty"):
        model.caption(["CCO", " "])
    with pytest.raises(UserError, match="no decoding setting 'beems'"):
        model.caption(["CCO"], beems=3)
    with pytest.raises(UserError, match="batch_size is 0: want 1 or more"):
        model.caption(["CCO"], batch_size=0)
    with pytest.raises(UserError, match="k is 0: want 1 or more"):
        model.find_texts(["CCO"], ["An alcohol."], k=0)
    with pytest.raises(UserError, match=r"no checkpoint '7'; steps saved: 9, 12"):
        atomas_jax.load(small_run, checkpoint="7")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = atomas_jax.lode


def test_the_experiments_load():
    from atomas_jax.config import Experiment, find_experiment, from_json, to_json

    found = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
    files = [path for path in found if path.stem != "retrieval_benchmarks"]  # a script
    assert len(files) >= 3
    for path in files:
        experiment = find_experiment(str(path))
        assert isinstance(experiment, Experiment)
        assert from_json(to_json(experiment), "test") == experiment


def test_a_full_disk_is_one_line(capsys, monkeypatch):
    def full(*_) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("atomas_jax.cli.call", full)
    assert atomas(capsys, "info", "somewhere") == (2, "", "atomas info: No space left on device\n")
