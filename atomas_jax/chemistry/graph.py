"""A molecule's graph as plain lists, read from RDKit once.

The describer asks for the same few properties again and again; RDKit's Python atoms cost a call for each.
"""

from dataclasses import dataclass

from rdkit import Chem

_PERIODIC = Chem.GetPeriodicTable()
SYMBOLS: tuple[str, ...] = ("*", *(_PERIODIC.GetElementSymbol(number) for number in range(1, 119)))


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """One molecule; all lists by atom index, except `bonds` by bond index.

    Attributes:
      mol: the molecule itself, for substructure searches.
      number, symbol, charge, aromatic, hydrogens, isotope: of each atom; `hydrogens` counts implicit and explicit ones.
      neighbours: indices of bonded atoms.
      double: indices of doubly bonded neighbours.
      chirality: "R", "S" or another CIP label; '' for none.
      bonds: (atom, atom, type).
      in_ring: whether an atom is in a ring. rings, ring_bonds: atoms and bonds of the smallest rings.
      fragments: atoms of each connected component.
    """

    mol: Chem.Mol
    number: list[int]
    symbol: list[str]
    charge: list[int]
    aromatic: list[bool]
    hydrogens: list[int]
    isotope: list[int]
    neighbours: list[list[int]]
    double: list[list[int]]
    chirality: list[str]
    bonds: list[tuple[int, int, Chem.BondType]]
    in_ring: list[bool]
    rings: tuple[tuple[int, ...], ...]
    ring_bonds: tuple[tuple[int, ...], ...]
    fragments: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, mol: Chem.Mol) -> "Graph":
        """Reads a sanitised molecule."""
        size = mol.GetNumAtoms()
        atoms = [mol.GetAtomWithIdx(index) for index in range(size)]
        neighbours: list[list[int]] = [[] for _ in range(size)]
        double: list[list[int]] = [[] for _ in range(size)]
        bonds = []
        for index in range(mol.GetNumBonds()):
            bond = mol.GetBondWithIdx(index)
            one, other, kind = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), bond.GetBondType()
            bonds.append((one, other, kind))
            neighbours[one].append(other)
            neighbours[other].append(one)
            if kind == Chem.BondType.DOUBLE:
                double[one].append(other)
                double[other].append(one)
        number = [atom.GetAtomicNum() for atom in atoms]
        info = mol.GetRingInfo()
        rings = info.AtomRings()
        in_ring = [False] * size
        for ring in rings:
            for index in ring:
                in_ring[index] = True
        return cls(
            mol=mol,
            number=number,
            symbol=[SYMBOLS[n] for n in number],
            charge=[atom.GetFormalCharge() for atom in atoms],
            aromatic=[atom.GetIsAromatic() for atom in atoms],
            hydrogens=[atom.GetTotalNumHs(True) for atom in atoms],
            isotope=[atom.GetIsotope() for atom in atoms],
            neighbours=neighbours,
            double=double,
            chirality=[atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else "" for atom in atoms],
            bonds=bonds,
            in_ring=in_ring,
            rings=rings,
            ring_bonds=info.BondRings(),
            fragments=Chem.GetMolFrags(mol),
        )

    def __len__(self) -> int:
        return len(self.number)
