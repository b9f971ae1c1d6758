"""Evaluation against its sources: NLTK, rouge_score, hand-worked ranks, and properties every metric must have."""

import math
import pickle
import random

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu
from rouge_score.rouge_scorer import RougeScorer

from atomas_jax.errors import UserError
from atomas_jax.evaluation import bleu, bootstrap, floors, results, tables
from atomas_jax.evaluation.caption_tokens import words
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.measuring import Training
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.ranking import both_directions, chance, rank_embeddings, rank_similarity, ranking_metrics
from atomas_jax.evaluation.rouge import NAMES, rouge
from atomas_jax.evaluation.workers import spread

REFERENCES = [
    "The molecule is a monocarboxylic acid. It derives from an acetic acid.",
    "The molecule is an alkane that is methane.",
    "It has a role as a human metabolite and a solvent.",
]
PREDICTIONS = [
    "The molecule is a dicarboxylic acid. It derives from an oxalic acid.",
    "The molecule is an alkane that is methane.",
    "",
]


def sentences(count: int, seed: int) -> list[list[str]]:
    """Token lists over two letters, some shorter than four, one empty."""
    source = random.Random(seed)
    return [[source.choice("ab") for _ in range(n % 12)] for n in range(count)]


def test_bleu_is_that_of_nltk_even_for_sentences_shorter_than_an_n_gram():
    references, predictions = sentences(60, 1), sentences(60, 2)
    counts = np.array([bleu.counts(r, p) for r, p in zip(references, predictions)])
    for order in (2, 4):
        weights = (1 / order,) * order
        expected = corpus_bleu([[r] for r in references], predictions, weights=weights)
        assert expected > 0.1
        assert bleu.bleu(counts.sum(axis=0), order) == pytest.approx(expected, abs=1e-12)


def test_bleu_without_a_single_four_gram_is_zero_and_says_nothing(recwarn):
    counts = np.array(bleu.counts(list("abcdef"), list("fedcba")))
    assert bleu.bleu(counts) == 0.0
    assert bleu.bleu(np.array(bleu.counts(list("abc"), []))) == 0.0
    assert not recwarn.list


def test_rouge_is_that_of_rouge_score():
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    source = random.Random(3)
    vocabulary = ["the", "acid", "an", "17α-hydroxy", "(2R)-ol", "C21H28O4", "is", ".", "É"]
    for length in (0, 1, 2, 5, 30):
        one, other = (" ".join(source.choices(vocabulary, k=length)) for _ in range(2))
        expected = scorer.score(one, other)
        theirs = [expected[name].fmeasure for name in ("rouge1", "rouge2", "rougeL")]
        assert rouge(one, other) == pytest.approx(theirs, abs=1e-12)


def test_word_tokens_keep_numbers_and_every_mark():
    assert words()(["The (2R)-acid has pKa 4.76_"]) == [
        ["the", "(", "2", "r", ")", "-", "acid", "has", "pka", "4.76", "_"]
    ]


def test_captions_of_a_perfect_model_score_one_and_an_empty_caption_nothing():
    perfect = caption_metrics(REFERENCES, REFERENCES)
    for name in ("BLEU-2", "BLEU-4", *NAMES):
        assert perfect[name] == pytest.approx(1.0)
    assert perfect["METEOR"] > 0.99  # its penalty for one chunk is never quite nothing
    result = caption_metrics(REFERENCES, PREDICTIONS)
    assert result.stamp.counts == {"empty predictions": 1}
    assert [result.rows[name][2] for name in ("METEOR", "ROUGE-L", "BLEU-4")] == [0, 0, 0]
    assert 0 < result["METEOR"] < 1
    for score in result.scores.values():
        assert score.low <= score.value <= score.high


def test_captions_are_the_same_in_workers_and_in_any_order():
    order = [2, 0, 1]
    here = caption_metrics(REFERENCES, PREDICTIONS, workers=1)
    there = caption_metrics(REFERENCES * 20, PREDICTIONS * 20, workers=2)
    turned = caption_metrics([REFERENCES[i] for i in order], [PREDICTIONS[i] for i in order])
    for name in here.scores:
        assert there[name] == pytest.approx(here[name], abs=1e-12)
        assert turned[name] == pytest.approx(here[name], abs=1e-12)
    assert turned.rows["METEOR"] == pytest.approx(here.rows["METEOR"][order])


