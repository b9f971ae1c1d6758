"""Paired differences: exact where they are known, refused where they mean nothing."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax import cli
from atomas_jax.errors import UserError
from atomas_jax.evaluation import bootstrap, results, slices
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.comparison import compare, find_results, print_comparisons
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.prediction_files import Columns, read_predictions
from atomas_jax.evaluation.ranking import ranking_metrics

REFERENCES = ["the molecule is an acid", "it is a base", "the molecule is a salt of an acid", "water"] * 3
BETTER = [text.replace("base", "basis") for text in REFERENCES]
WORSE = ["the molecule", "it is a base", "a salt", "the molecule is water"] * 3


def measured(answers, protocol="plain", **settings):
    return caption_metrics(REFERENCES, answers, protocol, **settings)


def test_a_result_differs_from_itself_by_nothing():
    for result in (measured(WORSE), ranking_metrics(np.array([1, 2.5, 7, 3]), 9)):
        found = compare(result, result)
        assert found.metrics.keys() == result.scores.keys()
        for one in found.metrics.values():
            assert dataclasses.astuple(one.difference) == (0, 0, 0) and one.sign == ""


ranks = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20)), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None)
@given(ranks, st.integers(0, 9))
def test_swapping_swaps_signs(pairs, seed):
    one, other = (ranking_metrics(np.array(side), 20) for side in zip(*pairs))
    there, back = (compare(*pair, resamples=60, seed=seed) for pair in ((one, other), (other, one)))
    for name, gap in there.metrics.items():
        mirrored = back.metrics[name]
        assert gap.difference.value == pytest.approx(other[name] - one[name])
        assert (gap.difference.low, gap.difference.high) == pytest.approx(
            (-mirrored.difference.high, -mirrored.difference.low)
        )
        assert (gap.sign, mirrored.sign) in {("", ""), ("better", "worse"), ("worse", "better")}
        assert gap.difference.low <= gap.difference.high


def test_both_are_resampled_alike_and_directions_are_the_metrics_own():
    one, other = measured(WORSE), measured(BETTER)
    found = compare(one, other, resamples=200, seed=3).metrics["BLEU-4"]
    weights = np.concatenate(list(bootstrap.resamples(len(REFERENCES), 200, seed=3)))
    gaps = slices.estimators(other)["BLEU-4"](weights) - slices.estimators(one)["BLEU-4"](weights)
    assert (found.difference.low, found.difference.high) == pytest.approx(tuple(np.quantile(gaps, [0.025, 0.975])))
    assert found.sign == "better"
    fast, slow = ranking_metrics(np.arange(1, 30), 99), ranking_metrics(np.arange(1, 30) + 40, 99)
    assert compare(slow, fast).metrics["Mean rank"].sign == compare(slow, fast).metrics["MRR"].sign == "better"


def test_what_differs_is_named_and_versions_are_only_told():
    one = measured(WORSE)
    for other, why in (
        (caption_metrics(["other", *REFERENCES[1:]], WORSE), "data differs"),
        (dataclasses.replace(one, stamp=dataclasses.replace(one.stamp, protocol="molt5")), "protocol differs"),
        (ranking_metrics(np.ones(12), 12), "task differs: captions and text to molecule"),
    ):
        with pytest.raises(UserError, match=why):
            compare(one, other)
    with pytest.raises(UserError, match="pool differs: split, 12 candidates and in-batch 64, 12 candidates"):
        compare(ranking_metrics(np.ones(12), 12), ranking_metrics(np.ones(12), 12, "in-batch 64"))
    newer = dataclasses.replace(one.stamp, versions=one.stamp.versions | {"nltk": "0.1"})
    found = compare(one, dataclasses.replace(measured(WORSE, seed=5), stamp=newer))
    assert len(found.versions) == 1 and found.versions[0].endswith("and 0.1")
    assert compare(one, measured(BETTER, seed=5)).versions == []


def test_similarities_over_different_valid_rows_are_told(capsys):
    good, bad = (molecule_metrics(["CCO", "CCN"], answers) for answers in (["CCO", "CCC"], ["CCO", "C("]))
    print_comparisons({"Molecules": compare(good, bad)})
    assert "over each system's own" in capsys.readouterr().out
    assert compare(good, bad).metrics["Uniqueness"].sign == ""
    print_comparisons({"Molecules": compare(good, good)})
    assert "over each system's own" not in capsys.readouterr().out


def command(capsys, *words) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main([str(word) for word in words])
    return stop.value.code, *capsys.readouterr()


def test_the_command_compares_runs_folders_and_files(capsys, tmp_path):
    floors = {"chance": ranking_metrics(np.full(12, 6), 12)}
    ranked = {"Text to molecule": {"model": ranking_metrics(np.ones(12), 12)} | floors}
    run, folder = tmp_path / "run", tmp_path / "folder"
    results.save(run / "evaluation/test/results.json", {"Captions": {"model": measured(WORSE)}} | ranked)
    results.save(folder / "results.json", {"Captions": {"model": measured(BETTER)}})
    assert find_results(folder, "test") == find_results(folder / "results.json", "test")

    code, out, err = command(capsys, "compare", run, folder)
    assert (code, err) == (0, "") and "BLEU-4" in out and "better" in out and "Text to molecule" not in out
    code, out, _ = command(capsys, "compare", run, folder, "--json", "--out", tmp_path / "c.json")
    assert code == 0 and json.loads(out) == json.loads((tmp_path / "c.json").read_text())
    assert json.loads(out)["tasks"]["Captions"]["metrics"]["METEOR"]["b_is"] == "better"
    code, out, _ = command(capsys, "compare", run, run, "--tasks", "Text to molecule", "--system-b", "chance")
    assert code == 0 and "worse" in out

    other = dataclasses.replace(measured(BETTER), stamp=dataclasses.replace(measured(BETTER).stamp, data="0"))
    results.save(tmp_path / "other/results.json", {"Captions": {"model": other}} | ranked)
    code, out, err = command(capsys, "compare", run, tmp_path / "other")
    assert code == 2 and "MRR" in out and err.count("\n") == 1 and "Captions may not be compared: data differs" in err
    for words, said in (
        ([folder, tmp_path / "other"], "may not be compared: Captions: data differs"),
        ([folder, tmp_path / "nowhere"], "no results at"),
        ([folder, run, "--split", "validation"], "has no results of split 'validation': it has test"),
        ([folder, run, "--tasks", "Molecules"], "no task 'Molecules' in both: they have Captions in common"),
        ([folder, run, "--system-a", "chance"], "no system 'chance' under Captions: there are model"),
    ):
        code, out, err = command(capsys, "compare", *words)
        assert code == 2 and err.count("\n") == 1 and said in err, err


def test_large_molt5_is_better_than_base_on_the_released_captions(shared):
    path = shared / "data/chebi20_predictions/molt5_smiles2caption.tsv.gz"
    results_of = []
    for size in ("base", "large"):
        read = read_predictions(path, Columns(output=f"molt5-{size}-smiles2caption"))
        results_of.append(caption_metrics(read.references[:400], read.answers[:400], workers=1))
    base, large = results_of
    for name, gap in compare(base, large).metrics.items():
        assert gap.sign == "better", name
        own = [score.high - score.low for score in (base.scores[name], large.scores[name])]
        assert gap.difference.high - gap.difference.low < np.hypot(*own)
