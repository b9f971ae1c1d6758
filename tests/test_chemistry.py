"""Molecules, fingerprints and drawings."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem, DataStructs

from atomas_jax.chemistry import fingerprints
from atomas_jax.chemistry.drawing import svg
from atomas_jax.chemistry.molecules import (
    LONGEST_SMILES,
    InvalidMolecule,
    canonical_smiles,
    identity,
    inchikey,
    parse,
    random_spelling,
    scaffold,
)
from atomas_jax.errors import UserError

MOLECULES = (
    "CC(=O)Oc1ccccc1C(=O)O",
    "Cn1c(=O)c2c(ncn2C)n(C)c1=O",
    "C[C@H](N)C(=O)N[C@@H](Cc1ccccc1)C(=O)O",
    "OC/C=C\\CC",
    "[13CH3][C@@H](O)CN.Cl",
    "C[N+](C)(C)CC(=O)[O-].O",
    "[2H]c1c([2H])c([2H])c([2H])c([2H])c1[2H]",
    "*CC(=O)[O-].[Na+]",
    "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O",
)


@pytest.mark.parametrize(
    ("smiles", "reason"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("CC(", "syntax"),
        ("CC ethane", "blank"),
        ("C\tC", "blank"),
        ("Cé", "ASCII"),
        ("C" * (LONGEST_SMILES + 1), "characters"),
        ("C(C)(C)(C)(C)C", "valence"),
        ("c1cccc1", "kekulize"),
        (None, "NoneType"),
    ],
)
def test_refusals_say_why(smiles, reason, capfd):
    with pytest.raises(InvalidMolecule, match=f"(?i){reason}"):
        parse(smiles)
    with pytest.raises(UserError):
        parse(smiles)
    assert capfd.readouterr().err == ""


def test_parse_ignores_blanks_around():
    assert canonical_smiles(" OCC\n") == "CCO"


@pytest.mark.parametrize("smiles", MOLECULES)
@given(seed=st.integers(0, 2**40))
@settings(max_examples=5, deadline=None)
def test_a_spelling_is_the_same_molecule(smiles, seed):
    spelling = random_spelling(smiles, seed)
    assert identity(spelling) == identity(smiles)
    assert spelling == random_spelling(smiles, seed)


def test_spellings_differ():
    assert len({random_spelling(MOLECULES[0], seed) for seed in range(10)}) > 3


def test_identity_tells_what_differs():
    alanine, mirrored, flat = (identity(s) for s in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", "CC(N)C(=O)O"))
    assert len({alanine.key, mirrored.key, flat.key}) == 3
    assert alanine.flat_key == mirrored.flat_key == flat.flat_key == flat.key
    assert identity("[2H]C").flat_key != identity("C").flat_key
    assert identity(r"C\C=C\C").flat_key == identity("CC=CC").key
    assert alanine.key == "QNAYBMKLOCPYGJ-REOHCLBHSA-N"


def test_identity_without_inchi():
    assert identity("*CC").key == "SMILES:*CC"
    assert inchikey("*CC") == ""


def test_canonical_without_stereo_keeps_isotopes():
    assert canonical_smiles("[13CH3][C@H](F)Cl", stereo=False) == canonical_smiles("[13CH3]C(F)Cl")


def test_scaffold():
    assert scaffold("CCO") == ""
    assert scaffold("CC(=O)Oc1ccccc1C(=O)O") == "c1ccccc1"
    assert scaffold("C[C@@H](c1ccncc1)N1CCOCC1") == scaffold("C[C@H](c1ccncc1)N1CCOC(Cl)C1")


def test_fingerprints_tell_molecules_apart():
    for kind in (fingerprints.morgan, fingerprints.morgan_bits, fingerprints.maccs, fingerprints.rdk):
        aspirin, salicylic, caffeine = (kind(s) for s in (MOLECULES[0], "O=C(O)c1ccccc1O", MOLECULES[1]))
        assert fingerprints.tanimoto(aspirin, aspirin) == 1
        assert fingerprints.tanimoto(aspirin, salicylic) > fingerprints.tanimoto(aspirin, caffeine)


def test_nearest_agrees_with_rdkit_pair_by_pair():
    queries, library = ["OCCc1ccccc1", "NCCO", "c1ccsc1CC", "[Na+]"], [*MOLECULES, "CCO", "CCO", "c1ccsc1"]
    index, similarity = fingerprints.nearest(queries, library)
    prints = [fingerprints.morgan(s) for s in library]
    for query, i, value in zip(queries, index, similarity, strict=True):
        expected = DataStructs.BulkTanimotoSimilarity(fingerprints.morgan(query), prints)
        assert value == pytest.approx(max(expected), abs=1e-12)
        assert i == int(np.argmax(expected))
    with pytest.raises(ValueError, match="empty"):
        fingerprints.nearest(queries, [])


def test_drawing_never_raises():
    assert svg("CCO", highlight=(0, 1, 99)).startswith("<svg")
    assert "not a valid SMILES" in svg("C(C")
    assert "not a valid SMILES" in svg("")
    assert "too large" in svg("C" * 400)
    assert svg("[Fe+2].c1cc[cH-]c1") and svg("*") and svg("[H][H]")
    assert svg("CCO", width=80, height=60) != svg("CCO", width=80, height=60, highlight=[2])


def test_real_molecules_keep_their_identity(shared):
    with gzip.open(shared / "data/chebi20/cid_to_smiles.tsv.gz", "rt") as rows:
        smiles = [row.rstrip("\n").split("\t")[1] for row in rows][1::600]
    for one in smiles:
        assert identity(random_spelling(one, 7)).canonical == canonical_smiles(one)
        assert Chem.MolFromSmiles(canonical_smiles(one)) is not None
