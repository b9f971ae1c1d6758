"""Carbon chains outside rings: alkyl and acyl groups by name, bridges between other parts, branched pieces."""

from collections.abc import Set
from dataclasses import dataclass

from rdkit import Chem

from atomas_jax.chemistry.grammar import number
from atomas_jax.chemistry.graph import Graph

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


def find_chains(graph: Graph, taken: Set[int], acyl_carbons: Set[int]) -> list[Chain]:
    """The chains of a molecule, longest first.

    Args:
      taken: atoms that groups have claimed and chains must not enter (not those of plain C=C bonds).
      acyl_carbons: carbonyl carbons that end an acyl group: a chain fixed to one is named as acyl, it included.
    """
    free = {i for i, n in enumerate(graph.number) if n == 6 and not graph.in_ring[i] and i not in taken}
    chains = []
    seen: set[int] = set()
    for start in sorted(free):
        if start in seen:
            continue
        piece = _grow(graph, start, free)
        seen |= piece
        chain = _named(graph, piece, acyl_carbons)
        if chain is not None:
            chains.append(chain)
    return sorted(chains, key=lambda chain: (-len(chain.atoms), chain.atoms))


def _grow(graph: Graph, start: int, free: Set[int]) -> set[int]:
    piece, border = {start}, [start]
    while border:
        for index in graph.neighbours[border.pop()]:
            if index in free and index not in piece:
                piece.add(index)
                border.append(index)
    return piece


def _named(graph: Graph, piece: set[int], acyl_carbons: Set[int]) -> Chain | None:
    inside = {index: [other for other in graph.neighbours[index] if other in piece] for index in piece}
    outside = [
        (index, other)
        for index in sorted(piece)
        for other in graph.neighbours[index]
        if other not in piece and graph.number[other] != 1
    ]
    double, triple = _unsaturation(graph, piece)
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
    if not outside and count == 1:
        return None
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
    oxygens = sum(graph.number[other] == 8 for _, other in outside)
    if count == 3 and straight and oxygens == len(outside) == len(points) == 3:
        return Chain("glycerol backbone", atoms, count, double)
    if count >= 3:
        return Chain(f"{'' if straight else 'branched '}{number(count)}-carbon chain", atoms, count, double)
    return None


def _unsaturation(graph: Graph, piece: set[int]) -> tuple[int, int]:
    double = sum(other in piece for index in piece for other in graph.double[index]) // 2
    if not any(len(graph.neighbours[index]) <= 2 and not graph.hydrogens[index] // 2 for index in piece):
        return double, 0
    triple = Chem.BondType.TRIPLE
    return double, sum(kind == triple and one in piece and other in piece for one, other, kind in graph.bonds)


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
