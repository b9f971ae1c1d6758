"""The class of compounds a molecule belongs to: the noun that heads its caption, and further ones in order of rank."""

from dataclasses import dataclass
from functools import cache

from rdkit import Chem

from atomas_jax.chemistry.chains import Chain
from atomas_jax.chemistry.components import ANION_NAMES, element_name, multiplied
from atomas_jax.chemistry.graph import Graph
from atomas_jax.chemistry.groups import GROUPS, GroupMatch
from atomas_jax.chemistry.residues import peptide_name
from atomas_jax.chemistry.ring_search import RingSystem


@dataclass(frozen=True, slots=True)
class Kind:
    """A class with the atoms that make the molecule a member; `groups` names the functional groups it already tells."""

    name: str
    atoms: tuple[int, ...]
    seniority: int
    groups: frozenset[str] = frozenset()


_ACID = "[OX2H1,OX1-]"
_ACYL = "[OX2][CX3](=[OX1])[#6]"

# (name, SMARTS, seniority, functional groups whose kinds it replaces). Scale of seniority as in `groups.py`.
PATTERNS: tuple[tuple[str, str, int, str], ...] = (
    ("triacylglycerol", f"[CH2]({_ACYL})[CH1]({_ACYL})[CH2]{_ACYL}", 99, "carboxylic ester"),
    ("diacylglycerol", f"[CH2;$(C[OH])][CH1]({_ACYL})[CH2]{_ACYL}", 99, "carboxylic ester"),
    ("1,3-diacylglycerol", f"[CH2]({_ACYL})[CH1;$(C[OH])][CH2]{_ACYL}", 99, "carboxylic ester"),
    ("monoacylglycerol", f"[CH2;$(C[OH])][CH1;$(C[OH])][CH2]{_ACYL}", 99, "carboxylic ester"),
    ("diacylglycerophospholipid", f"[CH2]({_ACYL})[CH1]({_ACYL})[CH2]O[PX4]", 99, "carboxylic ester"),
    ("lysophospholipid", f"[CH2]({_ACYL})[CH1;$(C[OH])][CH2]O[PX4]", 99, "carboxylic ester"),
    ("glycerophospholipid", "[CH2;$(CO)][CH1;$(CO)][CH2]O[PX4](=O)", 98, ""),
    ("ceramide", "[CH2;$(CO)][CH1]([NH1][CX3](=[OX1])[#6])[CH1;$(C[OH])][#6]", 98, "secondary carboxamide group"),
    ("pyranose", "[OX2;r6]1[CX4;r6;$(C[OH])][CX4;$(C[O,N])][CX4;$(C[O,N])][CX4][CX4;r6]1", 87, ""),
    ("furanose", "[OX2;r5]1[CX4;r5;$(C[OH])][CX4;$(C[O,N])][CX4;$(C[O,N])][CX4;r5]1", 87, ""),
    ("nucleoside", "[OX2;r5]1[CX4;r5;$(C[nX3])][CX4;r5][CX4;r5][CX4;r5]1[CH2,CH3]", 85, ""),
    ("flavonol", "O=c1c([OX2H1])c(-c2ccccc2)oc2ccccc12", 87, "phenolic hydroxy group"),
    ("flavone", "O=c1cc(-c2ccccc2)oc2ccccc12", 86, ""),
    ("isoflavone", "O=c1c(-c2ccccc2)coc2ccccc12", 86, ""),
    ("flavanone", "O=C1CC(c2ccccc2)Oc2ccccc12", 86, "ketone"),
    ("flavan", "C1CC(c2ccccc2)Oc2ccccc12", 85, ""),
    ("chalcone", "[OX1]=[CX3](c1ccccc1)[CX3]=[CX3]c1ccccc1", 84, "enone group"),
    ("stilbene", "c1ccccc1[CX3]=[CX3]c1ccccc1", 53, "carbon-carbon double bond"),
    ("amino acid", f"[NX3H2,NX4H3+][CX4;!$(C(N)N)][CX3](=[OX1]){_ACID}", 94, "carboxy group,carboxylate group"),
    ("benzoic acid", "c1ccccc1[CX3](=[OX1])[OX2H1]", 93, "carboxy group"),
    ("benzoate", "c1ccccc1[CX3](=[OX1])[OX1-]", 93, "carboxylate group"),
    ("benzoate ester", "c1ccccc1[CX3](=[OX1])[OX2;$(O[#6])]", 87, "carboxylic ester,methoxycarbonyl group"),
    ("benzamide", "c1ccccc1[CX3;!R](=[OX1])[NX3]", 75, "carboxamide"),
    ("anilide", "c1ccccc1[NX3H1][CX3;!R;$(C[#6,#1])]=[OX1]", 74, "carboxamide"),
    ("phenylurea", "c1ccccc1[NX3H1][CX3;!R](=[OX1])[NX3]", 70, "urea group"),
    ("benzenesulfonamide", "c1ccccc1[SX4](=[OX1])(=[OX1])[NX3]", 79, "sulfonamide group"),
    ("cinnamic acid", "c1ccccc1[CX3]=[CX3][CX3](=[OX1])[OX2H1]", 93, "carboxy group"),
    ("phenylacetic acid", "c1ccccc1[CX4H2][CX3](=[OX1])[OX2H1]", 93, "carboxy group"),
    ("acetophenone", "c1ccccc1[CX3](=[OX1])[CX4H3]", 56, "acetyl group"),
    ("benzophenone", "c1ccccc1[CX3;!R](=[OX1])c1ccccc1", 56, "ketone"),
    ("benzaldehyde", "c1ccccc1[CX3H1]=[OX1]", 58, "formyl group"),
    ("benzonitrile", "c1ccccc1[CX2]#[NX1]", 59, "cyano group"),
    ("nitrobenzene", "c1ccccc1[NX3+](=[OX1])[OX1-]", 31, "nitro group"),
    ("phenethylamine", "c1ccccc1[CX4][CX4][NX3;!$(NC=[O,S])]", 50, "primary amino group"),
    ("N-arylpiperazine", "c[NX3]1[CX4][CX4][NX3][CX4][CX4]1", 50, "tertiary arylamine"),
    ("biphenyl", "c1ccccc1-!@c1ccccc1", 11, ""),
    ("chlorobenzene", "c1ccccc1[Cl]", 13, "chloro group"),
    ("fluorobenzene", "c1ccccc1[F]", 13, "fluoro group"),
    ("bromobenzene", "c1ccccc1[Br]", 14, "bromo group"),
)
_NONMETALS = frozenset("H He B C N O F Ne Si P S Cl Ar Ge As Se Br Kr Sb Te I Xe At Rn *".split())  # noqa: SIM905


