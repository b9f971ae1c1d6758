"""The molecule generator and the corpus made of it."""

import itertools

import pytest

from atomas_jax.chemistry.assemble import MOST_MOLECULES, assemble
from atomas_jax.chemistry.molecules import canonical_smiles, inchikey, parse
from atomas_jax.corpus.embedded import describe_record, embedded_pairs
from atomas_jax.errors import UserError


def test_molecules_are_valid_distinct_and_canonical():
    molecules = list(assemble(800, seed=0))
    assert len(molecules) == len(set(molecules)) == len({inchikey(smiles) for smiles in molecules}) == 800
    assert all(canonical_smiles(smiles) == smiles for smiles in molecules[:300])
    assert not any(atom.GetNumRadicalElectrons() for s in molecules[:500] for atom in parse(s).GetAtoms())


def test_sequences_are_functions_of_the_seed_and_share_prefixes():
    assert list(assemble(50, seed=4)) == list(itertools.islice(assemble(MOST_MOLECULES, seed=4), 50))
    assert list(assemble(50, seed=4)) != list(assemble(50, seed=5))


def test_the_variety_promised():
    molecules = list(assemble(800, seed=1))

    def share(marks: str) -> float:
        return sum(any(mark in smiles for mark in marks.split()) for smiles in molecules) / len(molecules)

    assert 0.1 < share("@") < 0.6
    assert 0.03 < share("/ \\") < 0.3
    assert 0.02 < share(".") < 0.2
    assert 0.03 < share("+] -]") < 0.3
    assert 0.01 < share("[2H] [13 [18 [11 [125 [15 [3H] [14") < 0.15
    lengths = sorted(map(len, molecules))
    assert lengths[len(lengths) // 4] >= 15 and lengths[len(lengths) * 9 // 10] <= 60 and lengths[-1] <= 80


@pytest.mark.parametrize("count", [-1, MOST_MOLECULES + 1])
def test_a_count_that_cannot_be_made_is_refused_at_once(count):
    with pytest.raises(UserError, match="assembled"):
        assemble(count, seed=0)


@pytest.mark.slow
def test_twenty_thousand_distinct_molecules():
    molecules = list(assemble(20_000, seed=0))
    assert len({inchikey(smiles) for smiles in molecules}) == 20_000


def test_embedded_pairs_are_records_with_phrases_in_place():
    pairs = list(embedded_pairs(30, seed=2))
    assert [pair["smiles"] for pair in pairs] == list(assemble(30, seed=2))
    assert pairs == list(embedded_pairs(30, seed=2)) and len({pair["id"] for pair in pairs}) == 30
    for pair in pairs:
        assert pair["source"] == "embedded" and pair["text"].startswith("The molecule is ")
        size = parse(pair["smiles"]).GetNumAtoms()
        for start, end, atoms in pair["phrases"]:
            assert 0 <= start < end <= len(pair["text"]) and all(0 <= atom < size for atom in atoms)
        assert describe_record(pair["smiles"], 2) == {key: pair[key] for key in ("smiles", "text", "phrases")}