@pytest.mark.parametrize(
    ("references", "predictions", "options", "said"),
    [
        (["a"], [], {}, "1 references but 0 predictions"),
        ([], [], {}, "no rows"),
        (["a"], [None], {}, "prediction number 1 is NoneType"),
        (["a"], ["b"], {"protocol": "no-such"}, "there are: plain, molt5"),
        (["a"], ["b"], {"protocol": "molt5"}, "run `atomas assets scibert`"),
        (["a"], ["b"], {"protocol": "molt5", "vocabulary": "no/such/file"}, "cannot read the SciBERT vocabulary"),
        (["a"], ["b"], {"wordnet": "no/such/folder"}, "no WordNet at"),
    ],
)
def test_bad_input_of_captions_is_told_in_one_line(references, predictions, options, said):
    with pytest.raises(UserError, match=said) as caught:
        caption_metrics(references, predictions, **options)
    assert "\n" not in str(caught.value)


def test_molecules_are_compared_as_molecules_and_bad_strings_only_count():
    references = ["CCO", r"C/C=C/C", "C[C@H](N)O", "c1ccccc1", "CC(=O)O"]
    predictions = ["OCC", r"C/C=C\C", "C[C@@H](N)O", "c1ccccc", "C" * 20_000]
    result = molecule_metrics(references, predictions)
    assert result.rows["Exact"].tolist() == [1, 0, 0, 0, 0]
    assert result.rows["Exact, no stereo"].tolist() == [1, 1, 1, 0, 0]
    assert result.rows["Validity"].tolist() == [1, 1, 1, 0, 0]
    assert np.isnan(result.rows["Morgan"]).tolist() == [False, False, False, True, True]
    assert result["Morgan"] == pytest.approx(1.0)  # Morgan counts do not see stereo; invalid rows are left out
    assert result["Levenshtein"] == pytest.approx(np.mean([2, 1, 1, 1, 19_996 + 3]), abs=1)
    assert result.stamp.counts["invalid predictions"] == 2


def test_uniqueness_and_novelty_go_by_the_molecule_not_the_string():
    from atomas_jax.chemistry.molecules import identity

    result = molecule_metrics(["C"] * 4, ["CCO", "OCC", "CCC", "not one"], training_keys=[identity("C(O)C").key])
    assert result["Uniqueness"] == pytest.approx(2 / 3)
    unique = result.scores["Uniqueness"]
    assert 0.5 <= unique.low <= unique.value <= unique.high <= 1
    assert result["Novelty"] == pytest.approx(1 / 3)


def test_an_empty_molecule_is_what_the_protocol_says():
    plain, molt5 = (molecule_metrics(["CCO", "C"], ["", "C"], protocol=name) for name in ("plain", "molt5"))
    assert (plain["Validity"], molt5["Validity"]) == (0.5, 1.0)
    assert (plain["Morgan"], molt5["Morgan"]) == (1.0, 0.5)
    assert plain.stamp.difference(molt5.stamp).startswith("protocol differs")


def test_a_model_without_one_valid_molecule_still_gets_its_table():
    result = molecule_metrics(["CCO", "C"], ["((", "x"])
    assert math.isnan(result["Morgan"]) and math.isnan(result["Uniqueness"]) and result["Validity"] == 0
    assert tables.value_text("Morgan", result["Morgan"]) == "–"


def test_a_reference_that_is_no_molecule_is_refused_by_its_number():
    with pytest.raises(UserError, match="reference number 2 is no molecule"):
        molecule_metrics(["C", "((("], ["C", "C"])