# Classes that say nothing beside a narrower one.
_SUPERSEDED = {
    "glycerophospholipid": ("diacylglycerophospholipid", "lysophospholipid"),
    "flavone": ("flavonol",),
    "flavan": ("flavanone",),
}
# Rings without which a class is not worth a search, by the name of their system.
_RINGS_NEEDED = {
    "flavonol": "chromen-4-one ring system",
    "flavone": "chromen-4-one ring system",
    "isoflavone": "chromen-4-one ring system",
    "flavan": "chroman ring system",
    "nucleoside": "oxolane ring",
    "furanose": "oxolane ring",
    "pyranose": "oxane ring",
    "biphenyl": "benzene ring",
}


@dataclass(frozen=True, slots=True, eq=False)
class _Pattern:
    """A row of `PATTERNS`, compiled: `told` are the groups it replaces, of which one must be there if there are any."""

    name: str
    query: Chem.Mol
    seniority: int
    told: frozenset[str]
    elements: frozenset[int]
    ring: str


@cache
def _compiled() -> tuple[_Pattern, ...]:
    rows = []
    for name, smarts, seniority, replaced in PATTERNS:
        query = Chem.MolFromSmarts(smarts)
        elements = frozenset({7, 8, 9, 15, 16, 17, 35} & {atom.GetAtomicNum() for atom in query.GetAtoms()})
        stems = tuple(filter(None, replaced.split(",")))
        told = frozenset(group.name for group in GROUPS if any(stem in group.name for stem in stems))
        rows.append(_Pattern(name, query, seniority, told, elements, _RINGS_NEEDED.get(name, "")))
    return tuple(rows)


