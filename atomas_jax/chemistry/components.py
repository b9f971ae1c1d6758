"""What a molecule consists of besides its main component: counter-ions, solvent, charges, isotopes, elements."""

from dataclasses import dataclass

from rdkit import Chem

from atomas_jax.chemistry.graph import Graph

# Canonical SMILES of common partners in salts and solvates: their name as a countable noun.
PARTNERS: dict[str, str] = {
    "O": "water molecule",
    "[OH-]": "hydroxide counter-ion",
    "[H+]": "proton",
    "Cl": "hydrogen chloride molecule",
    "Br": "hydrogen bromide molecule",
    "I": "hydrogen iodide molecule",
    "F": "hydrogen fluoride molecule",
    "N": "ammonia molecule",
    "[NH4+]": "ammonium counter-ion",
    "CO": "methanol molecule",
    "CCO": "ethanol molecule",
    "CC#N": "acetonitrile molecule",
    "CC(C)=O": "acetone molecule",
    "CS(C)=O": "dimethyl sulfoxide molecule",
    "CC(=O)[O-]": "acetate counter-ion",
    "CC(=O)O": "acetic acid molecule",
    "O=C[O-]": "formate counter-ion",
    "O=CO": "formic acid molecule",
    "O=C([O-])C(F)(F)F": "trifluoroacetate counter-ion",
    "O=C(O)C(F)(F)F": "trifluoroacetic acid molecule",
    "CS(=O)(=O)O": "methanesulfonic acid molecule",
    "CS(=O)(=O)[O-]": "methanesulfonate counter-ion",
    "Cc1ccc(S(=O)(=O)O)cc1": "toluenesulfonic acid molecule",
    "Cc1ccc(S(=O)(=O)[O-])cc1": "toluenesulfonate counter-ion",
    "O=S(=O)(O)O": "sulfuric acid molecule",
    "O=S(=O)([O-])[O-]": "sulfate counter-ion",
    "O=S(=O)([O-])O": "hydrogen sulfate counter-ion",
    "O=P(O)(O)O": "phosphoric acid molecule",
    "O=P([O-])([O-])[O-]": "phosphate counter-ion",
    "O=P([O-])(O)O": "dihydrogen phosphate counter-ion",
    "O=P([O-])([O-])O": "hydrogen phosphate counter-ion",
    "O=[N+]([O-])O": "nitric acid molecule",
    "O=[N+]([O-])[O-]": "nitrate counter-ion",
    "[O-][Cl+3]([O-])([O-])[O-]": "perchlorate counter-ion",
    "O=C([O-])[O-]": "carbonate counter-ion",
    "O=C([O-])O": "hydrogencarbonate counter-ion",
    "O=C(O)C(=O)O": "oxalic acid molecule",
    "O=C([O-])C(=O)[O-]": "oxalate counter-ion",
    "O=C(O)/C=C/C(=O)O": "fumaric acid molecule",
    "O=C([O-])/C=C/C(=O)[O-]": "fumarate counter-ion",
    "O=C(O)/C=C\\C(=O)O": "maleic acid molecule",
    "O=C([O-])/C=C\\C(=O)O": "maleate counter-ion",
    "O=C([O-])/C=C\\C(=O)[O-]": "maleate counter-ion",
    "O=C(O)CCC(=O)O": "succinic acid molecule",
    "O=C([O-])CCC(=O)[O-]": "succinate counter-ion",
    "O=C(O)C(O)C(O)C(=O)O": "tartaric acid molecule",
    "O=C(O)[C@H](O)[C@@H](O)C(=O)O": "tartaric acid molecule",
    "O=C(O)[C@@H](O)[C@H](O)C(=O)O": "tartaric acid molecule",
    "O=C(O)CC(O)(CC(=O)O)C(=O)O": "citric acid molecule",
    "O=C([O-])CC(O)(CC(=O)[O-])C(=O)[O-]": "citrate counter-ion",
    "F[B-](F)(F)F": "tetrafluoroborate counter-ion",
    "F[P-](F)(F)(F)(F)F": "hexafluorophosphate counter-ion",
}
ANION_NAMES = {"F": "fluoride", "Cl": "chloride", "Br": "bromide", "I": "iodide", "O": "oxide", "S": "sulfide"}
ANION_NAMES |= {"H": "hydride", "Se": "selenide", "Te": "telluride", "N": "nitride", "C": "carbide", "P": "phosphide"}
_FORMS = {
    "hydrogen chloride molecule": "hydrochloride",
    "hydrogen bromide molecule": "hydrobromide",
    "hydrogen iodide molecule": "hydroiodide",
    "sulfuric acid molecule": "sulfate salt",
    "fumaric acid molecule": "fumarate salt",
    "maleic acid molecule": "maleate salt",
    "methanesulfonic acid molecule": "mesylate salt",
    "trifluoroacetic acid molecule": "trifluoroacetate salt",
}
_MULTIPLE = ("", "mono", "di", "tri", "tetra", "penta", "hexa", "hepta", "octa", "nona", "deca")
_ISOTOPES = {("H", 2): "deuterium atom", ("H", 3): "tritium atom"}
_PERIODIC = Chem.GetPeriodicTable()


@dataclass(frozen=True, slots=True)
class Part:
    """So many of a kind: `name` is a countable noun, `atoms` those of all of them."""

    name: str
    count: int
    atoms: tuple[int, ...]


