"""Conditions on molecules, and sampling until they are met."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.chemistry.filters import begins_smiles, molecule_filter
from atomas_jax.errors import UserError

ASPIRIN, ETHANOL = "CC(=O)Oc1ccccc1C(=O)O", "CCO"


@pytest.mark.parametrize(
    "condition, why",
    [
        ({"require_smarts": ["[CX3](=O)[OX2H1]"]}, "lacks [CX3](=O)[OX2H1]"),
        ({"keep": ["c1ccccc1"]}, "lacks c1ccccc1"),
        ({"formula": "C9H8O4"}, "formula is C2H6O"),
        ({"weight": "100:200"}, "weight is 46.07"),
        ({"weight": "100:"}, "weight is 46.07"),
    ],
)
def test_a_condition_tells_one_molecule_from_another(condition, why):
    asked = molecule_filter(**condition)
    assert asked.accepts(ASPIRIN)
    assert asked.objection(ETHANOL) == why


def test_what_is_forbidden_or_no_molecule_does_not_pass():
    asked = molecule_filter(forbid_smarts=["c1ccccc1"])
    assert asked.accepts(ETHANOL)
    assert asked.objection(ASPIRIN) == "contains c1ccccc1"
    assert "not valid SMILES syntax" in asked.objection("C1CC")


def test_charge_is_no_part_of_the_formula_asked_for():
    assert molecule_filter(formula="C2H3O2").accepts("CC(=O)[O-]")


@pytest.mark.parametrize(
    "condition",
    [{"require_smarts": ["C("]}, {"forbid_smarts": [""]}, {"formula": "c9"}, {"weight": "200"}, {"weight": "5:2"},
     {"weight": "a:b"}, {"weight": "nan:3"}, {"keep": ["C1"]}],
)  # fmt: skip
def test_what_cannot_be_read_is_answered_in_one_line(condition):
    with pytest.raises(UserError) as error:
        molecule_filter(**condition)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "prefix",
    ["c1ccc(", "C[C@H", "[", "[1", "[N+", "C=", "C1CC(=O", "C%12C", "c1ccc2c(c1)", "C/C=C\\", "C12CC", "CC.", "[O-]"],
)
def test_what_may_begin_a_smiles(prefix):
    assert begins_smiles(prefix)


@pytest.mark.parametrize(
    "prefix", ["XYZ", "CC)", "C((", "C[Xx", "C(]", "(", "1C", "=C", "C==", "C[C@H]]", "C C", "", "C%", "C%1", "C%1CC"]
)
def test_what_may_not(prefix):
    assert not begins_smiles(prefix)


@settings(deadline=None, max_examples=30)
@given(
    st.sampled_from([ASPIRIN, "C[C@@H](N)C(=O)[O-]", "F/C=C/F", "C1CC2(C1)CC%10CC2C%10", "[13CH3][Fe+2]c1ccsc1"]),
    st.data(),
)
def test_every_beginning_of_a_smiles_is_one(smiles, data):
    end = data.draw(st.integers(1, len(smiles)))
    assert begins_smiles(smiles[:end]) or smiles[:end].endswith("%") or smiles[:end][-2:-1] == "%"
