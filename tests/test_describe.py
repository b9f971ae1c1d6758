"""Captions written from structure: what they say, where they point, and what must not change them."""

import gzip
import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

from atomas_jax.chemistry.assemble import assemble
from atomas_jax.chemistry.describe import describe
from atomas_jax.chemistry.grammar import article, number, plural
from atomas_jax.chemistry.graph import Graph
from atomas_jax.chemistry.groups import GROUPS, find_groups
from atomas_jax.chemistry.molecules import InvalidMolecule, parse, random_spelling
from atomas_jax.chemistry.ring_search import find_ring_systems
from atomas_jax.chemistry.ring_systems import EXAMPLES, SKELETONS

ASPIRIN = "CC(=O)Oc1ccccc1C(=O)O"
CAFFEINE = "Cn1c(=O)c2c(ncn2C)n(C)c1=O"
CHOLESTEROL = "C[C@H](CCCC(C)C)[C@H]1CC[C@@H]2[C@@]1(CC[C@H]3[C@H]2CC=C4[C@@]3(CC[C@@H](C4)O)C)C"
PENICILLIN = "CC1(C)S[C@@H]2[C@H](NC(=O)Cc3ccccc3)C(=O)N2[C@H]1C(=O)O"
STILBENE = r"C(=C/c1ccccc1)\c1ccccc1"
DEUTERATED = "[2H]c1c([2H])c([2H])c([2H])c([2H])c1[2H]"
PHOSPHOLIPID = r"CCCCCCCCCCCCCCCC(=O)OC[C@H](COP(=O)([O-])OCC[N+](C)(C)C)OC(=O)CCCCCCC/C=C\CCCCCCCC"
TRIPEPTIDE = "C[C@H](N)C(=O)N[C@@H](Cc1ccccc1)C(=O)NCC(=O)O"
ASSEMBLED = tuple(assemble(80, seed=3))
ODD = (
    "C",
    "[Na+]",
    "O",
    "[Fe]",
    "*",
    "*CC",
    "[H][H]",
    "[H+]",
    "[Fe+2].c1cc[cH-]c1.c1cc[cH-]c1",
    "N[Pt](N)(Cl)Cl",
    "[C-]#[O+]",
)


def said(smiles: str, seeds: int = 12) -> dict[str, tuple[int, ...]]:
    """Every phrase of a molecule's captions over some seeds, with its atoms."""
    return {
        description.text[phrase.start : phrase.end]: phrase.atoms
        for description in (describe(smiles, seed) for seed in range(seeds))
        for phrase in description.phrases
    }


def check_spans(smiles: str, description) -> None:
    end, size = 0, parse(smiles).GetNumAtoms()
    for phrase in description.phrases:
        assert end <= phrase.start < phrase.end <= len(description.text)
        assert phrase.atoms and list(phrase.atoms) == sorted(set(phrase.atoms))
        assert phrase.atoms[0] >= 0 and phrase.atoms[-1] < size
        end = phrase.end


def test_tables_are_large_enough_and_sound():
    assert len({group.name for group in GROUPS}) == len(GROUPS) >= 60
    assert len(EXAMPLES) + len(SKELETONS) >= 60
    assert all(Chem.MolFromSmarts(group.smarts) is not None for group in GROUPS)


@pytest.mark.parametrize("name", [*EXAMPLES, *SKELETONS])
def test_every_ring_system_is_found_in_its_example(name):
    (system,) = find_ring_systems(Graph.of(parse({**EXAMPLES, **SKELETONS}[name])))
    assert system.name.removesuffix(" system").removesuffix(" ring") == name


def test_ring_names_survive_substitution_and_fall_back_honestly():
    def names(smiles):
        return [system.name for system in find_ring_systems(Graph.of(parse(smiles)))]

    assert names("Clc1ccc2[nH]c(C)cc2c1") == ["indole ring system"]
    assert names("CC(=O)N1CCCC1c1ccco1") == ["pyrrolidine ring", "furan ring"]
    assert names("O=c1cccc[nH]1") == ["pyridin-2-one ring"]
    assert names("O=C1CCCCC1") == ["cyclohexane ring"]
    assert names(CHOLESTEROL) == ["steroid skeleton"]
    assert names("C1CCCCCCCCCCCNC1") == ["fourteen-membered nitrogen-containing macrocycle"]
    assert names("C1CC2CC3CC2(C1)CS3") == ["bridged tricyclic sulfur-containing ring system"]
    assert names("C1CCC2(CC1)OCCO2") == ["cyclohexane ring", "1,3-dioxolane ring"]


