"""What a cosine is worth, and approximate search beside exact."""

import numpy as np
import pytest
from small_index import ASPIRIN, make_index, untrained, write_library

from atomas_jax.errors import UserError
from atomas_jax.retrieval import approximate, calibration
from atomas_jax.retrieval import finder as finder_module
from atomas_jax.retrieval.calibration import calibrate, calibration_of, fit_curve, recalibrate
from atomas_jax.retrieval.conditions import conditions
from atomas_jax.retrieval.finder import Finder, Question, SearchSettings
from atomas_jax.retrieval.index import Index, writing
from atomas_jax.retrieval.search import nearest


def test_probabilities_are_frequencies():
    """Cosines whose true odds are known: the curve finds the slope, and what it says happens as often as it says."""
    generator = np.random.default_rng(0)
    own, others = generator.normal(0.6, 0.1, 4000), generator.normal(0.3, 0.1, (4000, 10))
    others = -np.sort(-others, axis=1)
    fit = fit_curve(own, others)
    assert fit.pairs == 4000 and fit.error < 0.03
    fresh = generator.normal(0.6, 0.1, 4000), -np.sort(-generator.normal(0.3, 0.1, (4000, 10)), axis=1)
    cosine, meant = calibration._examples(*fresh)
    said = fit.probability(cosine)
    for low, high in ((0, 0.1), (0.1, 0.9), (0.9, 1)):
        chosen = (said >= low) & (said < high)
        assert abs(said[chosen].mean() - meant[chosen].mean()) < 0.05
    assert (np.maximum(fresh[0], fresh[1][:, 0]) >= fit.threshold).mean() == pytest.approx(0.95, abs=0.02)
    assert (fresh[1][:, 0] < fit.threshold).mean() == pytest.approx(fit.turned_away, abs=0.05)


def test_a_model_that_knows_nothing_is_not_trusted():
    generator = np.random.default_rng(1)
    own, others = generator.normal(0.5, 0.1, 500), -np.sort(-generator.normal(0.5, 0.1, (500, 10)), axis=1)
    fit = fit_curve(own, others)
    assert fit.probability(np.array([0.9])) < 0.3 and fit.turned_away < 0.15
    certain = fit_curve(np.full(30, 0.9), np.full((30, 10), 0.1))
    assert np.isfinite([certain.slope, certain.intercept]).all() and certain.turned_away == 1
    assert certain.probability(np.array([0.9])) > 0.9 > 0.1 > certain.probability(np.array([0.1]))


@pytest.fixture(scope="module")
def model():
    return untrained()


@pytest.fixture
def index(model, tmp_path):
    rows = [("C" * n + "O", f"alcohol {n}", "") for n in range(1, 25)] + [(ASPIRIN, "aspirin", "")]
    return make_index(tmp_path / "index", model, write_library(tmp_path / "library.tsv", rows))[0]


def test_an_index_says_that_nothing_matches_and_fits_again_when_rows_change(index, model):
    (own,) = model.embed_text(["an acid of carbon"])
    texts = np.repeat(own[None], 24, axis=0)
    molecules = np.repeat(own[None], 24, axis=0)  # own molecule: cosine 1, above all of the library
    with writing(index.folder, model) as writer:
        calibrate(writer, texts, molecules, ["NOWHERE"] * 24, "made up")
    finder = Finder(Index.open(index.folder), model)
    question = Question("an acid of carbon")
    (answer,) = finder.find([question])
    assert answer.nothing and not answer.hits
    (answer,) = finder.find([question], SearchSettings(k=3, answer_always=True))
    assert answer.nothing and len(answer.hits) == 3
    assert 0 <= answer.hits[0].probability < 0.2
    (like,) = finder.find([Question(smiles=ASPIRIN)], SearchSettings(k=1))
    assert like.hits[0].row["id"] == "aspirin" and like.hits[0].probability is None  # of texts only
    before = calibration_of(finder.index)
    with writing(index.folder, model) as writer:
        writer.remove(np.arange(5))
        recalibrate(writer)
        after = calibration_of(writer.index)
    assert (after.pairs == 24 and after != before) or after.threshold == before.threshold
    Index.open(index.folder).verify()