def test_ranks_by_hand_with_ties_in_the_middle():
    similarity = np.array([[0.9, 0.1, 0.2], [0.5, 0.5, 0.5], [0.3, 0.2, 0.1]])
    ranked = rank_similarity(similarity)
    assert ranked.ranks.tolist() == [1.0, 2.0, 3.0]
    assert ranked.top[2].tolist() == [0, 1, 2]
    result = ranking_metrics(ranked.ranks, 3)
    assert result["R@1"] == pytest.approx(1 / 3)
    assert result["MRR"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert (result["Mean rank"], result["Median rank"]) == (2, 2)


def test_a_model_that_scores_all_alike_is_at_chance():
    ranked = rank_embeddings(np.ones((7, 3)), np.ones((7, 3)))
    assert ranked.ranks.tolist() == [4.0] * 7
    result = ranking_metrics(ranked.ranks, 7)
    assert result["Mean rank"] == chance(7, 7, result)["Mean rank"] == 4
    assert chance(7, 7, result)["R@5"] == pytest.approx(5 / 7)


def test_rows_of_the_same_molecule_may_be_partners():
    similarity = np.array([[0.1, 0.9, 0.5], [0.0, 1.0, 0.2], [0.9, 0.8, 0.1]])
    alone = rank_similarity(similarity)
    together = rank_similarity(similarity, positives=(["x", "x", "y"], ["x", "x", "y"]))
    assert alone.ranks.tolist() == [3, 1, 3]
    assert together.ranks.tolist() == [1, 1, 3]


def test_ranking_in_blocks_is_ranking_at_once(monkeypatch):
    source = np.random.default_rng(0)
    queries, pool = source.normal(size=(40, 8)), source.normal(size=(90, 8))
    partner = source.integers(90, size=40)
    whole = rank_embeddings(queries, pool, partner)
    monkeypatch.setattr("atomas_jax.evaluation.ranking._BLOCK_NUMBERS", 300)
    parts = rank_embeddings(queries, pool, partner)
    assert (whole.ranks == parts.ranks).all() and (whole.top == parts.top).all()
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, pool)]
    order = np.argsort(-(unit[0] @ unit[1].T), axis=1)
    assert whole.ranks.tolist() == [1 + order[q].tolist().index(p) for q, p in enumerate(partner)]
    assert (whole.top == order[:, :10]).all()


def test_both_directions_swap_queries_and_pool():
    source = np.random.default_rng(1)
    texts, molecules = source.normal(size=(2, 30, 5))
    found, _ = both_directions(texts, molecules)
    back, _ = both_directions(molecules, texts)
    assert found["text to molecule"]["MRR"] == back["molecule to text"]["MRR"]
    assert "30 candidates" in found["text to molecule"].stamp.settings["pool"]


@pytest.mark.parametrize(
    ("similarity", "partner", "said"),
    [
        (np.array([[0.0, np.nan]]), [0], "not a finite number"),
        (np.zeros((1, 2)), [2], "the pool has 2 rows"),
        (np.zeros(3), None, "must be a matrix"),
    ],
)
def test_bad_similarities_are_refused(similarity, partner, said):
    with pytest.raises(UserError, match=said):
        rank_similarity(similarity, partner)


def test_the_bootstrap_interval_of_a_mean_is_that_of_theory():
    values = np.random.default_rng(0).normal(3.0, 2.0, size=400)
    score = bootstrap.scores({"x": bootstrap.mean_of(values)}, 400)["x"]
    assert score.value == pytest.approx(values.mean())
    assert score.high - score.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert score == bootstrap.scores({"x": bootstrap.mean_of(values)}, 400)["x"]


@pytest.mark.parametrize("rows", [1, 2, 7, 8])
def test_the_weighted_median_is_the_median_of_the_resample(rows):
    source = np.random.default_rng(rows)
    values = source.normal(size=rows)
    weights = next(bootstrap.resamples(rows, 20, seed=5))
    expected = [np.median(np.repeat(values, w.astype(int))) for w in weights]
    assert bootstrap.median_of(values)(weights) == pytest.approx(expected)


def test_resamples_do_not_depend_on_the_block_they_come_in(monkeypatch):
    whole = np.concatenate(list(bootstrap.resamples(50, 30, seed=2)))
    monkeypatch.setattr(bootstrap, "_BLOCK_NUMBERS", 200)
    parts = np.concatenate(list(bootstrap.resamples(50, 30, seed=2)))
    assert (whole == parts).all() and (whole.sum(axis=1) == 50).all()


