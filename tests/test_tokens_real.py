"""Real SMILES and captions through the shipped tokenizer, all of them, and through one that never saw chemistry."""

from pathlib import Path

import pytest
from real_strings import TABLES, table_strings, zinc
from test_tokens import SMILES, TEXTS

from atomas_jax.tokens import Tokenizer
from atomas_jax.tokens.checking import check
from atomas_jax.tokens.smiles import split
from atomas_jax.tokens.training import train

SHIPPED = Path(__file__).resolve().parents[1] / "tokenizers" / "atomas-embedded"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(SHIPPED)


@pytest.fixture(scope="module")
def untaught() -> Tokenizer:
    """Trained on a few made-up sentences and six SMILES: lossless by construction, not by what it has seen."""
    return train(TEXTS, SMILES, vocab_size=920)


def test_every_real_smiles_comes_back(tokenizer, shared):
    smiles = dict.fromkeys(table_strings(shared, 0))
    report = check(smiles, tokenizer, "smiles")
    assert report.count > 48_000
    assert report.lost == ()
    assert report.unknown == 0


def test_every_real_caption_comes_back(tokenizer, shared):
    captions = dict.fromkeys(table_strings(shared, 1))
    report = check(captions, tokenizer, "text")
    assert report.count > 18_000
    assert report.lost == ()
    assert report.unknown == 0


def test_a_sample_of_zinc_comes_back(tokenizer, shared):
    report = check(zinc(shared)[::25], tokenizer, "smiles")
    assert (report.count, report.lost) == (9979, ())


def test_an_untaught_tokenizer_loses_nothing_either(untaught, shared):
    table = {
        name: TABLES[name] for name in ("chebi20/test.txt.gz", "pcdes/validation.txt.gz", "pubchem324k/valid.txt.gz")
    }
    for what, count in (("smiles", 5800), ("text", 5800)):
        report = check(table_strings(shared, ("smiles", "text").index(what), table), untaught, what)
        assert (report.count, report.lost, report.unknown) == (count, (), 0)


@pytest.mark.slow
def test_all_of_zinc_comes_back(tokenizer, shared):
    report = check(zinc(shared), tokenizer, "smiles")
    assert (report.count, report.lost) == (249_455, ())


def test_nearly_all_real_bracket_atoms_are_single_ids(tokenizer, shared):
    atoms = [p for smiles in table_strings(shared, 0, {"chebi20/test.txt.gz": ((1,), (2,))}) for p in split(smiles)]
    brackets = [p for p in atoms if p[0] == "["]
    whole = sum(len(tokenizer.encode_smiles(p)) == 2 for p in brackets)
    assert whole / len(brackets) > 0.999
