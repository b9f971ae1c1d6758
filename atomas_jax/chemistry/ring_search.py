"""Ring systems: which rings hang together, and what a chemist calls them.

A ring system is a maximal set of rings that share at least a bond (fused or bridged); spiro partners are systems of
their own. It is named by its exact form, else from its skeleton, else described by size, heteroatoms and fusion.
"""

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations

from rdkit import Chem

from atomas_jax.chemistry.grammar import number
from atomas_jax.chemistry.graph import Graph
from atomas_jax.chemistry.ring_systems import EXAMPLES, SKELETONS


@dataclass(frozen=True, slots=True)
class RingSystem:
    """One ring system.

    Attributes:
      name: a noun such as "pyridine ring".
      atoms: its ring atoms.
      size: how many rings it has.
      oxo_told: whether the name tells of its exocyclic oxo groups, as "pyridin-2-one ring" does.
    """

    name: str
    atoms: tuple[int, ...]
    size: int
    oxo_told: bool


def _ring_sets(graph: Graph) -> list[tuple[set[int], set[int]]]:
    """Atoms and bonds of each fused or bridged system."""
    systems: list[tuple[set[int], set[int]]] = []
    for atoms, bonds in zip(graph.rings, graph.ring_bonds, strict=True):
        atom_set, bond_set = set(atoms), set(bonds)
        apart = []
        for system in systems:
            if len(atom_set & system[0]) > 1:
                atom_set |= system[0]
                bond_set |= system[1]
            else:
                apart.append(system)
        systems = [*apart, (atom_set, bond_set)]
    return systems


_NO_OXO, _AROMATIC_OXO, _ANY_OXO = range(3)


@dataclass(frozen=True, slots=True)
class _Rings:
    """A ring system cut out of its molecule: equal cuts have equal names, which makes a cache of names worth its while.

    Attributes:
      atoms: (symbol, lower case if aromatic; charge sign; element of a double bond leaving the ring) of each atom.
      bonds: (atom, atom, type) with positions in `atoms`.
      rings: positions of each small ring.
    """

    atoms: tuple[tuple[str, str, str], ...]
    bonds: tuple[tuple[int, int, Chem.BondType], ...]
    rings: tuple[tuple[int, ...], ...]

    @classmethod
    def cut(cls, graph: Graph, atoms: set[int], bonds: set[int]) -> "_Rings":
        order = sorted(atoms)
        position = {index: place for place, index in enumerate(order)}
        described = []
        for index in order:
            symbol, charge = graph.symbol[index], graph.charge[index]
            leaving = ""
            if symbol == "C":
                leaving = next((graph.symbol[other] for other in graph.double[index] if other not in atoms), "")
            symbol = symbol.lower() if graph.aromatic[index] else symbol
            described.append((symbol, "+" if charge > 0 else "-" if charge < 0 else "", leaving))
        joined = [
            (position[one], position[other], kind) for one, other, kind in map(graph.bonds.__getitem__, sorted(bonds))
        ]
        rings = tuple(tuple(position[index] for index in ring) for ring in graph.rings if atoms.issuperset(ring))
        return cls(tuple(described), tuple(joined), rings)

    def key(self, oxo: int) -> str:
        """Equal for equal ring systems; `oxo` says on which ring carbons a double bond leaving the ring counts."""
        symbols = []
        for symbol, charge, leaving in self.atoms:
            text = symbol + (charge if symbol in ("c", "o", "s") else "")
            if (oxo and leaving and symbol == "c") or (oxo == _ANY_OXO and leaving in ("O", "S")):
                text += "=" + leaving
            symbols.append(f"[{text}]")
        return self._written([kind for _, _, kind in self.bonds], symbols)

    def skeleton(self) -> str:
        """Equal for systems that differ in hydrogens only."""
        symbols = [f"[{symbol.capitalize()}]" for symbol, _, _ in self.atoms]
        return self._written([Chem.BondType.SINGLE] * len(self.bonds), symbols)

    def _written(self, kinds: list[Chem.BondType], symbols: list[str]) -> str:
        graph = Chem.RWMol()
        for symbol, _, _ in self.atoms:
            graph.AddAtom(Chem.Atom(symbol.capitalize()))
        for (one, other, _), kind in zip(self.bonds, kinds, strict=True):
            graph.AddBond(one, other, kind)
        # The symbols, not the atoms, carry what tells two systems apart: they enter the canonical order.
        return Chem.MolFragmentToSmiles(graph, list(range(len(symbols))), atomSymbols=symbols, isomericSmiles=False)

    def unsaturated(self) -> int:
        """How many ring atoms have a multiple or aromatic bond within the system."""
        return len({end for one, other, kind in self.bonds if kind != Chem.BondType.SINGLE for end in (one, other)})


