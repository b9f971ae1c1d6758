"""Stereo facts: (R) and (S) centres, (E) and (Z) double bonds, and what a structure leaves open."""

from dataclasses import dataclass

from rdkit import Chem

_LARGEST_SEARCHED = 150
"""Atoms beyond which undefined stereo is not looked for: the search takes more than linear time."""


@dataclass(frozen=True, slots=True)
class StereoFact:
    """Some elements of one kind, e.g. two "(R)-stereocentre"; `atoms` of all of them together."""

    name: str
    count: int
    atoms: tuple[int, ...]


def find_stereo(mol: Chem.Mol) -> list[StereoFact]:
    """Defined elements first, then the undefined ones; needs perceived stereo, as parsing gives it."""
    centres: dict[str, list[int]] = {"R": [], "S": []}
    for atom in mol.GetAtoms():
        if atom.HasProp("_CIPCode"):
            centres.setdefault(atom.GetProp("_CIPCode"), []).append(atom.GetIdx())
    bonds: dict[str, list[Chem.Bond]] = {"E": [], "Z": []}
    for bond in mol.GetBonds():
        if bond.GetStereo() == Chem.BondStereo.STEREOE:
            bonds["E"].append(bond)
        elif bond.GetStereo() == Chem.BondStereo.STEREOZ:
            bonds["Z"].append(bond)
    facts = [StereoFact(f"({label})-stereocentre", len(a), tuple(a)) for label, a in centres.items() if a]
    facts += [
        StereoFact(f"({label})-configured double bond", len(some), _ends(some)) for label, some in bonds.items() if some
    ]
    if mol.GetNumAtoms() <= _LARGEST_SEARCHED:
        facts += _undefined(mol)
    return facts


def _ends(bonds: list[Chem.Bond]) -> tuple[int, ...]:
    return tuple(sorted({end for bond in bonds for end in (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())}))


def _undefined(mol: Chem.Mol) -> list[StereoFact]:
    open_centres, open_bonds = [], []
    for element in Chem.FindPotentialStereo(mol):
        if element.specified != Chem.StereoSpecified.Unspecified:
            continue
        if (
            element.type == Chem.StereoType.Atom_Tetrahedral
            and mol.GetAtomWithIdx(element.centeredOn).GetSymbol() == "C"
        ):
            open_centres.append(element.centeredOn)
        elif element.type == Chem.StereoType.Bond_Double:
            open_bonds.append(mol.GetBondWithIdx(element.centeredOn))
    facts = []
    if open_centres:
        facts.append(StereoFact("undefined stereocentre", len(open_centres), tuple(open_centres)))
    if open_bonds:
        facts.append(StereoFact("double bond of undefined geometry", len(open_bonds), _ends(open_bonds)))
    return facts
