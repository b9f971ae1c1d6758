"""Published predictions on ChEBI-20 test, measured again: the numbers of the field are the witnesses."""

import gzip
import math
from importlib.metadata import version

import pytest
from nltk.translate.meteor_score import meteor_score

from atomas_jax.evaluation import captions as caption_room
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.meteor import _reader, meteor, stem, synonyms_of
from atomas_jax.evaluation.molecules import molecule_metrics

WITHIN = {"Levenshtein": 0.01, "Morgan": 0.0015, "Validity": 0.0015, "RDK": 0.007}
"""Beside 0.001 for every other metric. RDK fingerprints differ between RDKit versions by up to 0.0068 here."""

MODELS = (
    "t5-v1_1-small",
    "t5-v1_1-small-{}-ft-from-pretrained-c4",
    "t5-v1_1-small-{}-ft-from-pretrained-zinc",
    "molt5-small",
    "t5-v1_1-base",
    "molt5-base",
    "t5-v1_1-large",
    "molt5-large",
)
"""Whose outputs are shared, in both directions."""


def column_of(model: str, task: str) -> str:
    return model.format(task) if "{}" in model else f"{model}-{task}"


def table(path) -> dict[str, list[str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        head, *rows = [line.rstrip("\n").split("\t") for line in file]
    return dict(zip(head, zip(*rows)))


def printed(shared, place: int) -> dict[str, dict[str, float]]:
    """Values of a column of the table of published metrics, where it has one: {outputs: {metric: value}}."""
    found: dict[str, dict[str, float]] = {}
    for line in (shared / "data/chebi20_predictions/published_metrics.tsv").read_text().splitlines()[1:]:
        cells = line.split("\t")
        if cells[place]:
            found.setdefault(cells[0], {})[cells[3].removesuffix("_FTS")] = float(cells[place])
    return found


@pytest.fixture(scope="module")
def published(shared) -> dict[str, dict[str, float]]:
    """The papers' own numbers, without MolT5's ROUGE, which is of outputs that are not public."""
    return {
        column: {name: value for name, value in values.items() if not name.startswith("ROUGE") or "gpt" in column}
        for column, values in printed(shared, 4).items()
    }


@pytest.fixture(scope="module")
def recomputed(shared) -> dict[str, dict[str, float]]:
    """What the field's packages give on these very outputs."""
    return printed(shared, 5)


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


def test_captions_of_molt5_large_without_meteor(shared, recomputed, monkeypatch):
    monkeypatch.setattr(caption_room, "meteor", lambda *_: math.nan)  # the slow tests measure it
    data = table(shared / "data/chebi20_predictions/molt5_smiles2caption.tsv.gz")
    column = "molt5-large-smiles2caption"
    vocabulary = shared / "data/vocab/scibert_scivocab_uncased.vocab.txt"
    result = caption_metrics(data["ground truth"], data[column], "molt5", vocabulary, workers=1)
    agree(result, {k: v for k, v in recomputed[column].items() if k != "METEOR"}, at_least=5)


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
@pytest.mark.parametrize("model", MODELS)
def test_caption_numbers_are_reproduced(shared, published, recomputed, model):
    column = column_of(model, "smiles2caption")
    result = caption_suite(shared, column)
    agree(result, published[column], at_least=3)
    agree(result, recomputed[column], at_least=6)


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_molecule_numbers_are_reproduced(shared, published, recomputed, model):
    column = column_of(model, "caption2smiles")
    result = molecule_suite(shared, column)
    agree(result, published[column], at_least=7)
    agree(result, recomputed[column], at_least=7)


def gpt4(shared, outputs: str) -> tuple[dict[str, list[str]], list[str]]:
    """ChEBI-20's test split as shipped, and a column of MolReGPT's outputs in its order."""
    written, test = (
        table(shared / "data" / name)
        for name in ("chebi20_predictions/molregpt_gpt4_0314.txt.gz", "chebi20/test.txt.gz")
    )
    answers = dict(zip(written["CID"], written[outputs]))
    return test, [answers[cid] for cid in test["CID"]]


def test_bleu_of_gpt4_captions_is_published_on_t5_pieces(shared, published, monkeypatch):
    monkeypatch.setattr(caption_room, "meteor", lambda *_: math.nan)
    test, written = gpt4(shared, "molecule2caption")
    result = caption_metrics(test["description"], written, "molregpt", shared / "data/vocab/t5_spiece.model", workers=1)
    agree(result, {k: v for k, v in published["molregpt_gpt4_0314"].items() if k in ("BLEU-2", "BLEU-4")}, at_least=2)


@pytest.mark.slow
def test_gpt4_captions_are_those_of_either_protocol(shared, published, recomputed):
    test, written = gpt4(shared, "molecule2caption")
    for protocol, file, expected in (
        ("molregpt", "t5_spiece.model", published),
        ("molt5", "scibert_scivocab_uncased.vocab.txt", recomputed),
    ):
        vocabulary = shared / "data/vocab" / file
        result = caption_metrics(test["description"], written, protocol, vocabulary, shared / "data/wordnet")
        agree(result, expected["molregpt_gpt4_0314"], at_least=6)


@pytest.mark.slow
def test_gpt4_molecules_are_reproduced_with_either_form_of_the_backslash(shared, published):
    test, written = gpt4(shared, "caption2molecule")
    shipped = molecule_metrics(test["SMILES"], written, "molregpt")
    repaired = molecule_metrics([s.replace("\\\\", "\\") for s in test["SMILES"]], written, "molregpt")
    agree(shipped, published["molregpt_gpt4_0314"], at_least=7)
    shared_values = {"Exact": 0.2797, "Validity": 0.8991, "MACCS": 0.9031, "RDK": 0.7982, "Morgan": 0.7393}
    agree(shipped, {"BLEU": 0.8566, "Levenshtein": 17.138, **shared_values}, at_least=7)
    agree(repaired, {"BLEU": 0.8641, "Levenshtein": 16.797, **shared_values}, at_least=7)
    assert shipped.stamp.settings["backslashes"] != repaired.stamp.settings["backslashes"]
    assert shipped.stamp.difference(repaired.stamp)


@pytest.mark.slow
@pytest.mark.torch
def test_fcd_of_gpt4_is_that_of_its_library(shared):
    pytest.importorskip("fcd")
    if not version("fcd").startswith("1.2"):
        pytest.skip("the value is of fcd 1.2")
    test, written = gpt4(shared, "caption2molecule")
    result = molecule_metrics(test["SMILES"], written, "molregpt", with_fcd=True)
    score = result.scores["FCD"]
    assert score.value == pytest.approx(1.846, abs=0.03)
    assert score.low < score.value < score.high < score.low + 0.5
    assert result.stamp.versions["fcd"].startswith("1.2")