def test_an_ester_is_no_ether_and_no_ketone():
    def names(smiles):
        return sorted(match.group.name for match in find_groups(Graph.of(parse(smiles))))

    assert names("CCC(=O)OCCC") == ["carboxylic ester"]
    assert names("CCC(=O)O") == ["carboxy group"]
    assert names("CCC(=O)NC") == ["secondary carboxamide group"]
    assert names("COCC(=O)CC") == ["ketone", "methoxy group"]
    assert names("C[N+](=O)[O-]") == ["nitro group"]
    assert names("CCOCC(F)(F)F") == ["ethoxy group", "trifluoromethyl group"]
    assert names("NC(=O)NC") == ["urea group"]
    assert names("CS(=O)(=O)Nc1ccccc1") == ["sulfonamide group"]


@pytest.mark.parametrize(
    ("smiles", "phrases"),
    [
        (ASPIRIN, {"benzoic acid": {4, 5, 6, 7, 8, 9, 10, 11, 12}, "acetoxy group": {0, 1, 2, 3}}),
        (CAFFEINE, {"three methyl groups": {0, 9, 11}}),
        (CHOLESTEROL, {"steroid": set(), "secondary alcohol": {25}}),
        ("[NH3+]CC(=O)[O-]", {"amino acid": {0, 1, 2, 3, 4}, "zwitterion": {0, 4}}),
        ("CC(=O)[O-].[Na+]", {"sodium counter-ion": {4}, "monocarboxylic acid anion": {1, 2, 3}, "sodium salt": {4}}),
        (PENICILLIN, {"penam ring system": set(), "beta-lactam": set(), "two (R)-stereocentres": {4, 5}}),
        (STILBENE, {"stilbene": set(range(14)), "(E)-configured double bond": {0, 1}}),
        (DEUTERATED, {"six deuterium atoms": {0, 3, 5, 7, 9, 11}, "benzene ring": {1, 2, 4, 6, 8, 10}}),
        (PHOSPHOLIPID, {"hexadecanoyl chain": set(range(16)), "octadecenoyl chain": set(), "zwitterion": set()}),
        (TRIPEPTIDE, {"tripeptide": set(), "alanine residue": {0, 1, 2, 3, 4}, "glycine residue": set()}),
        ("CCN.Cl", {"hydrochloride": {3}, "hydrogen chloride molecule": {3}}),
        ("C[N+](C)(C)CC(=O)[O-].O", {"monohydrate": {8}, "water molecule": {8}}),
        ("CCCCCCCC/C=C\\CCCCCCCC(=O)O", {"monounsaturated long-chain fatty acid": set(range(20))}),
        ("CC(C)(C)c1ccc(Cl)cc1", {"tert-butyl group": {0, 1, 2, 3}, "para-disubstituted benzene ring": set()}),
        ("[13CH3]CO", {"carbon-13 atom": {0}, "primary alcohol": {2}}),
        ("CC(N)C(=O)O", {"undefined stereocentre": {1}}),
        ("[Ca+2].[Cl-].[Cl-]", {"inorganic salt": {0, 1, 2}}),
    ],
)
def test_well_known_molecules(smiles, phrases):
    found = said(smiles, seeds=40)
    for phrase, atoms in phrases.items():
        assert phrase in found, sorted(found)
        assert not atoms or set(found[phrase]) == atoms


def test_the_atoms_of_a_group_phrase_are_its_matches():
    names = {group.name: group for group in GROUPS if group.name.endswith(" group")}
    checked = 0
    for smiles in assemble(150, seed=11):
        groups: dict[str, set[int]] = {}
        for match in find_groups(Graph.of(parse(smiles))):
            groups.setdefault(match.group.name, set()).update(match.atoms)
        description = describe(smiles, 5)
        for phrase in description.phrases:
            text = description.text[phrase.start : phrase.end]
            if text in names and "." not in smiles:
                assert set(phrase.atoms) <= groups[text] and len(phrase.atoms) > 0
                matches = Chem.MolFromSmiles(smiles).GetSubstructMatches(Chem.MolFromSmarts(names[text].smarts))
                assert any(set(match) <= set(phrase.atoms) for match in matches)
                checked += 1
    assert checked > 40


