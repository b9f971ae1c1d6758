"""Published predictions on ChEBI-20 test, measured again: the numbers of the field are the witnesses."""

import gzip
import math

import pytest
from nltk.translate.meteor_score import meteor_score

from atomas_jax.evaluation import captions as caption_room
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.meteor import _reader, meteor, stem, synonyms_of
from atomas_jax.evaluation.molecules import molecule_metrics

WITHIN = {"Levenshtein": 0.01, "Morgan": 0.0015, "Validity": 0.0015, "RDK": 0.008}
"""Beside 0.001 for every other metric. RDK fingerprints differ between RDKit versions by up to 0.006."""


def table(path) -> dict[str, list[str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        head, *rows = [line.rstrip("\n").split("\t") for line in file]
    return dict(zip(head, zip(*rows)))


@pytest.fixture(scope="module")
def published(shared) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line in (shared / "data/chebi20_predictions/published_metrics.tsv").read_text().splitlines()[1:]:
        column, _, _, name, _, recomputed, _ = line.split("\t")
        if recomputed:
            found.setdefault(column, {})[name.removesuffix("_FTS")] = float(recomputed)
    return found


def agree(result, expected: dict[str, float], at_least: int) -> None:
    checked = {name: value for name, value in expected.items() if name in result.scores}
    assert len(checked) >= at_least
    far = {
        name: (result[name], value)
        for name, value in checked.items()
        if not abs(result[name] - value) <= WITHIN.get(name, 0.001)
    }
    assert not far


def caption_suite(shared, column: str):
    data = table(shared / "data/chebi20_predictions/molt5_smiles2caption.tsv.gz")
    return caption_metrics(
        data["ground truth"],
        data[column],
        "molt5",
        vocabulary=shared / "data/vocab/scibert_scivocab_uncased.vocab.txt",
        wordnet=shared / "data/wordnet",
    )


def molecule_suite(shared, column: str):
    data = table(shared / "data/chebi20_predictions/molt5_caption2smiles.tsv.gz")
    return molecule_metrics(data["ground truth"], data[column], "molt5")


def test_captions_of_molt5_large_without_meteor(shared, published, monkeypatch):
    monkeypatch.setattr(caption_room, "meteor", lambda *_: math.nan)  # the slow tests measure it
    data = table(shared / "data/chebi20_predictions/molt5_smiles2caption.tsv.gz")
    column = "molt5-large-smiles2caption"
    vocabulary = shared / "data/vocab/scibert_scivocab_uncased.vocab.txt"
    result = caption_metrics(data["ground truth"], data[column], "molt5", vocabulary, workers=1)
    agree(result, {k: v for k, v in published[column].items() if k != "METEOR"}, at_least=5)


def test_meteor_with_wordnet_is_that_of_nltk_row_by_row(shared):
    data = table(shared / "data/chebi20_predictions/molt5_smiles2caption.tsv.gz")
    place = shared / "data/wordnet"
    differ = 0
    for one, other in list(zip(data["ground truth"], data["molt5-small-smiles2caption"]))[:60]:
        there, here = one.lower().split(), other.lower().split()
        synonyms = synonyms_of({stem(token) for token in here}, place)
        expected = meteor_score([there], here, wordnet=_reader(place.resolve()))
        assert meteor(there, here, synonyms) == pytest.approx(expected, abs=1e-12)
        differ += meteor(there, here, {}) != pytest.approx(expected, abs=1e-12)
    assert differ  # synonyms matter somewhere, so the comparison is not an empty one


def test_some_molecules_of_molt5_large_have_the_published_kind_of_score(shared):
    data = table(shared / "data/chebi20_predictions/molt5_caption2smiles.tsv.gz")
    result = molecule_metrics(data["ground truth"][:120], data["molt5-large-caption2smiles"][:120], workers=1)
    assert 0.2 < result["Exact"] < result["Exact, no stereo"] < 0.6
    assert result["RDK"] < result["MACCS"] and 0.9 < result["Validity"] < 1


@pytest.mark.slow
@pytest.mark.parametrize("model", ["molt5-base", "molt5-large", "t5-v1_1-small"])
def test_caption_numbers_are_reproduced(shared, published, model):
    column = f"{model}-smiles2caption"
    agree(caption_suite(shared, column), published[column], at_least=6)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["molt5-base", "molt5-large", "t5-v1_1-small"])
def test_molecule_numbers_are_reproduced(shared, published, model):
    column = f"{model}-caption2smiles"
    agree(molecule_suite(shared, column), published[column], at_least=7)


@pytest.mark.slow
def test_gpt4_molecules_are_reproduced_with_either_form_of_the_backslash(shared):
    answers = dict(
        zip(
            *(
                table(shared / "data/chebi20_predictions/molregpt_gpt4_0314.txt.gz")[k]
                for k in ("CID", "caption2molecule")
            )
        )
    )
    test = table(shared / "data/chebi20/test.txt.gz")
    predictions = [answers[cid] for cid in test["CID"]]
    shipped = molecule_metrics(test["SMILES"], predictions, "molt5")
    repaired = molecule_metrics([s.replace("\\\\", "\\") for s in test["SMILES"]], predictions, "molt5")
    shared_values = {"Exact": 0.2797, "Validity": 0.8991, "MACCS": 0.9031, "RDK": 0.7982, "Morgan": 0.7393}
    agree(shipped, {"BLEU": 0.8566, "Levenshtein": 17.138, **shared_values}, at_least=7)
    agree(repaired, {"BLEU": 0.8641, "Levenshtein": 16.797, **shared_values}, at_least=7)
    assert (
        "backslashes differs" in (shipped.stamp.difference(repaired.stamp) or "")
        or shipped.stamp.data != repaired.stamp.data
    )
