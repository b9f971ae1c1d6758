"""Carbon chains outside rings: alkyl and acyl groups by name, bridges between other parts, branched pieces."""

from collections.abc import Set
from dataclasses import dataclass

from rdkit import Chem

from atomas_jax.chemistry.grammar import number

_UNITS = ["", "hen", "do", "tri", "tetra", "penta", "hexa", "hepta", "octa", "nona"]
_FIRST = ["", "meth", "eth", "prop", "but", "pent", "hex", "hept", "oct", "non", "dec", "undec", "dodec", "tridec"]
_FIRST += ["tetradec", "pentadec", "hexadec", "heptadec", "octadec", "nonadec", "icos"]
_TENS = {2: "cos", 3: "triacont", 4: "tetracont", 5: "pentacont", 6: "hexacont"}
_MULTIPLES = ["", "", "di", "tri", "tetra", "penta", "hexa", "hepta", "octa"]
_LONGEST_NAMED = 69


def root(carbons: int) -> str:
    """The stem of a chain's name: 16 is "hexadec". Raises ValueError outside 1 to 69 carbons."""
    if not 1 <= carbons <= _LONGEST_NAMED:
        raise ValueError(f"no name for a chain of {carbons} carbons")
    if carbons <= 20:
        return _FIRST[carbons]
    tens, unit = divmod(carbons, 10)
    return _UNITS[unit] + _TENS[tens]


def unsaturated_root(carbons: int, double: int, triple: int = 0) -> str:
    """The stem with its unsaturation, to which "yl" or "oyl" is added: (18, 2) is "octadecadien", (4, 0) is "butan"."""
    stem = root(carbons)
    if not double and not triple:
        return stem + "an"
    parts = []
    for count, ending in ((double, "en"), (triple, "yn")):
        if count:
            parts.append(("a" + _MULTIPLES[count] if count > 1 else "") + ending)
    return stem + "-".join(parts)


@dataclass(frozen=True, slots=True)
class Chain:
    """A named piece of carbon chain; `name` is a noun such as "hexadecyl group"; `carbons` as the name counts them."""

    name: str
    atoms: tuple[int, ...]
    carbons: int
    double_bonds: int = 0


def find_chains(mol: Chem.Mol, taken: Set[int], acyl_carbons: Set[int]) -> list[Chain]:
    """The chains of `mol`, longest first.

    Args:
      taken: atoms that groups have claimed and chains must not enter (not those of plain C=C bonds).
      acyl_carbons: carbonyl carbons that end an acyl group: a chain fixed to one is named as acyl, it included.
    """
    free = {
        atom.GetIdx()
        for atom in mol.GetAtoms()
        if atom.GetAtomicNum() == 6 and not atom.IsInRing() and atom.GetIdx() not in taken
    }
    chains = []
    seen: set[int] = set()
    for start in sorted(free):
        if start in seen:
            continue
        piece = _grow(mol, start, free)
        seen |= piece
        chain = _named(mol, piece, acyl_carbons)
        if chain is not None:
            chains.append(chain)
    return sorted(chains, key=lambda chain: (-len(chain.atoms), chain.atoms))


def _grow(mol: Chem.Mol, start: int, free: Set[int]) -> set[int]:
    piece, border = {start}, [start]
    while border:
        for neighbour in mol.GetAtomWithIdx(border.pop()).GetNeighbors():
            index = neighbour.GetIdx()
            if index in free and index not in piece:
                piece.add(index)
                border.append(index)
    return piece


def _named(mol: Chem.Mol, piece: set[int], acyl_carbons: Set[int]) -> Chain | None:
    inside = {
        index: [n.GetIdx() for n in mol.GetAtomWithIdx(index).GetNeighbors() if n.GetIdx() in piece] for index in piece
    }
    outside = [
        (index, n.GetIdx())
        for index in sorted(piece)
        for n in mol.GetAtomWithIdx(index).GetNeighbors()
        if n.GetIdx() not in piece and n.GetAtomicNum() != 1
    ]
    double, triple = _unsaturation(mol, inside)
    straight = all(len(neighbours) <= 2 for neighbours in inside.values())
    ends = {index for index, neighbours in inside.items() if len(neighbours) <= 1}
    atoms, count = tuple(sorted(piece)), len(piece)
    if count >= _LONGEST_NAMED or double >= len(_MULTIPLES) or triple >= len(_MULTIPLES):
        return Chain(f"carbon chain of {number(min(count, 9_999))} atoms", atoms, count, double)
    acyl = [partner for index, partner in outside if straight and index in ends and partner in acyl_carbons]
    if acyl and count >= 2:
        whole = tuple(sorted(piece | {acyl[0]}))
        if len(outside) == 1:
            kind = "group" if count < 7 else "chain"
            return Chain(f"{unsaturated_root(count + 1, double, triple)}oyl {kind}", whole, count + 1, double)
        return Chain(f"{number(count + 1)}-carbon acyl chain", whole, count + 1, double)
    if not outside:
        name = (
            f"{unsaturated_root(count, double, triple)}e chain"
            if straight
            else f"branched {number(count)}-carbon chain"
        )
        return Chain(name, atoms, count, double)
    if len(outside) == 1:
        return Chain(_monovalent(inside, outside[0][0], straight, count, double, triple), atoms, count, double)
    points = {index for index, _ in outside}
    if straight and len(outside) == 2 and points == ends and not triple:
        return Chain(_bridge(count, double), atoms, count, double)
    if count >= 3:
        return Chain(f"{'' if straight else 'branched '}{number(count)}-carbon chain", atoms, count, double)
    return None


def _unsaturation(mol: Chem.Mol, inside: dict[int, list[int]]) -> tuple[int, int]:
    kinds = [
        mol.GetBondBetweenAtoms(index, neighbour).GetBondType()
        for index, neighbours in inside.items()
        for neighbour in neighbours
        if index < neighbour
    ]
    return kinds.count(Chem.BondType.DOUBLE), kinds.count(Chem.BondType.TRIPLE)


def _monovalent(inside: dict[int, list[int]], point: int, straight: bool, count: int, double: int, triple: int) -> str:
    degree = len(inside[point])
    if not double and not triple:
        branched = {(3, 2): "isopropyl", (4, 3): "tert-butyl", (4, 2): "sec-butyl", (4, 1): "isobutyl"}
        if straight and degree <= 1:
            return f"{root(count)}yl {'group' if count < 7 else 'chain'}"
        if (count, degree) in branched:
            return f"{branched[count, degree]} group"
        if (count, degree) == (5, 1) and _isopentyl(inside, point):
            return "isopentyl group"
    if straight and degree <= 1:
        return f"{unsaturated_root(count, double, triple)}yl {'group' if count < 7 else 'chain'}"
    kind = "alkynyl" if triple else "alkenyl" if double else "alkyl"
    return f"branched {number(count)}-carbon {kind} group"


def _isopentyl(inside: dict[int, list[int]], point: int) -> bool:
    (second,) = inside[point]
    third = [index for index in inside[second] if index != point]
    return len(third) == 1 and len(inside[third[0]]) == 3


def _bridge(count: int, double: int) -> str:
    if double:
        return "ethenylene bridge" if count == 2 else f"unsaturated {number(count)}-carbon bridge"
    named = {1: "methylene bridge", 2: "ethylene bridge", 3: "trimethylene bridge", 4: "tetramethylene bridge"}
    return named.get(count) or f"{number(count)}-carbon bridge"
