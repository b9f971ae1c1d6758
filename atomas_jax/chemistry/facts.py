"""Everything a caption may say about a molecule, found in one pass over its structure."""

from collections.abc import Set
from dataclasses import dataclass

from rdkit import Chem

from atomas_jax.chemistry.chains import Chain, find_chains
from atomas_jax.chemistry.classes import Kind, find_kinds
from atomas_jax.chemistry.components import Part, charge_fact, element_facts, isotope_facts, salt_form, split_parts
from atomas_jax.chemistry.graph import Graph
from atomas_jax.chemistry.groups import GroupMatch, find_groups
from atomas_jax.chemistry.residues import find_residues, residue_parts
from atomas_jax.chemistry.ring_search import RingSystem, find_ring_systems
from atomas_jax.chemistry.stereo import StereoFact, find_stereo


@dataclass(frozen=True, slots=True)
class Decorated:
    """A ring system that occurs once, with the substituents it bears."""

    ring: Part
    substituents: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the structure says; atoms are indices of the molecule examined.

    Rings, groups and chains are those of the main component, one `Part` for each name.
    """

    kinds: tuple[Kind, ...]
    rings: tuple[Part, ...]
    detailed_rings: tuple[Part, ...]
    decorated: tuple[Decorated, ...]
    groups: tuple[Part, ...]
    chains: tuple[Part, ...]
    residues: tuple[Part, ...]
    stereo: tuple[StereoFact, ...]
    charge: Part | None
    isotopes: tuple[Part, ...]
    partners: tuple[Part, ...]
    salt_form: Part | None
    elements: tuple[Part, ...]


_OPEN_TO_CHAINS = frozenset(
    {
        "vinyl group",
        "methylidene group",
        "carbon-carbon double bond",
        "carbon-carbon triple bond",
        "ethynyl group",
        "allene group",
    }
)
_ACYL_GROUPS = frozenset(
    {
        "carboxy group",
        "carboxylate group",
        "carboxylic ester",
        "methoxycarbonyl group",
        "ethoxycarbonyl group",
        "thioester",
        "primary carboxamide group",
        "secondary carboxamide group",
        "tertiary carboxamide group",
        "acyl halide group",
    }
)


def find_facts(mol: Chem.Mol) -> Facts:
    """Examines a sanitised molecule whose stereo has been perceived; any number of components, any elements."""
    graph = Graph.of(mol)
    main, partners = split_parts(graph)
    inside = set(main)
    matches = [match for match in find_groups(graph) if inside.issuperset(match.atoms)]
    systems = [system for system in find_ring_systems(graph) if inside.issuperset(system.atoms)]
    taken = {index for match in matches if match.group.name not in _OPEN_TO_CHAINS for index in match.atoms}
    outside = set(range(len(graph))) - inside
    acyl = {match.atoms[0] for match in matches if match.group.name in _ACYL_GROUPS}
    chains = find_chains(graph, taken | outside, acyl)
    residues = find_residues(graph)
    kinds = find_kinds(graph, main, matches, systems, chains, residues)
    if partners and not any(graph.number[index] == 6 for index in range(len(graph))):
        kinds = [Kind("inorganic salt", tuple(range(len(graph))), 100), *kinds]

    in_residues = {index for _, atoms in residues for index in atoms}
    chains = [chain for chain in chains if not in_residues.intersection(chain.atoms)]
    unsaturated = {index for chain in chains for index in chain.atoms}
    ring_carbonyls = {index for system in systems if system.oxo_told for index in system.atoms}
    told = [match for match in matches if not _told_elsewhere(graph, match, unsaturated, ring_carbonyls)]
    return Facts(
        kinds=tuple(kinds),
        rings=_together([(system.name, system.atoms) for system in systems]),
        detailed_rings=_together([(_detailed(graph, system), system.atoms) for system in systems]),
        decorated=_decorated(graph, systems, told, chains),
        groups=_together([(match.group.name, match.atoms) for match in told]),
        chains=_together([(chain.name, chain.atoms) for chain in chains]),
        residues=tuple(residue_parts(residues)),
        stereo=tuple(find_stereo(graph)),
        charge=charge_fact(graph, main) if len(main) > 1 else None,
        isotopes=tuple(isotope_facts(graph)),
        partners=tuple(partners),
        salt_form=salt_form(partners),
        elements=tuple(element_facts(graph)),
    )


def _told_elsewhere(graph: Graph, match: GroupMatch, in_chains: Set[int], ring_carbonyls: Set[int]) -> bool:
    """Whether the name of a chain tells this double bond, or the name of a ring this oxo group."""
    if match.group.name in _OPEN_TO_CHAINS:
        return in_chains.issuperset(match.atoms)
    if match.group.name in ("oxo group", "thioxo group"):
        return not ring_carbonyls.isdisjoint(graph.neighbours[match.atoms[0]])
    return False


def _together(named: list[tuple[str, tuple[int, ...]]]) -> tuple[Part, ...]:
    """Occurrences of one name as one part, in order of first appearance."""
    grouped: dict[str, list[tuple[int, ...]]] = {}
    for name, atoms in named:
        grouped.setdefault(name, []).append(atoms)
    return tuple(Part(name, len(g), tuple(sorted(set().union(*g)))) for name, g in grouped.items())


_DISUBSTITUTED = {1: "ortho", 2: "meta", 3: "para"}


def _detailed(graph: Graph, system: RingSystem) -> str:
    """The name of a ring with where its substituents stand: told for benzene, whose six positions are alike."""
    if system.name != "benzene ring":
        return system.name
    ring = next(ring for ring in graph.rings if set(ring) == set(system.atoms))
    places = [place for place, index in enumerate(ring) if len(graph.neighbours[index]) > 2]
    if len(places) == 2:
        gap = places[1] - places[0]
        return f"{_DISUBSTITUTED[min(gap, 6 - gap)]}-disubstituted benzene ring"
    if len(places) == 3:
        gaps = sorted((places[1] - places[0], places[2] - places[1], 6 - places[2] + places[0]))
        locants = {(1, 1, 4): "1,2,3", (1, 2, 3): "1,2,4", (2, 2, 2): "1,3,5"}[tuple(gaps)]
        return f"{locants}-trisubstituted benzene ring"
    counts = {1: "mono", 4: "tetra", 5: "penta", 6: "hexa"}
    return f"{counts[len(places)]}substituted benzene ring" if places else system.name


def _decorated(
    graph: Graph, systems: list[RingSystem], matches: list[GroupMatch], chains: list[Chain]
) -> tuple[Decorated, ...]:
    owner: dict[int, tuple[str, tuple[int, ...]]] = {}
    for chain in chains:
        if chain.name.endswith("yl group"):
            owner.update(dict.fromkeys(chain.atoms, (chain.name, chain.atoms)))
    for match in matches:
        if match.group.name.endswith(" group"):
            owner.update(dict.fromkeys(match.atoms, (match.group.name, match.atoms)))
    names = [system.name for system in systems]
    result = []
    for system in systems:
        inside = set(system.atoms)
        if names.count(system.name) > 1:
            continue
        borne = {}
        for index in system.atoms:
            for neighbour in graph.neighbours[index]:
                substituent = owner.get(neighbour)
                if neighbour not in inside and substituent and inside.isdisjoint(substituent[1]):
                    borne[substituent] = None
        if borne:
            result.append(Decorated(Part(system.name, 1, system.atoms), _together(list(borne))))
    return tuple(result)