@given(seed=st.integers(0, 2**32), which=st.integers(0, 79), shuffle=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_atom_order_changes_no_text_and_renumbers_the_atoms(seed, which, shuffle):
    mol = parse(ASSEMBLED[which]) if which % 7 else parse(PENICILLIN)
    order = list(range(mol.GetNumAtoms()))
    random.Random(shuffle).shuffle(order)
    shuffled = Chem.RenumberAtoms(mol, order)
    here, there = describe(mol, seed), describe(shuffled, seed)
    assert here.text == there.text
    symmetry = list(Chem.CanonicalRankAtoms(mol, breakTies=False))
    for one, other in zip(here.phrases, there.phrases, strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        # Equal up to the molecule's own symmetry: twins may be named in either order.
        assert sorted(symmetry[a] for a in one.atoms) == sorted(symmetry[order[a]] for a in other.atoms)


def test_spelling_changes_nothing_but_the_seed_does():
    for smiles in (CHOLESTEROL, PENICILLIN, PHOSPHOLIPID):
        assert {describe(random_spelling(smiles, n), 4).text for n in range(5)} == {describe(smiles, 4).text}
        assert len({describe(smiles, seed).text for seed in range(10)}) > 4


def test_explicit_hydrogens_keep_the_numbering():
    mol = Chem.AddHs(parse("OCC(F)(F)F"))
    description = describe(mol, 1)
    assert description.text == describe("OCC(F)(F)F", 1).text
    assert all(mol.GetAtomWithIdx(a).GetAtomicNum() > 1 for phrase in description.phrases for a in phrase.atoms)


@pytest.mark.parametrize("smiles", ODD)
def test_odd_molecules_are_described(smiles):
    for seed in range(4):
        description = describe(smiles, seed)
        assert description.text.startswith("The molecule is ") and description.phrases
        check_spans(smiles, description)


def test_a_long_peptide_takes_no_time_and_few_words():
    smiles = "N[C@@H](C)C(=O)" * 200 + "O"
    description = describe(smiles, 0)
    assert "polypeptide" in description.text and len(description.text.split()) < 70


def test_a_bad_string_is_refused():
    with pytest.raises(InvalidMolecule):
        describe("C1CC")


@pytest.mark.parametrize(
    "value, text", [(0, "zero"), (21, "twenty-one"), (40, "forty"), (112, "one hundred and twelve")]
)
def test_numbers(value, text):
    assert number(value) == text


def test_articles_and_plurals():
    nouns = "an ester|a urea group|an (S)-stereocentre|an (E)-configured bond|a (Z)-configured bond|an N-oxide group"
    nouns += "|a 1,3-dioxolane ring|an organic compound|a uracil|an imide|a hydroxy group|an 8-oxabicycle"
    for noun in nouns.split("|"):
        given_article, rest = noun.split(" ", 1)
        assert article(rest) == given_article, rest
    assert plural("carboxy group") == "carboxy groups"
    assert plural("double bond of undefined geometry") == "double bonds of undefined geometry"
    assert plural("thiirane box") == "thiirane boxes" and plural("alloy body") == "alloy bodies"


def _check_caption(smiles: str, seed: int) -> int:
    description = describe(smiles, seed)
    text = description.text
    check_spans(smiles, description)
    assert re.fullmatch(r"(?:[A-Z][^.]*\.(?: |$))+", re.sub(r"\[[\d.]+\]|-?\d\.\d", "", text)), text
    assert not re.search(r"\ba [aeio]|\ban [bcdfgjklmpqrtvwxz]|  | ,|\{|\}", text), text
    return len(text.split())


def test_captions_of_assembled_molecules_read_well():
    lengths = [_check_caption(smiles, seed) for seed, smiles in enumerate(assemble(250, seed=5))]
    assert sum(10 <= length <= 60 for length in lengths) >= 0.97 * len(lengths)


def test_captions_of_real_molecules_read_well(shared):
    with gzip.open(shared / "data/chebi20/cid_to_smiles.tsv.gz", "rt") as rows:
        smiles = [row.rstrip("\n").split("\t")[1] for row in rows][1::300]
    with gzip.open(shared / "data/zinc250k/zinc250k.smi.gz", "rt") as rows:
        smiles += [row.strip() for row in rows][::2500]
    lengths = [_check_caption(one, seed) for seed, one in enumerate(smiles)]
    phrases = [len(describe(one).phrases) for one in smiles]
    assert sum(count >= 3 for count in phrases) > 0.95 * len(phrases)
    assert sum(10 <= length <= 60 for length in lengths) >= 0.97 * len(lengths)