def _cut_example(smiles: str) -> _Rings:
    graph = Graph.of(Chem.MolFromSmiles(smiles))
    ((atoms, bonds),) = _ring_sets(graph)
    return _Rings.cut(graph, atoms, bonds)


@cache
def _exact() -> dict[str, str]:
    table: dict[str, str] = {}
    for name, smiles in EXAMPLES.items():
        table.setdefault(_cut_example(smiles).key(_ANY_OXO), name)
    return table


@cache
def _skeletons() -> dict[str, tuple[str, int]]:
    """Skeleton to (name, unsaturated ring atoms of its example); -1 where any unsaturation bears the name."""
    table: dict[str, tuple[str, int]] = {}
    for loose, examples in ((True, SKELETONS), (False, EXAMPLES)):
        for name, smiles in examples.items():
            rings = _cut_example(smiles)
            if any(leaving for _, _, leaving in rings.atoms):
                continue  # named by its carbonyl groups: no parent of others
            table.setdefault(rings.skeleton(), (name, -1 if loose else rings.unsaturated()))
    return table


@lru_cache(maxsize=50_000)
def _name(rings: _Rings) -> tuple[str, bool]:
    """The noun, and whether it tells the oxo groups."""
    noun = "ring" if len(rings.rings) == 1 else "ring system"
    leaving = any(element for _, _, element in rings.atoms)
    exact = _exact()
    for oxo in (_ANY_OXO, _AROMATIC_OXO, _NO_OXO) if leaving else (_NO_OXO,):
        name = exact.get(rings.key(oxo))
        if name:
            dropped = oxo == _NO_OXO and any(element and symbol == "c" for symbol, _, element in rings.atoms)
            return f"{'oxo-substituted ' if dropped else ''}{name} {noun}", leaving and (oxo != _NO_OXO or dropped)
    if len(rings.atoms) <= _LARGEST_SKELETON:
        name, usual = _skeletons().get(rings.skeleton(), ("", 0))
        if name and usual < 0:
            return name, False
        if name:
            found = rings.unsaturated()
            how = "hydrogenated " if found < usual else "dehydrogenated " if found > usual else "isomeric "
            return f"{how}{name} {noun}", False
    return _described(rings), False


_LARGEST_SKELETON = 40
_ELEMENT_NAMES = {"N": "nitrogen", "O": "oxygen", "S": "sulfur", "B": "boron", "Si": "silicon", "P": "phosphorus"}
_CYCLES = ("", "mono", "bi", "tri", "tetra", "penta", "hexa", "hepta", "octa", "nona", "deca")


def _described(rings: _Rings) -> str:
    """An honest description where no name is known: size, hetero elements, fusion."""
    hetero = {symbol.capitalize() for symbol, _, _ in rings.atoms} - {"C"}
    known = [word for symbol, word in _ELEMENT_NAMES.items() if symbol in hetero]
    if len(known) < len(hetero):
        known.append("heteroatom")
    containing = "- and ".join(known) + "-containing " if known else ""
    size = len(rings.rings)
    if size == 1:
        aromatic = "aromatic " if rings.atoms[0][0].islower() else ""
        shape = "macrocycle" if len(rings.atoms) >= 12 else "heterocycle" if hetero else "carbocycle"
        return f"{number(len(rings.atoms))}-membered {aromatic}{containing}{shape}"
    cycles = f"{_CYCLES[size]}cyclic" if size < len(_CYCLES) else "polycyclic"
    # Two fused rings share two atoms, two bridged rings more.
    bridged = any(len(set(one) & set(other)) > 2 for one, other in combinations(rings.rings, 2))
    return f"{'bridged' if bridged else 'fused'} {cycles} {containing}ring system"


def find_ring_systems(graph: Graph) -> list[RingSystem]:
    """The ring systems of a molecule, largest first, each with its name."""
    found = []
    for atoms, bonds in _ring_sets(graph):
        rings = _Rings.cut(graph, atoms, bonds)
        name, oxo_told = _name(rings)
        found.append(RingSystem(name, tuple(sorted(atoms)), len(rings.rings), oxo_told))
    return sorted(found, key=lambda system: (-len(system.atoms), system.atoms))