def find_kinds(
    graph: Graph,
    main: tuple[int, ...],
    groups: list[GroupMatch],
    rings: list[RingSystem],
    chains: list[Chain],
    residues: list[tuple[str, tuple[int, ...]]],
) -> list[Kind]:
    """The classes of the main component, the most senior first; never empty."""
    inside = set(main)
    simple = _elementary(graph, main)
    if simple is not None:
        return [Kind(simple, main, 100)]
    kinds = _from_patterns(graph, inside, groups, rings) if len(main) <= 400 else []
    if residues:
        where = sorted(set().union(*(where for _, where in residues)))
        told = frozenset({"secondary carboxamide group", "tertiary carboxamide group", "primary amino group"})
        kinds.append(Kind(peptide_name(len(residues)), tuple(where), 98, told))
    for ring in rings:
        if ring.name in ("steroid skeleton", "pentacyclic triterpenoid skeleton"):
            kinds.append(Kind(ring.name.removesuffix(" skeleton"), ring.atoms, 90))
    replaced = {name for kind in kinds for name in kind.groups}
    carbons = {index for index in main if graph.number[index] == 6}
    kinds += _from_groups(groups, replaced, carbons, chains)
    metals = tuple(index for index in main if graph.symbol[index] not in _NONMETALS)
    if metals:
        bound = any(graph.number[other] == 6 for index in metals for other in graph.neighbours[index])
        metal = element_name(graph.symbol[metals[0]])
        kinds.append(Kind(f"organo{metal} compound" if bound else f"{metal} coordination compound", metals, 100))
    if not kinds:
        kinds.append(_skeletal(graph, main, rings))
    found = {kind.name for kind in kinds}
    kinds = [kind for kind in kinds if found.isdisjoint(_SUPERSEDED.get(kind.name, ()))]
    best = {}
    for kind in sorted(kinds, key=lambda kind: -kind.seniority):
        best.setdefault(kind.name, kind)
    return list(best.values())


def _elementary(graph: Graph, main: tuple[int, ...]) -> str | None:
    """The class of a single atom or of a compound without carbon; None for an organic compound."""
    elements = {graph.symbol[index] for index in main}
    charge = sum(graph.charge[index] for index in main)
    if elements & {"C", "*"}:
        return None
    if len(main) == 1:
        symbol = elements.pop()
        name = element_name(symbol)
        if graph.hydrogens[main[0]]:
            return f"mononuclear {name} hydride" + ("" if not charge else " cation" if charge > 0 else " anion")
        if charge < 0:
            return f"monoatomic {ANION_NAMES.get(symbol, name)} {multiplied(-charge, 'anion')}"
        return f"monoatomic {name} {multiplied(charge, 'cation')}" if charge else f"single {name} atom"
    if len(elements) == 1:
        return f"{element_name(elements.pop())} molecule"
    metals = sorted(elements - _NONMETALS)
    central = (metals or sorted(elements - {"O", "H", "N"}) or sorted(elements - {"O", "H"}) or ["O"])[0]
    if "O" in elements and central != "O":
        acid = any(graph.symbol[index] == "O" and graph.hydrogens[index] for index in main) and not metals
        noun = "oxoanion" if charge < 0 else "oxoacid" if acid else "oxygen compound"
        return f"{element_name(central)} {noun}"
    return f"inorganic {element_name(central)} compound"


