"""The command and the Python face, as a user meets them."""

import json
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
    program = f"import sys, atomas_jax, atomas_jax.cli; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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
        (["fly"], "no command 'fly': choose one of prepare, train"),
        (["train"], "Missing from atomas train"),
        (["train", "gigantic"], "no experiment 'gigantic': name a Python file"),
        (["train", "tiny", "--training.stepps", "3"], "--training.stepps"),
        (["train", "tiny", "--training.steps", "many"], "--training.steps: invalid literal for int"),
        (["train", "tiny", "--corpus", "nowhere"], "nowhere"),
        (["train", "tiny", "--objectives.language", "-1"], "objective.language = -1.0 is negative"),
        (["caption", "nowhere", "C"], "no run folder at nowhere"),
        (["caption", "."], "inputs"),
        (["evaluate", "nowhere"], "no run folder at nowhere"),
        (["info", "nowhere"], "nowhere is no run folder, prepared corpus or tokenizer"),
        (["tokenizer", "chek"], "no subcommand 'chek': choose train or check"),
        (["tokenizer", "check", "nowhere.tsv"], "nowhere.tsv"),
        (["prepare", "tiny", "--sources", "nowhere.tsv"], "nowhere.tsv"),
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
    import shutil

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


def test_a_file_that_is_no_experiment_is_one_line(capsys, tmp_path):
    for text, told in (
        ("x = 1", "defines no `experiment"),
        ("import nothing_of_that_name", "cannot be read as an experiment"),
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
    code, out, _ = atomas(
        capsys, "generate", small_run, "An alcohol.", "--method", "sample", "--results", "3", "--seed", "7"
    )
    assert code == 0
    assert len(out.splitlines()) == 3
    again = atomas(capsys, "generate", small_run, "An alcohol.", "--method", "sample", "--results", "3", "--seed", "7")
    assert again[1] == out


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
    assert "100" in out


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
    with pytest.raises(UserError, match=r"no checkpoint '7'; steps saved: 9, 12"):
        atomas_jax.load(small_run, checkpoint="7")
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = atomas_jax.lode


def test_the_experiments_load():
    from atomas_jax.config import Experiment, find_experiment, from_json, to_json

    files = sorted((Path(__file__).parents[1] / "experiments").glob("*.py"))
    assert len(files) >= 3
    for path in files:
        experiment = find_experiment(str(path))
        assert isinstance(experiment, Experiment)
        assert from_json(to_json(experiment), "test") == experiment
