"""Steering: prefixes, conditions and budgets on the command line and in Python; one line for what cannot be read."""

import sys
import warnings

import pytest

import atomas_jax
from atomas_jax.chemistry.filters import molecule_filter
from atomas_jax.cli import main
from atomas_jax.decoding.steering import Steering
from atomas_jax.errors import UserError

SAMPLED = ["--method", "sample", "--results", "2", "--max-length", "20", "--constrained", "True"]


@pytest.fixture(scope="module")
def model(small_run):
    return atomas_jax.load(small_run)


def atomas(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return stop.value.code, printed.out, printed.err


def test_every_answer_meets_what_is_asked_and_begins_with_the_prefix(model):
    steering = Steering(forbid_smarts=("N",), weight="30:400", prefix="CC(", budget=200)
    sampled = {"method": "sample", "results": 2, "max_length": 20, "constrained": True}  # as `SAMPLED`: few programs
    given = [
        answers
        for number, text in enumerate(["An alcohol.", "An acid."])
        for answers in model.answers("generate", [text], numbers=[number], steering=steering, **sampled)
    ]
    asked = molecule_filter(forbid_smarts=["N"], weight="30:400")
    strings = [answer.string for answers in given for answer in answers if answer.string]
    assert strings and all(asked.accepts(string) and string.startswith("CC(") for string in strings)
    assert all(2 <= answer.tried <= 200 for answers in given for answer in answers)


def test_the_prefix_holds_for_strings_that_all_differ(model):
    """The other methods are in test_decoding_constraint."""
    settings = {"method": "distinct", "results": 2, "valid": False, "max_length": 20}
    (answers,) = model.generate(["An acid."], steering=Steering(prefix="CC("), **settings)
    assert len(set(answers)) == 2 and all(answer.startswith("CC(") for answer in answers)


def test_the_command_tells_what_it_took(capsys, small_run):
    command = ["generate", small_run, "An alcohol.", *SAMPLED]
    code, out, err = atomas(capsys, *command, "--prefix", "CC", "--weight", ":10000")
    assert code == 0, err
    assert [line.split("\t")[1][:2] for line in out.splitlines()] == ["CC", "CC"]
    assert "strings tried for 2 answers" in err
    code, out, err = atomas(capsys, *command, "--formula", "U9", "--budget", "5", "--prefix", "C")
    assert code == 0, err
    assert out == "An alcohol.\t\n"
    assert "2 are missing" in err and "5 strings tried for 2 answers" in err


@pytest.mark.parametrize(
    "option, value, said",
    [
        ("--require-smarts", "[C", "no SMARTS"),
        ("--forbid-smarts", "((", "no SMARTS"),
        ("--formula", "9H", "formula '9H' cannot be read"),
        ("--weight", "500:200", "no range"),
        ("--keep", "c1cc", "fragment to keep is no molecule"),
        ("--budget", "0", "budget is 0"),
        ("--prefix", "C C", "no beginning of a SMILES"),
        ("--prefix", "XYZ", "no beginning of a SMILES"),
        ("--prefix", "CC)", "no beginning of a SMILES"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(capsys, small_run, option, value, said):
    code, out, err = atomas(capsys, "generate", small_run, "An alcohol.", option, value)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert said in err


@pytest.mark.parametrize("prefix", ["C[C@", "C[", "[N+", "[13"])
def test_a_bracket_that_a_prefix_leaves_open_is_closed(model, prefix):
    steering = Steering(prefix=prefix, budget=40)
    (answers,) = model.generate(["An acid."], steering=steering, method="sample", results=2, max_length=32)
    assert len(answers) == 2 and all(a.startswith(prefix) and "]" in a[len(prefix) :] for a in answers)
    assert all(molecule_filter().accepts(answer) for answer in answers)


def test_a_budget_and_a_length_that_serve_nothing_are_refused(model):
    with pytest.raises(UserError, match="budget is 3, 5 strings are written at first"):
        model.generate(["An acid."], steering=Steering(budget=3), method="beam")
    with pytest.raises(UserError, match="max_length leaves 10 tokens, 12 are kept"):
        model.generate(["An acid."], max_length=12, steering=Steering(prefix="CC"))
    for prefix, piece in (("C[#6", "#"), ("C[CH2:1]", ":")):
        with pytest.raises(UserError, match=f"the prefix holds '{piece}', which the constraint never writes"):
            model.generate(["An acid."], steering=Steering(prefix=prefix), max_length=32)


def test_captions_take_no_steering(model):
    with pytest.raises(UserError, match="steering is for molecules"):
        list(model.answers("caption", ["CCO"], steering=Steering(prefix="CC")))
    with pytest.raises(UserError, match="keep is one string"):
        Steering(keep="c1ccccc1")


def test_without_rdkit_one_warning_and_conditions_are_refused(model, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("atomas_jax.chemistry.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.generate(["An acid."] * 3, batch_size=1, max_length=16)
    assert [str(w.message) for w in caught if "not checked" in str(w.message)] == [
        "molecules are not checked: rdkit is not installed"
    ]
    with pytest.raises(UserError, match="conditions on molecules need rdkit"):
        model.generate(["An acid."], steering=Steering(formula="CH4"))
