"""What chemists filter a library by: weight, logP, charge, formula."""

from dataclasses import dataclass

from rdkit import Chem
from rdkit.Chem import Crippen, Descriptors
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from atomas_jax.chemistry.molecules import MoleculeLike, as_molecule


@dataclass(frozen=True, slots=True)
class Properties:
    """Average weight in g/mol, Wildman-Crippen logP, net charge, formula in Hill order without its charge."""

    weight: float
    logp: float
    charge: int
    formula: str


def properties(molecule: MoleculeLike) -> Properties:
    """The properties of a molecule. Raises `InvalidMolecule` for a string that is none."""
    mol = as_molecule(molecule)
    formula = CalcMolFormula(mol)
    for sign in "+-":
        formula = formula.split(sign)[0]
    return Properties(Descriptors.MolWt(mol), Crippen.MolLogP(mol), Chem.GetFormalCharge(mol), formula)


def hill_order(counts: dict[str, int]) -> str:
    """The formula of element counts as `properties` writes it: C, H, then the others by the alphabet; by the alphabet
    alone without C."""
    first = [element for element in ("C", "H") if element in counts] if "C" in counts else []
    order = [*first, *sorted(element for element in counts if element not in first)]
    return "".join(f"{element}{counts[element] if counts[element] > 1 else ''}" for element in order)
