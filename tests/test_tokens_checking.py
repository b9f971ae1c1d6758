"""What a user is told about her strings."""

import pytest
from test_tokens import SMILES, TEXTS

from atomas_jax.errors import UserError
from atomas_jax.tokens.checking import check
from atomas_jax.tokens.training import train


@pytest.fixture(scope="module")
def tokenizer():
    return train(TEXTS, SMILES, vocab_size=920)


def test_lengths_are_those_of_the_ids(tokenizer):
    strings = ["C", "CC", "CCC", "C" * 50]
    report = check(iter(strings), tokenizer, "smiles")
    assert (report.count, report.lossless, report.rate, report.lost, report.unknown) == (4, 4, 1.0, (), 0)
    assert (report.tokens_median, report.tokens_max) == (3.5, 51)
    assert report.tokens_p95 == pytest.approx(4 + 0.85 * 47)
    assert report.characters_per_token == 1.0
    assert "100.00 %" in report.table()


def test_losses_are_counted_named_and_shown(tokenizer):
    class Dropping:
        unk_id = tokenizer.unk_id

        def encode_text(self, text):
            return [self.unk_id] * text.count("y") + tokenizer.encode_text(text.replace("x", "").replace("y", "?"))

        def decode_text(self, ids):
            return tokenizer.decode_text(ids)

    lines = ["fine", "an x and a y", "xx", *["long " * 50 + "y"] * 10]
    report = check(lines, Dropping(), "text", examples=3)
    assert (report.count, report.lossless, report.unknown) == (13, 1, 11)
    assert report.lost_characters == {"x": 3, "y": 11}
    assert [lost.line for lost in report.lost] == [2, 3, 4]
    assert report.lost[0].back == "an  and a ?"
    table = report.table()
    assert "7.69 %" in table
    assert "line 3: 'xx'" in table
    assert "U+0079" in table
    assert "y'" in report.lost[2].excerpt(report.lost[2].string)
    assert len(report.lost[2].excerpt(report.lost[2].string)) < 80


def test_nothing_to_check_is_no_loss(tokenizer):
    report = check([], tokenizer, "text")
    assert (report.count, report.rate, report.tokens_max) == (0, 1.0, 0)
    assert "of none" in report.table()


def test_what_is_one_of_two(tokenizer):
    with pytest.raises(UserError, match="'text' or 'smiles'"):
        check([], tokenizer, "selfies")
