"""What the user gets of the strings written: ranked by the alignment, valid, the same from wherever it starts."""

from itertools import count, islice, repeat

import numpy as np
import pytest

import atomas_jax
from atomas_jax.decoding.answers import LOT, LOTS, NOTHING, REDRAWS, Chooser
from atomas_jax.decoding.generate import Written, generate
from atomas_jax.decoding.rerank import agreement
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError


@pytest.fixture(scope="module")
def model(small_run):
    return atomas_jax.load(small_run)


def letters(inputs, numbers, settings, on_progress=None, samples=None):
    """A writer of "a", "b", "c" ... for every input, from the letter that its number, sample and seed say."""
    for _, number, sample in zip(inputs, numbers, samples or repeat(0)):
        first = number + sample + settings.seed
        places = range(first, first + settings.written)
        yield Written([[place] for place in places], [True] * len(places), [-1.0] * len(places), [-1.0] * len(places))


def chooser(method="sample", **options):
    rest = {name: options.pop(name) for name in ("accept", "agreement") if name in options}
    settings = DecodingConfig(method=method, **options)
    return Chooser(settings, letters, lambda tokens: chr(ord("a") + tokens[0] % 26), **rest)


def strings(chooser, inputs, first=0):
    return [[a.string for a in answers] for answers in chooser.answers(inputs, count(first), 2)]


def test_refused_candidates_are_replaced_by_the_next_then_by_new_draws():
    even = chooser(results=2, candidates=4, accept=lambda s: s in "acegi")
    assert strings(even, "xyz") == [["a", "c"], ["c", "e"], ["c", "e"]]
    (answers,) = even.answers("x", count(), 2)
    assert [a.replaced for a in answers] == [False, True]

    # 7 is out of reach of what was written; seed (round << 24) % 26 of the first redraw starts at letter "q"
    rare = chooser(results=1, accept=lambda s: s == "s")
    (answers,) = rare.answers("x", count(), 2)
    assert answers[0].string == "s" and answers[0].replaced


@pytest.fixture
def drawn():
    """Of every further call of `counting`: its strings, and each input's samples by number."""
    return []


@pytest.fixture
def counting(drawn):
    def write(inputs, numbers, settings, on_progress=None, samples=None):
        inputs, numbers = list(inputs), list(islice(numbers, 99))
        if samples is not None:
            drawn.append(list(zip(numbers, samples)))
            assert settings.written == LOT
        return letters(inputs, numbers, settings, samples=samples)

    return write


def test_an_input_no_draw_serves_is_told_by_an_empty_answer(counting, drawn):
    never = Chooser(DecodingConfig(), counting, lambda tokens: "x", accept=lambda string: False)
    assert list(never.answers("x", count(), 2)) == [[NOTHING._replace(tried=1 + sum(REDRAWS))]]
    assert len(drawn) == len(REDRAWS) and drawn[1] == [(0, first) for first in range(0, 64, 8)]


def test_a_budget_is_spent_and_never_more(counting, drawn):
    for budget, calls in ((1, 0), (20, 1), (65, 1), (66, 2), (140, 3)):
        drawn.clear()
        never = Chooser(DecodingConfig(), counting, lambda tokens: "x", accept=lambda string: False, budget=budget)
        ((answer,),) = never.answers("x", count(), 2)
        assert len(drawn) == calls and answer.tried == budget
    drawn.clear()
    always = Chooser(DecodingConfig(), counting, lambda tokens: "x", accept=lambda string: True, budget=300)
    assert [[a.tried for a in answers] for answers in always.answers("xy", count(), 2)] == [[1], [1]] and not drawn


def test_further_samples_have_one_shape_and_are_the_same_for_few_inputs_and_many(counting, drawn):
    """What is drawn ahead where inputs are few is neither counted nor another string."""

    def answers(inputs, first=0, **options):
        served = {"x": {"f", "k"}}
        asked = Chooser(
            DecodingConfig(method="sample", results=2), counting, lambda tokens: chr(ord("a") + tokens[0] % 26),
            accept=lambda string: string in served["x"], **options,
        )  # fmt: skip
        return list(asked.answers(inputs, count(first), 20))

    for options in ({"budget": 90}, {}):
        drawn.clear()
        together = answers("x" * 11, **options)
        assert all(len(lots) % LOTS == 0 for lots in drawn)
        alone = [answers("x", first, **options)[0] for first in range(11)]
        assert together == alone
        assert all(len({a.string for a in given} - {"f", "k"}) == 0 for given in together)
        assert len({given[0].tried for given in together}) > 1
        assert all(len(lots) % LOTS == 0 for lots in drawn)


def test_samples_are_the_same_from_wherever_they_start(model):
    def write(samples, results):
        return generate(
            model.params["transformer"], model.config.transformer,
            [model.tokenizer.encode_text("An acid.")] * len(samples),
            DecodingConfig(method="sample", results=results, max_length=8), start_id=model.tokenizer.smiles_start_id,
            numbers=[3] * len(samples), samples=samples,
        )  # fmt: skip

    (whole,) = write([0], 4)
    parts = [tokens for written in write([2, 0], 2) for tokens in written.tokens]
    assert parts[2:] + parts[:2] == whole.tokens and len(set(map(tuple, whole.tokens))) > 1


