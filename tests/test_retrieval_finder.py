"""Questions to an index: conditions, twins, texts not wanted, reranking, several runs, what is shown."""

import json

import numpy as np
import pytest
from small_index import ASPIRIN, D_ALANINE, L_ALANINE, make_index, untrained, write_library

from atomas_jax.chemistry.molecules import canonical_smiles, identity
from atomas_jax.errors import UserError
from atomas_jax.retrieval import showing
from atomas_jax.retrieval.conditions import conditions
from atomas_jax.retrieval.ensemble import find_together
from atomas_jax.retrieval.finder import AGAINST, Finder, Question, SearchSettings

ACID = Question("an acid of carbon")


@pytest.fixture(scope="module")
def model():
    return untrained()


@pytest.fixture(scope="module")
def index(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finder")
    return make_index(folder / "index", model, write_library(folder / "library.tsv"))[0]


@pytest.fixture(scope="module")
def finder(index, model):
    return Finder(index, model)


def found(answer) -> list[str]:
    return [hit.row["id"] for hit in answer.hits]


def test_hits_stand_in_the_order_of_cosines_with_stereo_twins_as_one(finder, model):
    (answer,) = finder.find([ACID])
    assert len(answer.hits) == 7  # eight molecules, two of them twins
    (vector,) = model.embed_text([ACID.text])
    every = {hit.row["id"]: hit for hit in answer.hits}
    for hit in answer.hits:
        assert hit.score == pytest.approx(float(model.embed_molecules([hit.row["canonical"]])[0] @ vector), abs=1e-5)
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)
    (twin,) = [hit for hit in every.values() if hit.twins]
    assert {twin.row["canonical"], *twin.twins} == {canonical_smiles(L_ALANINE), canonical_smiles(D_ALANINE)}
    (apart,) = finder.find([ACID], SearchSettings(twins=True))
    assert len(apart.hits) == 8 and not any(hit.twins for hit in apart.hits)


def test_k_hits_come_though_twins_share_one(finder):
    for k in range(1, 8):
        (answer,) = finder.find([ACID], SearchSettings(k=k))
        assert len(answer.hits) == k
        assert found(answer) == found(finder.find([ACID])[0])[:k]


@pytest.mark.parametrize(
    "asked, left",
    [
        ({"where": ["weight<46"]}, {"ethylamine"}),
        ({"where": ["weight >= 46", "weight<=60"]}, {"ethanol", "acetate"}),
        ({"where": ["charge=-1"]}, {"acetate"}),
        ({"where": ["charge!=0"]}, {"acetate"}),
        ({"where": ["formula=H8O4C9"]}, {"aspirin"}),
        ({"where": ["activity>5"]}, {"aspirin", "ethylamine"}),
        ({"where": ["id~ALAN"]}, {"L-alanine", "D-alanine"}),
        ({"where": ["activity=four"]}, {"benzene"}),
        ({"where": ["logp>3"]}, set()),
        ({"require_smarts": ["c1ccccc1"], "forbid_smarts": ["C(=O)O"]}, {"benzene"}),
        (
            {"require_smarts": ["[CX3](=O)[OX1H0-,OX2H1]"], "where": ["weight<100"]},
            {"acetate", "L-alanine", "D-alanine"},
        ),
    ],
)
def test_conditions_hold_before_ranking(finder, index, asked, left):
    everything = found(finder.find([ACID], SearchSettings(twins=True))[0])
    (answer,) = finder.find([ACID], SearchSettings(k=2, twins=True), conditions(index, **asked))
    assert found(answer) == [name for name in everything if name in left][:2]
    assert answer.nothing == (not left)


@pytest.mark.parametrize(
    "asked, why",
    [
        ({"where": ["weight"]}, "cannot be read"),
        ({"where": ["colour=red"]}, "no column 'colour'; it has .*activity"),
        ({"where": ["weight<heavy"]}, "'heavy' is no number"),
        ({"where": ["formula=X!"]}, "formula 'X!' cannot be read"),
        ({"require_smarts": ["C("]}, "is no SMARTS"),
    ],
)
def test_conditions_that_cannot_be_read(index, asked, why):
    with pytest.raises(UserError, match=why):
        conditions(index, **asked)