@pytest.mark.parametrize("rows", [2, 3, 50])
def test_the_random_floor_gives_every_row_another_ones_answer(rows):
    other = floors.other_rows(rows, seed=3)
    assert sorted(other) == list(range(rows)) and (other != np.arange(rows)).all()
    assert (other == floors.other_rows(rows, seed=3)).all()
    with pytest.raises(UserError, match="two rows"):
        floors.other_rows(1)


def test_the_nearest_floors_copy_the_nearest_row_and_the_first_of_equals():
    molecules, captions = ["CCCCO", "c1ccccc1O", "OCCCC"], ["an alcohol", "a phenol", "the same alcohol"]
    nearest, similarity = Training(molecules, captions, []).nearest(["C(CC)CO", "Cc1ccccc1O"])
    assert list(nearest) == [0, 1] and similarity[0] == pytest.approx(1.0) and similarity[1] < 1
    found, cosine = floors.nearest_molecules(["A phenol", "quite unlike"], captions, molecules)
    assert found == ["c1ccccc1O", "CCCCO"]
    assert cosine.tolist() == pytest.approx([1.0, 0.0])


def test_nearest_texts_are_those_of_the_plain_matrix():
    source = random.Random(0)
    library = [" ".join(source.choices("abcdefghij", k=6)) for _ in range(40)]
    queries = [" ".join(source.choices("abcdefghijz", k=6)) for _ in range(15)]
    letters = sorted(set("".join(library)) - {" "})
    count = {text: np.array([text.split().count(x) for x in letters], float) for text in library + queries}
    rarity = np.log1p(40 / np.array([sum(x in text.split() for text in library) for x in letters]))
    vector = {t: np.where(c > 0, 1 + np.log(np.maximum(c, 1)), 0) * rarity for t, c in count.items()}
    unit = {t: v / max(np.linalg.norm(v), 1e-12) for t, v in vector.items()}
    expected = np.array([[unit[q] @ unit[t] for t in library] for q in queries])
    index, cosine = floors.nearest_texts(queries, library)
    assert cosine == pytest.approx(expected.max(axis=1))
    assert index.tolist() == [int(np.argmax(np.round(row, 12))) for row in expected]


def test_results_survive_the_disk_and_refuse_what_is_not_theirs(tmp_path):
    table = {
        "model": molecule_metrics(["CCO", "CC"], ["CCO", "(("]),
        "other": molecule_metrics(["CCO", "CC"], ["C", "C"]),
    }
    back = results.load(results.save(tmp_path / "deep" / "results.json", {"molecules": table}))["molecules"]
    for system, result in table.items():
        assert back[system].stamp == result.stamp
        for name, score in result.scores.items():
            assert back[system][name] == pytest.approx(score.value, rel=1e-6, nan_ok=True)
        for name, array in result.rows.items():
            np.testing.assert_allclose(back[system].rows[name], array, rtol=1e-6)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["results.json"]
    (tmp_path / "x.json").write_text("[]")
    for path, said in ((tmp_path / "x.json", "not a results file"), (tmp_path / "none.json", "cannot read")):
        with pytest.raises(UserError, match=said):
            results.load(path)


def test_results_of_other_data_or_another_protocol_share_no_table():
    one, other = molecule_metrics(["CCO"], ["CCO"]), molecule_metrics(["CCN"], ["CCO"])
    assert one.stamp.difference(one.stamp) is None
    with pytest.raises(UserError, match="data differs"):
        tables.terminal_table("molecules", {"a": one, "b": other})


def test_a_verdict_says_how_far_above_or_below():
    references = ["CCO", "CCN"]
    table = {
        "the model": molecule_metrics(references, ["CCO", "C"]),
        "a copy": molecule_metrics(references, references),
    }
    gap = 1 - table["the model"]["Morgan"]
    assert tables.verdict(table).endswith(f"; {gap:.3f} below a copy.")
    assert tables.best_of(table, "Morgan") == "a copy" and tables.best_of(table, "Validity") is None


def test_what_cannot_be_sent_to_a_worker_is_an_error_and_not_a_wait():
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        spread(lambda rows: rows, [1] * 200, workers=2)


def test_a_worker_that_dies_is_an_error_and_not_a_wait():
    with pytest.raises(RuntimeError, match="worker ended early"):
        spread(math.sqrt, [1] * 200, workers=2)