def test_its_own_molecule_and_twins_are_no_evidence_against_a_text(index, model):
    """Texts that lie on a molecule of the index: with its key given they have no rival there, without they have."""
    vector = index.rows[24:25]
    texts, key = np.repeat(vector, 24, axis=0), index.rows.at(24)["flat_key"]
    known = calibration._others(index, texts, [key] * 24)
    unknown = calibration._others(index, texts, ["NOWHERE"] * 24)
    assert unknown[0, 0] == pytest.approx(1, abs=1e-5) and known[0, 0] < 1 - 1e-4
    np.testing.assert_allclose(known[:, :9], unknown[:, 1:], atol=1e-6)


# ---- approximate


class Library(np.ndarray):
    """An array with what an index's rows have."""

    def take(self, numbers):
        return np.asarray(self)[numbers]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors():
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(40, 16))
    return unit(centres[generator.integers(0, 40, 6000)] + 0.4 * generator.normal(size=(6000, 16))).view(Library)


def test_the_engine_finds_what_exact_search_finds_with_filters_and_rows_added_since(vectors, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(approximate, "FEW", 100)
    early, queries = vectors[:5000], np.asarray(vectors[5000:5050])
    engine, reached = approximate.build(early, queries)
    assert reached >= approximate.TARGET and 1 <= engine.probes < engine.lists.nlist
    generator = np.random.default_rng(1)
    for keep in (
        np.ones(6000, bool),
        generator.random(6000) < 0.3,
        generator.random(6000) < 0.01,
        np.zeros(6000, bool),
    ):
        found, exact = engine.nearest(queries, vectors, 10, keep), nearest(queries, vectors, 10, keep)
        shared = np.mean([np.isin(a, b).mean() for a, b in zip(exact.index, found.index)])
        assert shared >= 0.95
        assert keep[found.index[found.index >= 0]].all()
        same = found.index[:, 0] == exact.index[:, 0]
        np.testing.assert_allclose(found.score[same, 0], exact.score[same, 0], atol=1e-5)
    approximate.extend(engine, vectors)
    assert engine.rows == 6000
    assert (engine.nearest(queries, vectors, 1, np.ones(6000, bool)).index[:, 0] == np.arange(5000, 5050)).mean() > 0.95


def test_a_filter_that_leaves_few_rows_in_the_lists_looked_into_loses_none(vectors, monkeypatch):
    """All that is left lies where the queries do not look: far away, and so many that the engine is asked."""
    pytest.importorskip("faiss")
    monkeypatch.setattr(approximate, "FEW", 10)
    queries = np.asarray(vectors[:5])
    engine, _ = approximate.build(vectors, queries)
    keep = np.zeros(len(vectors), bool)
    keep[np.argsort(np.asarray(vectors) @ queries[0])[:30]] = True
    found, exact = engine.nearest(queries, vectors, 20, keep), nearest(queries, vectors, 20, keep)
    np.testing.assert_array_equal(found.index[0], exact.index[0])
    assert (found.index >= 0).all()


@pytest.mark.parametrize("deep", [1, 10**6])
def test_a_substructure_that_is_rare_is_found_wherever_it_ranks(index, model, monkeypatch, deep):
    monkeypatch.setattr(finder_module, "DEEP", deep)
    asked = conditions(index, (), ["c1ccccc1"])
    finder = Finder(index, model)
    for k in (1, 10):
        for answer in finder.find([Question("an alcohol"), Question("a metal")], SearchSettings(k=k), asked):
            assert [hit.row["id"] for hit in answer.hits] == ["aspirin"] and not answer.nothing
    none = conditions(index, (), ["[Fe]"])
    (answer,) = finder.find([Question("an alcohol")], SearchSettings(k=2), none)
    assert answer.nothing and not answer.hits
    assert len(none.passed) == len(index)  # no row was left unseen


def test_an_index_keeps_its_engine_and_answers_as_without(index, model, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(approximate, "FEW", 2)
    with writing(index.folder, model) as writer:
        assert approximate.attach(writer) >= approximate.TARGET
    opened = Index.open(index.folder)
    opened.verify()
    finder = Finder(opened, model)
    questions = [Question("an acid of carbon"), Question(smiles="CCCO")]
    through, exact = (
        [[hit.number for hit in answer.hits] for answer in finder.find(questions, SearchSettings(k=5, exact=plain))]
        for plain in (False, True)
    )
    assert through == exact
    path = opened.folder / opened.manifest["approximate"]["file"]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="is damaged"):
        Finder(opened, model).find(questions)