def test_a_molecule_in_any_spelling_finds_itself_and_its_similarity(finder):
    (answer,) = finder.find([Question(smiles="OC(=O)c1ccccc1OC(C)=O")], SearchSettings(k=3))
    assert found(answer)[0] == "aspirin" and answer.hits[0].score == pytest.approx(1, abs=1e-5)
    assert answer.hits[0].similarity == 1 > answer.hits[1].similarity
    (compared,) = finder.find([ACID], similar_to=ASPIRIN)
    assert {hit.row["id"]: hit.similarity for hit in compared.hits}["aspirin"] == 1


def test_a_text_that_is_not_wanted_is_taken_off(finder, model):
    unwanted = "an amine or alcohol"
    (answer,) = finder.find([Question(ACID.text, but_not=(unwanted,))], SearchSettings(twins=True))
    asked, against = model.embed_text([ACID.text, unwanted])
    vectors = model.embed_molecules([hit.row["canonical"] for hit in answer.hits])
    wanted = vectors @ (asked - AGAINST * against)
    assert (np.diff(wanted) < 1e-6).all()
    plain = finder.find([ACID], SearchSettings(twins=True))[0]
    assert max(hit.cosine for hit in answer.hits) == pytest.approx(plain.hits[0].score, abs=1e-5)