def test_redraws_of_distinct_answers_stay_distinct():
    (answers,) = chooser("distinct", results=3, accept=lambda s: s in "qrs").answers("x", count(), 2)
    assert sorted(a.string for a in answers) == ["q", "r", "s"]


def test_distinct_answers_are_distinct_strings():
    """Two sequences of tokens may spell one string."""
    twice = Chooser(
        DecodingConfig(method="distinct", results=3),
        letters,
        lambda tokens: "aab"[tokens[0] % 3],
        accept=lambda s: True,
    )
    (answers,) = twice.answers("x", count(), 2)
    assert [a.string for a in answers] == ["a", "b"] and [a.replaced for a in answers] == [False, False]


def test_further_samples_of_more_and_more_inputs_are_drawn_together(counting, drawn):
    none = Chooser(DecodingConfig(), counting, lambda tokens: "x", accept=lambda string: False)
    assert len([*none.answers("x" * 7, count(), 1, largest=4)]) == 7
    rounds = [{number for number, _ in lots} for lots in drawn]
    assert [*dict.fromkeys(map(tuple, map(sorted, rounds)))] == [(0,), (1, 2), (3, 4, 5, 6)]


def test_candidates_are_ranked_by_agreement():
    def late(pairs):
        return np.array([ord(string) for _, string in pairs], np.float32)

    ranked = chooser(results=2, candidates=5, agreement=late)
    assert strings(ranked, "xy") == [["e", "d"], ["f", "e"]]
    assert strings(ranked, "y", first=1) == [["f", "e"]]


def test_long_lists_are_read_as_answers_are_taken():
    stream = chooser(results=1).answers((str(i) for i in count()), count(), 3)
    assert [next(stream)[0].string for _ in range(5)] == list("abcde")


@pytest.mark.parametrize("by", ["global", "tokens"])
def test_agreement_of_a_pair_does_not_depend_on_its_neighbours(model, by):
    smiles = [model.tokenizer.encode_smiles(s) for s in ("CCO", "CCCCN", "CC(=O)O")]
    texts = [model.tokenizer.encode_text(t) for t in ("An alcohol.", "An amine with 4 carbon atoms.", "An acid.")]
    together = agreement(model.params, model.config, smiles, texts, by)
    alone = [agreement(model.params, model.config, [s], [t], by)[0] for s, t in zip(smiles, texts)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    if by == "global":
        molecules = model.embed_molecules(["CCO", "CCCCN", "CC(=O)O"])
        words = model.embed_text(["An alcohol.", "An amine with 4 carbon atoms.", "An acid."])
        np.testing.assert_allclose(together, (molecules * words).sum(1), atol=1e-5)


def test_the_face_gives_log_probabilities_valid_molecules_and_a_list_in_parts(model):
    texts = ["An amine.", "An alcohol with 2 carbon atoms.", "An acid."]
    sampled = {"method": "sample", "results": 2, "top_p": 0.9, "seed": 3, "batch_size": 2}
    whole = list(model.answers("generate", texts, **sampled))
    rest = list(model.answers("generate", texts[1:], numbers=count(1), **sampled))
    assert [[a.string for a in answers] for answers in whole[1:]] == [[a.string for a in answers] for answers in rest]
    from atomas_jax.chemistry.molecules import is_valid

    assert all(a.string and is_valid(a.string) for answers in whole for a in answers)
    ranked = list(model.answers("generate", texts, method="beam", beams=4, results=2, rerank="tokens"))
    assert all(answers[0].score >= answers[-1].score for answers in ranked)
    assert all(a.log_probability < 0 for answers in ranked for a in answers)
    with pytest.raises(UserError, match="rerank 'most' is not known"):
        model.generate(texts, rerank="most")


def test_further_rounds_go_from_the_settings_to_all_that_is_allowed():
    rounds = []

    def recording(inputs, numbers, settings, on_progress=None, samples=None):
        rounds.append(settings)
        return letters(inputs, numbers, settings)

    bold = DecodingConfig(method="sample", temperature=0.5, top_k=3, top_p=0.5, min_p=0.1, constrained=False)
    list(Chooser(bold, recording, lambda tokens: "x", accept=lambda string: False).answers("x", count(), 2))
    assert [settings.constrained for settings in rounds] == [False, True, True, True]
    assert [settings.temperature for settings in rounds[:3]] == [0.5, 0.5, 1.0] and rounds[3].temperature > 100
    assert [settings.top_k for settings in rounds] == [3, 3, 0, 0]
    rounds.clear()
    list(Chooser(bold, recording, lambda tokens: "x", accept=lambda string: False, budget=200).answers("x", count(), 2))
    assert {settings.temperature for settings in rounds} == {0.5}, "steering asks for the model's own"


def test_on_a_budget_an_input_is_done_when_its_answers_are_there():
    told, served = [], iter("xxxxyyyy")
    asked = Chooser(
        DecodingConfig(), letters, lambda tokens: "x", accept=lambda string: next(served, "y") == "y", budget=20
    )
    for answers in asked.answers("abc", count(), 3, on_progress=told.append):
        assert sum(told) == 3 and answers[0].string == "x"
    assert told[0] == 0 and max(told) == 1, "one after the other"
