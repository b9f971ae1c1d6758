"""Long lists on the command line: streaming, a column of scores, and a killed command that the same one finishes."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from atomas_jax.cli import main
from atomas_jax.commands.continued import ContinuedOutput
from atomas_jax.commands.lines import arriving
from atomas_jax.errors import UserError
from atomas_jax.trained import TrainedModel

SAMPLED = ["--method", "sample", "--results", "2", "--seed", "5", "--batch-size", "2"]


def atomas(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "molecules.smi"
    path.write_text("".join(f"{'C' * n}O\n" for n in range(1, 10)))
    return path


def test_a_stopped_command_is_finished_by_the_same_one(capsys, small_run, listed, tmp_path, monkeypatch):
    whole, parts = tmp_path / "whole.tsv", tmp_path / "parts.tsv"
    code, _, err = atomas(capsys, "caption", small_run, "--file", listed, "--out", whole, *SAMPLED, "--scores")
    assert code == 0, err
    assert len(whole.read_text().splitlines()) == 18
    for line in whole.read_text().splitlines():
        molecule, _, log_probability = line.split("\t")
        assert molecule in listed.read_text().split() and float(log_probability) < 0

    command = ["caption", small_run, "--file", listed, "--out", parts, *SAMPLED, "--scores"]
    begun = TrainedModel.answers

    def stopped(*arguments, **settings):
        for number, answers in enumerate(begun(*arguments, **settings)):
            if number == 5:
                raise KeyboardInterrupt
            yield answers

    with monkeypatch.context() as patch:
        patch.setattr(TrainedModel, "answers", stopped)
        assert atomas(capsys, *command)[0] == 130
    assert not parts.exists()
    partial = tmp_path / "parts.tsv.partial"
    assert whole.read_text().startswith(partial.read_text()) and len(partial.read_text().splitlines()) == 10
    with partial.open("a") as stream:
        stream.write("half a li")  # what a killed process may have written behind its last note

    code, _, err = atomas(capsys, *command[:-1], "--seed", "6")
    assert (code, err.count("\n")) == (2, 1)
    assert "was begun with" in err and "delete it to start anew" in err
    text = listed.read_text()
    listed.write_text("N" + text)
    code, _, err = atomas(capsys, *command)
    assert (code, err.count("\n")) == (2, 1)
    assert "was begun on other inputs" in err
    listed.write_text(text)

    written = []
    monkeypatch.setattr(
        TrainedModel, "answers", lambda *a, first, **s: written.append(first) or begun(*a, first=first, **s)
    )
    code, _, err = atomas(capsys, *command)
    assert code == 0 and "continuing" in err
    assert written == [5]
    assert parts.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["molecules.smi", "parts.tsv", "whole.tsv"]


def test_a_note_and_its_lines_outlive_a_killed_process(tmp_path):
    out = tmp_path / "x.tsv"
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
import atomas_jax.commands.continued as continued
continued._SECONDS = -1
with continued.ContinuedOutput(Path({str(out)!r}), {{"seed": 1}}) as output:
    for number in range(4):
        output.counts["kept"] = number + 1
        output.write(str(number), [f"{{number}} a", f"{{number}} b"])
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    with ContinuedOutput(out, {"seed": 1}) as output:
        rest = output.skip(iter("012345"))
        assert output.done == 4 and output.counts == {"kept": 4}
        for string in rest:
            output.write(string, [f"{string} a", f"{string} b"])
    assert out.read_text() == "".join(f"{n} {letter}\n" for n in range(6) for letter in "ab")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tsv"]


def test_a_damaged_note_is_told(tmp_path):
    (tmp_path / "x.partial").write_text("")
    (tmp_path / "x.partial.json").write_text(json.dumps({"header": {}}))
    with pytest.raises(UserError, match="is damaged: delete it"):
        ContinuedOutput(tmp_path / "x", {})


def test_an_endless_standard_input_gives_results_at_once(small_run):
    """The pipe stays open: what is printed comes before the input ends."""
    arguments = ["caption", str(small_run), "--file", "-"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    program = f"from atomas_jax.cli import main; main({arguments!r})"
    process = subprocess.Popen([sys.executable, "-c", program], text=True, cwd=Path(__file__).parents[1], **pipes)
    process.stdin.write("CCO\nCCN\n")
    process.stdin.flush()
    assert process.stdout.readline().startswith("CCO\t")
    assert process.stdout.readline().startswith("CCN\t")
    process.stdin.write("C\n")
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out.startswith("C\t") and len(out.splitlines()) == 1


def test_what_has_arrived_is_answered_and_an_error_comes_behind_it():
    go_on = threading.Event()

    def lines():
        yield from "abc"
        assert go_on.wait(10)
        yield from "defghi"
        raise UserError("line 10 is no text")

    groups = arriving(lines(), 4)
    assert next(groups) == ["a", "b", "c"], "the fourth has not come"
    go_on.set()
    assert [next(groups), next(groups)] == [list("defg"), list("hi")]
    with pytest.raises(UserError, match="line 10"):
        next(groups)


def test_lines_that_are_no_text_are_named(capsys, small_run, tmp_path):
    bad = tmp_path / "bad.smi"
    bad.write_bytes(b"CCO\n\xff\xfe\n")
    code, _, err = atomas(capsys, "caption", small_run, "--file", bad)
    assert (code, err.count("\n")) == (2, 1)
    assert "line 2" in err
