"""SMILES cut at atoms: never a character lost, never an atom cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomas_jax.tokens.smiles import COMMON_BRACKETS, ELEMENTS, INNER, OUTER, split, split_bracket

smiles_like = st.text(alphabet="CNOPSFIBrlcnops[]()=#$:/\\.-+@%*~<>0123456789Ha ", max_size=60)


@given(st.one_of(st.text(max_size=60), smiles_like))
@settings(max_examples=200, deadline=None)
def test_the_pieces_of_any_string_join_to_it(string):
    assert "".join(split(string)) == string


@given(st.one_of(st.text(max_size=20), smiles_like))
@settings(max_examples=200, deadline=None)
def test_the_pieces_of_any_bracket_atom_join_to_it(inside):
    assert "".join(split_bracket(f"[{inside}]")) == inside


@pytest.mark.parametrize(
    ("smiles", "pieces"),
    [
        ("", []),
        ("CBr", ["C", "Br"]),
        ("ClCCl", ["Cl", "C", "Cl"]),
        ("BrB(Cl)C", ["Br", "B", "(", "Cl", ")", "C"]),
        ("c1cc[nH]c1", ["c", "1", "c", "c", "[nH]", "c", "1"]),
        (r"F/C=C\F", ["F", "/", "C", "=", "C", "\\", "F"]),
        ("C%12CC%12", ["C", "%12", "C", "C", "%12"]),
        ("C%(123)C%1C", ["C", "%(123)", "C", "%", "1", "C"]),
        ("[13C@@H2+:7]-[Na+].[O-]", ["[13C@@H2+:7]", "-", "[Na+]", ".", "[O-]"]),
        ("N->[Pt]<-N", ["N", "->", "[Pt]", "<-", "N"]),
        ("C:C~C$C*", ["C", ":", "C", "~", "C", "$", "C", "*"]),
        ("[C[H]", ["[", "C", "[H]"]),
        ("C]\n€", ["C", "]", "\n", "€"]),
    ],
)
def test_split(smiles, pieces):
    assert split(smiles) == pieces


@pytest.mark.parametrize(
    ("atom", "pieces"),
    [
        ("[13C@@H:12]", ["1", "3", "C", "@@", "H", ":", "1", "2"]),
        ("[CH3-]", ["C", "H", "3", "-"]),
        ("[cH-]", ["c", "H", "-"]),
        ("[Co@OH12+2]", ["Co", "@OH", "1", "2", "+", "2"]),
        ("[nH]", ["n", "H"]),
        ("[se]", ["se"]),
        ("[#6]", ["#", "6"]),
        ("[Og]", ["Og"]),
    ],
)
def test_split_bracket(atom, pieces):
    assert split_bracket(atom) == pieces
    assert set(pieces) <= set(INNER)


def test_the_fixed_vocabulary_is_made_of_whole_pieces():
    assert len(ELEMENTS) == len(set(ELEMENTS)) == 118
    for piece in (*OUTER, *COMMON_BRACKETS):
        assert split(piece) == [piece]
    assert len(set(COMMON_BRACKETS)) == len(COMMON_BRACKETS)
    for atom in COMMON_BRACKETS:
        assert set(split_bracket(atom)) <= set(INNER)
