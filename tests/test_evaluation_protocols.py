"""What each protocol does with odd rows, and exactness by kind of stereo."""

import math

import numpy as np
import pytest

from atomas_jax.chemistry.molecules import random_spelling
from atomas_jax.cli import main
from atomas_jax.errors import UserError
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.protocols import PROTOCOLS

REFERENCE = "C/C=C/[C@H](O)C"
WRITTEN = {
    "itself, another spelling": (random_spelling(REFERENCE, 3), (1, 1, 1, 1)),
    "other double bond": ("C/C=C\\[C@H](O)C", (0, 1, 0, 1)),
    "other centre": ("C/C=C/[C@@H](O)C", (0, 0, 1, 1)),
    "neither": ("CC=CC(O)C", (0, 0, 0, 1)),
    "another molecule": ("C/C=C/[C@H](N)C", (0, 0, 0, 0)),
    "no molecule": ("C/C=C/[C@H](O", (0, 0, 0, 0)),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_exactness_by_kind_of_stereo(case):
    written, expected = WRITTEN[case]
    result = molecule_metrics([REFERENCE], [written])
    assert tuple(result[name] for name in ("Exact", "Exact, R/S", "Exact, E/Z", "Exact, no stereo")) == expected


def test_a_tautomer_that_inchi_takes_for_the_same_is_exact_in_every_way():
    result = molecule_metrics(["Oc1ccccn1"], ["O=c1cccc[nH]1"])
    assert result["Exact"] == result["Exact, R/S"] == result["Exact, E/Z"] == 1


def test_invalid_outputs_are_skipped_dropped_or_zero():
    references, written = ["CCCCO", "CCN", "c1ccccc1"], ["OCCCC", "C(", "C1=CC=CC=C1"]
    results = {name: molecule_metrics(references, written, name) for name in ("molt5", "biot5plus", "lpm24")}
    assert {name: result["Validity"] for name, result in results.items()} == dict.fromkeys(
        results, pytest.approx(2 / 3)
    )
    assert results["molt5"]["Morgan"] == results["biot5plus"]["Morgan"] == 1
    assert results["lpm24"]["Morgan"] == pytest.approx(2 / 3)
    assert results["molt5"]["Exact"] == pytest.approx(2 / 3)
    assert results["biot5plus"]["Exact"] == 1
    # canonical on both sides: the spelling is no difference
    assert results["biot5plus"]["Levenshtein"] == 0 < results["molt5"]["Levenshtein"]
    assert results["biot5plus"]["BLEU"] == 1 > results["molt5"]["BLEU"]
    assert np.isnan(results["biot5plus"].rows["Exact"][1])
    reasons = {one.stamp.difference(other.stamp) for one in results.values() for other in results.values()}
    assert len(reasons - {None}) >= 3


def test_all_outputs_invalid_gives_no_value_instead_of_a_wrong_one():
    result = molecule_metrics(["CCO", "CCN"], ["C(", "N("], "biot5plus")
    assert math.isnan(result["Exact"])
    assert result["Validity"] == 0


def test_fcd_of_few_molecules_is_refused():
    pytest.importorskip("fcd")
    with pytest.raises(UserError, match="FCD of 2 molecules means nothing"):
        molecule_metrics(["CCO", "CCN"], ["CCO", "CCN"], with_fcd=True)


def test_protocols_are_listed(capsys):
    with pytest.raises(SystemExit) as end:
        main(["protocols"])
    out = capsys.readouterr().out
    assert end.value.code == 0
    assert all(f"  {name}: " in out for name in (*PROTOCOLS, "text2mol33k", "pcdes"))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_follows_a_blank_is_a_name_for_rdkit_and_for_protocols_that_go_by_it(name):
    result = molecule_metrics(["CCO", "CCN"], ["OCC an alcohol", "CCN"], name)
    assert result["Validity"] == result["Exact"] == (0.5 if name == "plain" else 1)
