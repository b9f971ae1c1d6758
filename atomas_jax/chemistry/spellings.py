"""Other spellings of the same molecule, to ask a model whether it reads molecules or strings.

Source of the idea: AMORE (Ganeeva et al., 2024), whose spellings these are, the random one added.
"""

from rdkit import Chem

from atomas_jax.chemistry.molecules import MoleculeLike, as_molecule, canonical_smiles, random_spelling


def kekulised(molecule: MoleculeLike) -> str:
    """Canonical SMILES with alternating double bonds and capital letters in place of aromatic atoms."""
    mol = Chem.Mol(as_molecule(molecule))
    Chem.Kekulize(mol, clearAromaticFlags=True)
    return Chem.MolToSmiles(mol, kekuleSmiles=True)


def explicit_hydrogens(molecule: MoleculeLike) -> str:
    """Canonical SMILES with every hydrogen written as an atom."""
    return Chem.MolToSmiles(Chem.AddHs(as_molecule(molecule)))


AS_GIVEN = "as given"

SPELLINGS = {
    AS_GIVEN: lambda smiles, seed: smiles,
    "RDKit-canonical": lambda smiles, seed: canonical_smiles(smiles),
    "random": random_spelling,
    "kekulised": lambda smiles, seed: kekulised(smiles),
    "explicit hydrogens": lambda smiles, seed: explicit_hydrogens(smiles),
}
"""By name: (SMILES, seed) -> another SMILES of the same molecule; only "random" depends on the seed."""
