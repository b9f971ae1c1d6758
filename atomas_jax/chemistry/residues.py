"""Amino-acid residues of peptides, recognised by their side chains."""

from functools import cache

from rdkit import Chem

from atomas_jax.chemistry.components import Part, multiplied
from atomas_jax.chemistry.graph import Graph

AMINO_ACIDS: dict[str, str] = {
    "glycine": "NCC=O",
    "alanine": "NC(C)C=O",
    "valine": "NC(C(C)C)C=O",
    "leucine": "NC(CC(C)C)C=O",
    "isoleucine": "NC(C(C)CC)C=O",
    "proline": "N1CCCC1C=O",
    "phenylalanine": "NC(Cc1ccccc1)C=O",
    "tyrosine": "NC(Cc1ccc(O)cc1)C=O",
    "tryptophan": "NC(Cc1c[nH]c2ccccc12)C=O",
    "serine": "NC(CO)C=O",
    "threonine": "NC(C(C)O)C=O",
    "cysteine": "NC(CS)C=O",
    "methionine": "NC(CCSC)C=O",
    "aspartic acid": "NC(CC(=O)O)C=O",
    "asparagine": "NC(CC(=O)N)C=O",
    "glutamic acid": "NC(CCC(=O)O)C=O",
    "glutamine": "NC(CCC(=O)N)C=O",
    "lysine": "NC(CCCCN)C=O",
    "arginine": "NC(CCCNC(=N)N)C=O",
    "histidine": "NC(Cc1c[nH]cn1)C=O",
    "ornithine": "NC(CCCN)C=O",
    "norleucine": "NC(CCCC)C=O",
    "homoserine": "NC(CCO)C=O",
    "2-aminobutyric acid": "NC(CC)C=O",
    "4-hydroxyproline": "N1CC(O)CC1C=O",
    "pipecolic acid": "N1CCCCC1C=O",
    "phenylglycine": "NC(c1ccccc1)C=O",
    "2-aminoisobutyric acid": "NC(C)(C)C=O",
}
_BACKBONE = Chem.MolFromSmarts("[NX3,NX4+;!$(N=*)]-[CX4]-[CX3;!R0,R0](=[OX1])[NX3,OX2,OX1-]")
_LARGEST_SIDE_CHAIN = 20


@cache
def _names() -> dict[str, str]:
    table = {}
    for name, smiles in AMINO_ACIDS.items():
        graph = Graph.of(Chem.MolFromSmiles(smiles))
        nitrogen, alpha, carbonyl = graph.mol.GetSubstructMatch(Chem.MolFromSmarts("[#7][CX4][CX3H1]=O"))[:3]
        table[_key(graph, _residue(graph, nitrogen, alpha, carbonyl))] = name
    return table


def _residue(graph: Graph, nitrogen: int, alpha: int, carbonyl: int) -> frozenset[int]:
    """N, C-alpha, carbonyl carbon and the side chain, which ends at the backbone, at a disulfide and at its limit."""
    atoms, border = {nitrogen, alpha, carbonyl}, [alpha]
    while border and len(atoms) <= _LARGEST_SIDE_CHAIN:
        here = border.pop()
        for index in graph.neighbours[here]:
            if index in atoms or (graph.number[here] == graph.number[index] == 16):
                continue
            atoms.add(index)
            border.append(index)
    return frozenset(atoms)


def _key(graph: Graph, atoms: frozenset[int]) -> str:
    """Equal for equal residues; a small graph of its own, because a large molecule makes every fragment of it slow."""
    order = {index: place for place, index in enumerate(sorted(atoms))}
    small = Chem.RWMol()
    marks = []
    for index in order:
        small.AddAtom(Chem.Atom(graph.number[index]))
        marks.append(f"[{graph.symbol[index].lower() if graph.aromatic[index] else graph.symbol[index]}]")
    for one in order:
        for other in graph.neighbours[one]:
            if one < other and other in order:
                double = other in graph.double[one]
                kind = Chem.BondType.DOUBLE if double else Chem.BondType.SINGLE
                small.AddBond(order[one], order[other], kind)
    return Chem.MolFragmentToSmiles(small, list(order.values()), atomSymbols=marks, isomericSmiles=False)


def find_residues(graph: Graph) -> list[tuple[str, tuple[int, ...]]]:
    """(name, atoms) of each amino-acid residue joined to another by a peptide bond.

    No peptide, and []: fewer than two residues, or more unknown side chains than known ones.

    A residue whose side chain is not in the table is a "modified amino acid".
    """
    matches = graph.mol.GetSubstructMatches(_BACKBONE, maxMatches=2_000)
    if len(matches) < 2:
        return []
    carbonyls = {match[2] for match in matches}
    nitrogens = {match[0] for match in matches}
    found = {}
    for nitrogen, alpha, carbonyl, oxygen, link in matches:
        previous = any(other in carbonyls for other in graph.neighbours[nitrogen] if other != alpha)
        if not (link in nitrogens or previous) or alpha in found:
            continue
        atoms = _residue(graph, nitrogen, alpha, carbonyl)
        name = _names().get(_key(graph, atoms)) if len(atoms) <= _LARGEST_SIDE_CHAIN else None
        own = atoms if name else (nitrogen, alpha, carbonyl)
        found[alpha] = (name or "modified amino acid", tuple(sorted({*own, oxygen})))
    known = sum(name in AMINO_ACIDS for name, _ in found.values())
    return list(found.values()) if len(found) > 1 and 2 * known >= len(found) else []


def peptide_name(residues: int) -> str:
    """ "dipeptide" to "decapeptide", then "oligopeptide" and, from fifty residues, "polypeptide"."""
    return multiplied(residues, "peptide") if residues <= 10 else "oligopeptide" if residues < 50 else "polypeptide"


def residue_parts(residues: list[tuple[str, tuple[int, ...]]]) -> list[Part]:
    """Residues of one name together, the most frequent first."""
    grouped: dict[str, list[tuple[int, ...]]] = {}
    for name, atoms in residues:
        grouped.setdefault(name, []).append(atoms)
    parts = [Part(f"{name} residue", len(g), tuple(sorted(set().union(*g)))) for name, g in grouped.items()]
    return sorted(parts, key=lambda part: (-part.count, part.name))
