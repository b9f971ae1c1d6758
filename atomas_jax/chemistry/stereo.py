"""Stereo facts: (R) and (S) centres, (E) and (Z) double bonds, and what a structure leaves open."""

from dataclasses import dataclass
from itertools import combinations

from rdkit import Chem

from atomas_jax.chemistry.graph import Graph

_GEOMETRIES = {Chem.BondStereo.STEREOE: "E", Chem.BondStereo.STEREOZ: "Z"}
_LARGEST_SEARCHED = 150
"""Atoms beyond which undefined stereo is not looked for: the search takes more than linear time."""


@dataclass(frozen=True, slots=True)
class StereoFact:
    """Some elements of one kind, e.g. two "(R)-stereocentre"; `atoms` of all of them together."""

    name: str
    count: int
    atoms: tuple[int, ...]


def find_stereo(graph: Graph) -> list[StereoFact]:
    """Defined elements first, then the undefined ones; needs perceived stereo, as parsing gives it."""
    centres: dict[str, list[int]] = {"R": [], "S": []}
    for index, label in enumerate(graph.chirality):
        if label:
            centres.setdefault(label, []).append(index)
    bonds: dict[str, list[int]] = {"E": [], "Z": []}
    for index, (_, _, kind) in enumerate(graph.bonds):
        if kind == Chem.BondType.DOUBLE:
            label = _GEOMETRIES.get(graph.mol.GetBondWithIdx(index).GetStereo())
            if label:
                bonds[label].append(index)
    facts = [StereoFact(f"({label})-stereocentre", len(a), tuple(a)) for label, a in centres.items() if a]
    facts += [
        StereoFact(f"({label})-configured double bond", len(some), _ends(graph, some))
        for label, some in bonds.items()
        if some
    ]
    if len(graph) <= _LARGEST_SEARCHED:
        facts += _undefined(graph)
    return facts


def _ends(graph: Graph, bonds: list[int]) -> tuple[int, ...]:
    return tuple(sorted({end for index in bonds for end in graph.bonds[index][:2]}))


def _undefined(graph: Graph) -> list[StereoFact]:
    open_centres, open_bonds = [], []
    for element in Chem.FindPotentialStereo(graph.mol):
        if element.specified != Chem.StereoSpecified.Unspecified:
            continue
        if element.type == Chem.StereoType.Atom_Tetrahedral:
            if graph.number[element.centeredOn] == 6 and not _bridgehead(graph, element.centeredOn):
                open_centres.append(element.centeredOn)
        elif element.type == Chem.StereoType.Bond_Double:
            open_bonds.append(element.centeredOn)
    facts = []
    if open_centres:
        facts.append(StereoFact("undefined stereocentre", len(open_centres), tuple(open_centres)))
    if open_bonds:
        facts.append(StereoFact("double bond of undefined geometry", len(open_bonds), _ends(graph, open_bonds)))
    return facts


def _bridgehead(graph: Graph, atom: int) -> bool:
    """Whether an atom is in two rings with a bridge between them: its geometry is fixed by the cage (adamantane)."""
    rings = [set(ring) for ring in graph.rings if atom in ring]
    return any(len(one & other) > 2 for one, other in combinations(rings, 2))
