"""Amino-acid residues of peptides, recognised by their side chains."""

from functools import cache

from rdkit import Chem

from atomas_jax.chemistry.components import Part, multiplied

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
        mol = Chem.MolFromSmiles(smiles)
        nitrogen, alpha, carbonyl = mol.GetSubstructMatch(Chem.MolFromSmarts("[#7][CX4][CX3H1]=O"))[:3]
        table[_key(mol, _residue(mol, nitrogen, alpha, carbonyl))] = name
    return table


def _residue(mol: Chem.Mol, nitrogen: int, alpha: int, carbonyl: int) -> frozenset[int]:
    """N, C-alpha, carbonyl carbon and the side chain, which ends at the backbone, at a disulfide and at its limit."""
    atoms, border = {nitrogen, alpha, carbonyl}, [alpha]
    while border and len(atoms) <= _LARGEST_SIDE_CHAIN:
        here = mol.GetAtomWithIdx(border.pop())
        for neighbour in here.GetNeighbors():
            index = neighbour.GetIdx()
            if index in atoms or (here.GetAtomicNum() == neighbour.GetAtomicNum() == 16):
                continue
            atoms.add(index)
            border.append(index)
    return frozenset(atoms)


def _key(mol: Chem.Mol, atoms: frozenset[int]) -> str:
    symbols = [a.GetSymbol().lower() if a.GetIsAromatic() else a.GetSymbol() for a in mol.GetAtoms()]
    marks = [f"[{symbol}]" for symbol in symbols]
    return Chem.MolFragmentToSmiles(mol, sorted(atoms), atomSymbols=marks, isomericSmiles=False)


def find_residues(mol: Chem.Mol) -> list[tuple[str, tuple[int, ...]]]:
    """(name, atoms) of each amino-acid residue joined to another by a peptide bond; [] for what is no peptide.

    A residue whose side chain is not in the table is a "modified amino acid".
    """
    matches = mol.GetSubstructMatches(_BACKBONE, maxMatches=2_000)
    if len(matches) < 2:
        return []
    carbonyls = {match[2] for match in matches}
    nitrogens = {match[0] for match in matches}
    found = {}
    for nitrogen, alpha, carbonyl, oxygen, link in matches:
        previous = any(
            n.GetIdx() in carbonyls for n in mol.GetAtomWithIdx(nitrogen).GetNeighbors() if n.GetIdx() != alpha
        )
        if not (link in nitrogens or previous) or alpha in found:
            continue
        atoms = _residue(mol, nitrogen, alpha, carbonyl)
        name = _names().get(_key(mol, atoms)) if len(atoms) <= _LARGEST_SIDE_CHAIN else None
        own = atoms if name else (nitrogen, alpha, carbonyl)
        found[alpha] = (name or "modified amino acid", tuple(sorted({*own, oxygen})))
    return list(found.values()) if len(found) > 1 else []


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
