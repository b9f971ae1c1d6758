"""Long lists on the command line: streaming, a column of scores, and a killed command that the same one finishes."""

import gzip
import json
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest

from atomas_jax import progress
from atomas_jax.cli import main
from atomas_jax.commands import rewriting
from atomas_jax.commands.continued import ContinuedOutput
from atomas_jax.commands.lines import Line, arriving, count_lines, read_lines
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
        TrainedModel,
        "answers",
        lambda *a, numbers, **s: written.append(str(numbers)) or begun(*a, numbers=numbers, **s),
    )
    code, _, err = atomas(capsys, *command)
    assert code == 0 and "continuing" in err
    assert written == ["count(5)"]
    assert parts.read_text() == whole.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["molecules.smi", "parts.tsv", "whole.tsv"]


def test_a_note_and_its_lines_outlive_a_killed_process(tmp_path):
    out = tmp_path / "x.tsv"
    program = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from pathlib import Path
import atomas_jax.commands.continued as continued
from atomas_jax.commands.lines import Line
continued._SECONDS = -1
with continued.ContinuedOutput(Path({str(out)!r}), {{"seed": 1}}) as output:
    for number in range(4):
        output.write(Line(number + 1, str(number)), [f"{{number}} a", f"{{number}} b"], {{"kept": 1}})
        output.refuse(Line(number + 1, "x", "no number"), "list", "x\t")
    os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    with ContinuedOutput(out, {"seed": 1}) as output:
        rest = output.skip(Line(number, string) for number, string in enumerate("0x1x2x3x45", 1))
        assert output.done == 8 and output.counts == {"kept": 4, "refused": 4}
        for line in rest:
            output.write(line, [f"{line.string} a", f"{line.string} b"], {})
    written = "".join(f"{n} a\n{n} b\nx\t\n" for n in range(4)) + "".join(f"{n} a\n{n} b\n" for n in "45")
    assert out.read_text() == written
    rejects = tmp_path / "x.tsv.rejects.jsonl"
    assert [json.loads(line)["why"] for line in rejects.read_text().splitlines()] == ["no number"] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tsv", rejects.name]


def test_a_burst_of_lines_is_noted_before_the_next_second(tmp_path):
    lines = [Line(number, str(number)) for number in range(1, 201)]
    with pytest.raises(MemoryError), ContinuedOutput(tmp_path / "x", {}) as output:
        for line in lines:
            output.write(line, [line.string], {"kept": 1})
        kept = (tmp_path / "x.partial.json").read_text(), (tmp_path / "x.partial").read_bytes()
        raise MemoryError
    (tmp_path / "x.partial.json").write_text(kept[0])  # as a killed process leaves them
    (tmp_path / "x.partial").write_bytes(kept[1])
    with ContinuedOutput(tmp_path / "x", {}) as output:
        rest = [*output.skip(iter(lines))]
        assert 0 < len(rest) <= 16 and output.counts == {"kept": 200 - len(rest)}
        for line in rest:
            output.write(line, [line.string], {"kept": 1})
    assert (tmp_path / "x").read_text().split() == [line.string for line in lines]


def test_a_line_that_is_stopped_half_way_is_written_again(tmp_path, monkeypatch):
    lines, out = [Line(number, str(number)) for number in range(1, 5)], tmp_path / "x"

    def stop(text):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ContinuedOutput(out, {}) as output:
        for line in lines[:2]:
            output.write(line, [line.string], {})
            output._write_note()
        monkeypatch.setattr(output._lines, "write", stop)
        output.write(lines[2], ["3"], {})
    with ContinuedOutput(out, {}) as output:
        rest = [*output.skip(iter(lines))]
        assert rest == lines[2:]
        for line in rest:
            output.write(line, [line.string], {})
    assert out.read_text().split() == ["1", "2", "3", "4"]


def test_molecules_that_are_not_found_are_told_without_steering(capsys, small_run, monkeypatch):
    begun = TrainedModel.answers
    monkeypatch.setattr(TrainedModel, "answers", lambda *a, **s: (answers[:1] for answers in begun(*a, **s)))
    code, out, err = atomas(capsys, "generate", small_run, "An acid.", *SAMPLED)
    assert code == 0 and len(out.splitlines()) == 1
    assert "of 2 answers" in err and "1 are missing" in err


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