def element_name(symbol: str) -> str:
    """The English name of an element: "Na" is "sodium"; "*" is "wildcard"."""
    if symbol == "*":
        return "wildcard"
    return {"Al": "aluminium", "Cs": "caesium", "S": "sulfur"}.get(symbol) or _PERIODIC.GetElementName(
        _PERIODIC.GetAtomicNumber(symbol)
    ).lower()


def multiplied(prefix_of: int, noun: str) -> str:
    """(2, "cation") is "dication"; past ten the number is left to "poly"."""
    return (_MULTIPLE[prefix_of] if prefix_of < len(_MULTIPLE) else "poly") + noun


def split_parts(graph: Graph) -> tuple[tuple[int, ...], list[Part]]:
    """The atoms of the main component and the others by name.

    The main component is the one with most carbon atoms, then most atoms, then the first: a rule that ignores spelling
    when the atoms come in canonical order.
    """
    if len(graph.fragments) == 1:
        return graph.fragments[0], []
    main = max(graph.fragments, key=lambda atoms: (_carbons(graph, atoms), len(atoms), -atoms[0]))
    main_smiles = Chem.MolFragmentToSmiles(graph.mol, main)
    grouped: dict[str, list[tuple[int, ...]]] = {}
    for atoms in graph.fragments:
        if atoms is not main:
            grouped.setdefault(_partner_name(graph, atoms, main_smiles), []).append(atoms)
    parts = [Part(name, len(group), tuple(sorted(sum(group, ())))) for name, group in grouped.items()]
    return main, sorted(parts, key=lambda part: (part.name, part.atoms))


def _carbons(graph: Graph, atoms: tuple[int, ...]) -> int:
    return sum(graph.number[index] == 6 for index in atoms)


def _partner_name(graph: Graph, atoms: tuple[int, ...], main_smiles: str) -> str:
    charge = sum(graph.charge[index] for index in atoms)
    smiles = Chem.MolFragmentToSmiles(graph.mol, atoms)
    if smiles == main_smiles:
        return "further copy of the main component"
    if smiles in PARTNERS:
        return PARTNERS[smiles]
    heavy = [index for index in atoms if graph.number[index] != 1]
    if len(heavy) == 1:
        symbol = graph.symbol[heavy[0]]
        if charge < 0:
            return f"{ANION_NAMES.get(symbol, element_name(symbol))} counter-ion"
        return f"{element_name(symbol)} {'counter-ion' if charge else 'atom'}"
    nature = "organic" if _carbons(graph, atoms) else "inorganic"
    return f"{nature} {'counter-cation' if charge > 0 else 'counter-anion' if charge < 0 else 'co-component'}"


def salt_form(partners: list[Part]) -> Part | None:
    """What the partners make of the whole: a hydrate, a hydrochloride, a sodium salt; None where no one word fits."""
    names = {partner.name: partner for partner in partners}
    if set(names) == {"water molecule"}:
        water = names["water molecule"]
        return Part(multiplied(water.count, "hydrate"), 1, water.atoms)
    for partner, form in _FORMS.items():
        if partner in names and set(names) <= {partner, "water molecule"}:
            return Part(form, 1, names[partner].atoms)
    ions = [partner for partner in partners if partner.name.endswith(" counter-ion")]
    if len(ions) == 1 and set(names) <= {ions[0].name, "water molecule"}:
        return Part(f"{ions[0].name.removesuffix(' counter-ion')} salt", 1, ions[0].atoms)
    return None


def charge_fact(graph: Graph, atoms: tuple[int, ...]) -> Part | None:
    """What the charges of a component make it: a monocation, a dianion, a zwitterion; None if it bears none.

    Opposite charges on neighbours (nitro, N-oxide, azide) are a way of drawing and do not count.
    """
    charged = {index: graph.charge[index] for index in atoms if graph.charge[index]}
    net = sum(charged.values())
    for index in sorted(charged):
        for other in graph.neighbours[index]:
            if charged.get(index, 0) == -charged.get(other, 0) and abs(charged[index]) == 1:
                charged[index] = charged[other] = 0
    where = tuple(sorted(index for index, charge in charged.items() if charge))
    if not where:
        return None
    if net:
        return Part(multiplied(abs(net), "cation" if net > 0 else "anion"), 1, where)
    return Part("zwitterion", 1, where)


def isotope_facts(graph: Graph) -> list[Part]:
    """Labelled atoms by isotope: "deuterium atom", "carbon-13 atom"."""
    labelled: dict[tuple[str, int], list[int]] = {}
    for index, isotope in enumerate(graph.isotope):
        if isotope and graph.number[index]:
            labelled.setdefault((graph.symbol[index], isotope), []).append(index)
    return [
        Part(_ISOTOPES.get(key) or f"{element_name(key[0])}-{key[1]} atom", len(where), tuple(where))
        for key, where in sorted(labelled.items())
    ]


def element_facts(graph: Graph) -> list[Part]:
    """The atoms of each element that are written in the graph (implicit hydrogens have no index), carbon first."""
    where: dict[str, list[int]] = {}
    for index, symbol in enumerate(graph.symbol):
        where.setdefault(symbol, []).append(index)
    order = sorted(where, key=lambda symbol: (symbol != "C", symbol))
    return [Part(f"{element_name(symbol)} atom", len(where[symbol]), tuple(where[symbol])) for symbol in order]