def _from_patterns(graph: Graph, inside: set[int], groups: list[GroupMatch], rings: list[RingSystem]) -> list[Kind]:
    numbers = set(graph.number)
    present = {match.group.name for match in groups}
    cycles = {ring.name for ring in rings}
    kinds = []
    for pattern in _compiled():
        told = pattern.told & present
        if not pattern.elements <= numbers or (pattern.told and not told):
            continue
        if pattern.ring and pattern.ring not in cycles:
            continue
        matches = graph.mol.GetSubstructMatches(pattern.query, maxMatches=100)
        matches = [match for match in matches if inside.issuperset(match)]
        if matches:
            kinds.append(Kind(pattern.name, tuple(sorted(set().union(*matches))), pattern.seniority, told))
    return kinds


def _from_groups(groups: list[GroupMatch], replaced: set[str], carbons: set[int], chains: list[Chain]) -> list[Kind]:
    by_kind: dict[str, list[GroupMatch]] = {}
    for match in groups:
        if match.group.kind and match.group.name not in replaced:
            by_kind.setdefault(match.group.kind, []).append(match)
    kinds = []
    for kind, matches in by_kind.items():
        where = tuple(sorted({index for match in matches for index in match.atoms}))
        told = frozenset(match.group.name for match in matches)
        name, seniority = kind, matches[0].group.seniority
        if kind.startswith("carboxylic acid"):
            name = multiplied(len(matches), kind)
            # A fatty acid is one chain: all its carbons are those of the acid and the chain it ends.
            fatty = next((c for c in chains if c.carbons >= 4 and _is_acyl(c, carbons, where)), None)
            if fatty and len(matches) == 1:
                name = _fatty(fatty) + kind.removeprefix("carboxylic acid")
                where = tuple(sorted({*where, *fatty.atoms}))
        elif kind == "phenol" and len(matches) > 1:
            name = "polyphenol" if len(matches) > 2 else "diphenol"
        elif kind == "glycoside" and len(matches) > 2:
            name = "oligosaccharide derivative"
        kinds.append(Kind(name, where, seniority, told))
    return kinds


def _is_acyl(chain: Chain, carbons: set[int], acid: tuple[int, ...]) -> bool:
    return carbons == set(chain.atoms) and not carbons.isdisjoint(acid)


def _fatty(chain: Chain) -> str:
    length = chain.carbons
    size = "short" if length < 6 else "medium" if length < 13 else "long" if length < 23 else "very long"
    degree = ("saturated", "monounsaturated")[chain.double_bonds] if chain.double_bonds < 2 else "polyunsaturated"
    return f"{degree} {size}-chain fatty acid"


def _skeletal(graph: Graph, main: tuple[int, ...], rings: list[RingSystem]) -> Kind:
    """A class from the carbon skeleton, where no functional group gives one."""
    elements = {graph.symbol[index] for index in main} - {"C", "H"}
    if "*" in elements:
        return Kind("structure with an open attachment point", main, 1)
    if rings:
        aromatic = {graph.symbol[index] for index in main if graph.aromatic[index]}
        if not elements:
            return Kind("aromatic hydrocarbon" if aromatic else "cyclic hydrocarbon", main, 1)
        cycle = "heteromonocyclic" if sum(ring.size for ring in rings) == 1 else "heteropolycyclic"
        return Kind("heteroaromatic compound" if aromatic - {"C"} else f"organic {cycle} compound", main, 1)
    if elements:
        return Kind("organic compound", main, 1)
    if any(graph.charge[index] for index in main):
        return Kind("hydrocarbon ion", main, 1)
    if len(main) == 1:
        return Kind("one-carbon compound", main, 1)
    straight = all(len(graph.neighbours[index]) <= 2 for index in main)
    return Kind(f"{'straight-chain' if straight else 'branched'} alkane", main, 1)