def test_many_refused_lines_do_not_wait_for_the_next_good_one(small_run, tmp_path, monkeypatch):
    read, written = [], []

    def endless():
        yield from (Line(number, "CCO" if number in (3, 500) else "C1CC") for number in range(1, 1_000))
        yield from (Line(number, "C1CC") for number in count(1_000))

    class Output:
        done, counts = 0, {}

        def __init__(self, out, header):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def skip(self, lines):
            return (read.append(line.number) or line for line in lines)

        def write(self, line, lines, counts):
            written.append(line.number)
            if len(written) == 2_000:
                raise KeyboardInterrupt

        def refuse(self, line, file, written_as):
            assert read[-1] - line.number <= 32
            self.write(line, [], {})

    monkeypatch.setattr(rewriting, "FAULTS", 16)
    monkeypatch.setattr(rewriting, "ContinuedOutput", Output)
    monkeypatch.setattr(rewriting, "any_lines", lambda *arguments: endless())
    monkeypatch.setattr(rewriting, "count_lines", lambda *arguments: 2_000)
    with pytest.raises(KeyboardInterrupt):
        rewriting.caption(small_run, file=tmp_path / "endless.smi")
    assert written == list(range(1, 2_001))


def test_refused_lines_keep_their_place_and_are_told(capsys, small_run, tmp_path):
    bad, out = tmp_path / "bad.smi", tmp_path / "out.tsv"
    bad.write_bytes(b"CCO\tethanol\nC1\tCC\n\n\xff\xfe\nCCN\n" + b"C" * 9000 + b"\n")
    code, _, err = atomas(capsys, "caption", small_run, "--file", bad, "--out", out, *SAMPLED, "--scores")
    assert code == 0 and f"3 inputs were refused: see {out}.rejects.jsonl" in err
    lines = [line.split("\t") for line in out.read_text().splitlines()]
    assert [name for name, *_ in lines] == ["CCO ethanol"] * 2 + ["C1 CC", "\\xff\\xfe", "CCN", "CCN", "C" * 9000]
    assert {len(line) for line in lines} == {3}
    assert [line for line, (_, caption, _) in enumerate(lines, 1) if not caption] == [3, 4, 7]
    assert [line for line, (*_, score) in enumerate(lines, 1) if not score] == [3, 4, 7]
    rejects = [json.loads(line) for line in Path(f"{out}.rejects.jsonl").read_text().splitlines()]
    assert [reject["line"] for reject in rejects] == [2, 4, 6]
    assert "utf-8" in rejects[1]["why"] and "9,000 characters" in rejects[2]["why"]
    # what is refused takes no random numbers from what is not
    bad.write_text("CCO\nCCN\n")
    assert atomas(capsys, "caption", small_run, "--file", bad, "--out", out, *SAMPLED)[0] == 0
    assert [line.split("\t")[1] for line in out.read_text().splitlines()] == [c for _, c, _ in lines if c]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.smi", "out.tsv"]


def test_distinct_answers_all_differ_and_come_again(capsys, small_run):
    command = ["caption", small_run, "CCO", "--method", "distinct", "--results", "3", "--max-length", "16", "--scores"]
    code, out, err = atomas(capsys, *command)
    assert code == 0, err
    assert len({line.split("\t")[1] for line in out.splitlines()}) == 3
    assert atomas(capsys, *command)[1] == out


def test_a_refused_argument_ends_the_command(capsys, small_run):
    for string, said in (("C1CC", "not valid SMILES syntax"), (" ", "an input is empty")):
        code, out, err = atomas(capsys, "caption", small_run, "CCO", string)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err


def test_a_log_is_told_the_end_once(capsys, monkeypatch):
    monkeypatch.setattr(progress.time, "monotonic", count(0, 20).__next__)
    with progress.bar("write", 2, "strings") as bar:
        bar.advance()
        bar.advance()
    assert [line[:21] for line in capsys.readouterr().err.splitlines()] == [
        "write: 1 of 2 strings",
        "write: 2 of 2 strings",
    ]


def test_lists_may_be_compressed_and_a_damaged_one_is_told(tmp_path):
    listed = tmp_path / "list.smi.gz"
    listed.write_bytes(gzip.compress(b"CCO\n\nCCN\n"))
    assert list(read_lines((), listed, "molecules")) == [(1, "CCO"), (3, "CCN")]
    assert count_lines((), listed) == 2
    listed.write_bytes(listed.read_bytes()[:-9])
    assert count_lines((), listed) is None
    with pytest.raises(UserError, match=r"list\.smi\.gz cannot be read: Compressed file ended"):
        list(read_lines((), listed, "molecules"))