def test_the_second_stage_ranks_by_the_mean_of_cosine_and_interaction(finder, model):
    from atomas_jax.decoding.rerank import agreement

    (answer,) = finder.find([ACID], SearchSettings(k=3, rerank=7))
    (first,) = finder.find([ACID], SearchSettings(k=7))
    tokens = [model.tokenizer.encode_smiles(hit.row["canonical"]) for hit in first.hits]
    text = [model.tokenizer.encode_text(ACID.text)] * len(tokens)
    agree = agreement(model.params, model.config, tokens, text, by="tokens")
    scores = 0.5 * np.array([hit.cosine for hit in first.hits]) + 0.5 * agree
    order = np.argsort(-scores, kind="stable")[:3]
    assert found(answer) == [found(first)[i] for i in order]
    np.testing.assert_allclose([hit.score for hit in answer.hits], scores[order], atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_second_stage_ranks_as_many_as_asked_and_leaves_the_rest_behind_them(finder, count):
    plain = found(finder.find([ACID], SearchSettings(k=6))[0])
    leading = found(finder.find([ACID], SearchSettings(k=count, rerank=count))[0])
    assert found(finder.find([ACID], SearchSettings(k=6, rerank=count))[0]) == leading + plain[count:]
    assert sorted(leading) == sorted(plain[:count])


def test_several_runs_are_asked_by_the_sum_of_their_ranks(finder, tmp_path):
    other = untrained(seed=1)
    rows = [("CCO", "a", ""), (ASPIRIN, "b", ""), ("c1ccccc1", "c", ""), ("CCCCCC", "d", ""), ("CCCC", "e", "")]
    second = Finder(make_index(tmp_path / "index", other, write_library(tmp_path / "l.tsv", rows))[0], other)
    (answer,) = find_together([finder, second], [ACID])
    ranks = {}
    for each in (finder, second):
        keys = [hit.row["key"] for hit in each.find([ACID])[0].hits]
        shared = [key for key in keys if key in {identity(smiles).key for smiles, *_ in rows[:4]}]
        for rank, key in enumerate(shared, 1):
            ranks[key] = ranks.get(key, 0) + rank
    assert {hit.row["key"]: -hit.score for hit in answer.hits} == ranks
    assert [-hit.score for hit in answer.hits] == sorted(ranks.values())
    with pytest.raises(UserError, match="no molecule in common"):
        find_together([finder, second], [ACID], conditions=conditions(finder.index, ["id=hexane", "id=ethanol"]))


@pytest.fixture(scope="module")
def pair_of_finders(model, tmp_path_factory):
    """Two runs that know the same molecules, half of them stereo twins."""
    folder = tmp_path_factory.mktemp("pair")
    acids = [f"{side}[{mark}H](N)C(=O)O" for side in ("C", "CC", "CCC", "OC", "CSCC") for mark in ("C@", "C@@")]
    rows = [(smiles, str(i), "") for i, smiles in enumerate([*acids, "CCO", "CCCCO", "c1ccccc1", "CCN", ASPIRIN])]
    library = write_library(folder / "library.tsv", rows)
    runs = {name: untrained(seed) if seed else model for seed, name in enumerate(("one", "other"))}
    return [Finder(make_index(folder / name, run, library)[0], run) for name, run in runs.items()]


@pytest.mark.parametrize("asked", [{}, {"require_smarts": ["C(=O)[OH]"]}, {"forbid_smarts": ["N"]}])
@pytest.mark.parametrize("twins", [False, True])
def test_few_hits_of_several_runs_are_the_first_of_all(pair_of_finders, twins, asked):
    questions = [ACID, Question("an amine or alcohol"), Question(smiles="CCO")]
    shown = lambda hits: [(hit.number, hit.score, hit.twins) for hit in hits]  # noqa: E731
    index = pair_of_finders[0].index
    every = find_together(pair_of_finders, questions, SearchSettings(k=100, twins=twins), conditions(index, **asked))
    for k in (1, 2, 3, 6):
        few = find_together(pair_of_finders, questions, SearchSettings(k=k, twins=twins), conditions(index, **asked))
        assert [shown(answer.hits) for answer in few] == [shown(answer.hits[:k]) for answer in every]


def test_a_structure_is_looked_for_in_no_more_molecules_than_the_hits_need(pair_of_finders):
    wanted = conditions(pair_of_finders[0].index, require_smarts=["C"])
    find_together(pair_of_finders, [ACID], SearchSettings(k=2), wanted)
    assert 2 <= len(wanted.passed) <= 4  # two hits and their twins


@pytest.mark.parametrize(
    "words, why",
    [
        ({}, "empty"),
        ({"text": "  "}, "empty"),
        ({"text": "x" * 100_000}, "100,000 characters; at most 10,000"),
        ({"text": "an acid", "smiles": "C"}, "both"),
        ({"text": "an acid", "but_not": ("",)}, "not wanted is empty"),
    ],
)
def test_questions_that_are_none(words, why):
    with pytest.raises(UserError, match=why):
        Question(**words)
    for settings in ({"k": 0}, {"k": 10**6}, {"rerank": -1}):
        with pytest.raises(UserError, match="want"):
            SearchSettings(**settings)


def test_what_is_shown_is_what_was_found(finder):
    answers = finder.find([ACID, Question(smiles="CCO")], SearchSettings(k=2))
    answers += finder.find([Question("nothing\there")], conditions=conditions(finder.index, ["weight>9999"]))
    header, *lines = (line.split("\t") for line in showing.as_lines(answers, ["activity"]))
    assert [line[header.index("rank")] for line in lines] == ["1", "2", "1", "2", "0"]
    assert lines[2][header.index("id")] == "ethanol" and lines[2][header.index("activity")] == "1"
    assert lines[4][:3] == ["nothing here", "0", showing.NOTHING] and len(lines[4]) == len(header)
    values = json.loads(showing.as_json(answers, ["activity"]))
    assert [value["nothing_matches"] for value in values] == [False, False, True]
    assert values[1]["hits"][0]["columns"] == {"activity": "1"}
    page = showing.as_page(answers, ["activity"], "a <library>")
    assert page.count("<svg") == 4 and "a &lt;library&gt;" in page and showing.NOTHING in page
