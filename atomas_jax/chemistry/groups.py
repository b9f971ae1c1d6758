"""Functional groups: a table of SMARTS with names, and the search in which an atom belongs to one group only.

The table's order is the order of claims: a specific group (carboxylic ester) takes its atoms before the general ones
(ether, ketone) are looked for. Every atom a SMARTS matches is claimed and is what a phrase about the group points at;
neighbours that only have to be there stand in recursive environments `$(...)`.
"""

import re
from dataclasses import dataclass
from functools import cache

from rdkit import Chem

from atomas_jax.chemistry.graph import Graph


@dataclass(frozen=True, slots=True)
class Group:
    """One functional group.

    Attributes:
      name: singular noun with which a caption names an occurrence: "chloro group", "carboxylic ester".
      smarts: matches exactly the atoms that make up the group.
      kind: the class of compounds that carry it, as the head of a caption; '' if the group never is the head.
      seniority: which present group heads the caption (the highest); 0 never.
    """

    name: str
    smarts: str
    kind: str = ""
    seniority: int = 0


@dataclass(frozen=True, slots=True)
class GroupMatch:
    """One occurrence of `group` on `atoms` (indices, in the order of the SMARTS)."""

    group: Group
    atoms: tuple[int, ...]


# Shorthands: an acidic oxygen with or without its proton; carbon neighbours; carbonyl carbon.
_OX = "[OX2H1,OX1-]"
_O_C = "[OX2;$(O[#6])]"
_CARBONYL = "$(N[#6]=[O,S,N])"
_BASIC = f"!{_CARBONYL};!$(N-[!#6;!#1]);!$(N=*);!$(N#*)"

GROUPS: tuple[Group, ...] = (
    # Phosphorus.
    Group(
        "phosphocholine group",
        f"[OX2][PX4](=O)({_OX})[OX2][CX4H2][CX4H2][NX4+]([CH3])([CH3])[CH3]",
        "phosphocholine",
        97,
    ),
    Group(
        "phosphoethanolamine group",
        f"[OX2][PX4](=O)({_OX})[OX2][CX4H2][CX4H2][NX3H2,NX4H3+]",
        "phosphoethanolamine",
        97,
    ),
    Group(
        "phosphoserine group",
        f"[OX2][PX4](=O)({_OX})[OX2][CX4H2][CX4H1]([NX3H2,NX4H3+])C(=O){_OX}",
        "phosphoserine",
        97,
    ),
    Group(
        "triphosphate group",
        f"[OX2][PX4](=O)({_OX})[OX2][PX4](=O)({_OX})[OX2][PX4](=O)({_OX}){_OX}",
        "organic triphosphate",
        96,
    ),
    Group("diphosphate group", f"[OX2][PX4](=O)({_OX})[OX2][PX4](=O)({_OX}){_OX}", "organic diphosphate", 96),
    Group("diphosphate bridge", f"{_O_C}[PX4](=O)({_OX})[OX2][PX4](=O)({_OX}){_O_C}", "organic diphosphate", 96),
    Group("phosphorothioate group", "[PX4](=[SX1])([OX2,SX2])([OX2,SX2])[OX2,SX2]", "organic thiophosphate", 90),
    Group("phosphate triester", f"[PX4](=[OX1])({_O_C})({_O_C}){_O_C}", "trialkyl phosphate", 90),
    Group("phosphate diester", f"[PX4](=[OX1])({_OX})({_O_C}){_O_C}", "phosphate diester", 90),
    Group("phosphate group", f"{_O_C}[PX4](=[OX1])({_OX}){_OX}", "organic phosphate", 95),
    Group("phosphoramidate group", "[PX4](=[OX1])([NX3])([OX2,NX3,OX1-])[OX2,NX3,OX1-]", "phosphoramide", 90),
    Group("phosphonate diester", f"[PX4;$(P[#6])](=[OX1])({_O_C}){_O_C}", "phosphonic ester", 90),
    Group("phosphonic acid group", f"[PX4;$(P[#6])](=[OX1])({_OX})[OX2]", "phosphonic acid", 95),
    Group("phosphonate group", "[PX4;$(P[#6])](=[OX1])([OX1-])[OX1-]", "organic phosphonate", 95),
    Group("phosphinic acid group", f"[PX4;$(P([#6])[#6])](=[OX1]){_OX}", "phosphinic acid", 90),
    Group("phosphine oxide", "[PX4;$(P([#6])([#6])[#6])]=[OX1]", "phosphine oxide", 70),
    Group("phosphonium group", "[PX4+;$(P([#6])([#6])([#6])[#6])]", "phosphonium ion", 90),
    Group("phosphine", "[PX3;$(P[#6]);!$(P~[!#6;!#1])]", "phosphine", 40),
    # Sulfur.
    Group("sulfonylurea group", "[SX4;$(S[#6])](=O)(=O)[NX3,NX2-][CX3](=[OX1])[NX3]", "N-sulfonylurea", 80),
    Group("sulfamide group", "[NX3][SX4](=[OX1])(=[OX1])[NX3]", "sulfamide", 76),
    Group("sulfamate group", "[NX3,NX2-][SX4](=[OX1])(=[OX1])[OX2,OX1-]", "sulfamic acid derivative", 76),
    Group("sulfonamide group", "[SX4;$(S[#6])](=[OX1])(=[OX1])[NX3,NX2-]", "sulfonamide", 78),
    Group("sulfonic acid group", "[SX4;$(S[#6])](=[OX1])(=[OX1])[OX2H1]", "organosulfonic acid", 94),
    Group("sulfonate group", "[SX4;$(S[#6])](=[OX1])(=[OX1])[OX1-]", "organosulfonate oxoanion", 94),
    Group("sulfonate ester", "[SX4;$(S[#6])](=[OX1])(=[OX1])[OX2;$(O[#6])]", "sulfonic ester", 82),
    Group("sulfate ester group", f"{_O_C}[SX4](=[OX1])(=[OX1]){_OX}", "organic sulfate", 93),
    Group("sulfonyl halide group", "[SX4;$(S[#6])](=[OX1])(=[OX1])[F,Cl,Br,I]", "sulfonyl halide", 84),
    Group("sulfinic acid group", f"[SX3;$(S[#6])](=[OX1]){_OX}", "organosulfinic acid", 90),
    Group("sulfone", "[SX4;$(S([#6])[#6])](=[OX1])=[OX1]", "sulfone", 45),
    Group("sulfoxide", "[SX3;$(S([#6])[#6])]=[OX1]", "sulfoxide", 45),
    Group("sulfonium group", "[SX3+;$(S([#6])([#6])[#6])]", "sulfonium compound", 88),
    Group("dithiocarbamate group", "[NX3][CX3](=[SX1])[SX2,SX1-]", "dithiocarbamic ester", 66),
    Group("thiocarbamate group", "[NX3][CX3;$(C(~[OX1,OX2])~[SX1,SX2])](~[O,S])~[O,S]", "thiocarbamic ester", 66),
    Group("thiourea group", "[NX3][CX3](=[SX1])[NX3]", "thiourea", 66),
    Group("thioamide group", "[CX3;$(C[#6]),H1](=[SX1])[NX3]", "thiocarboxamide", 66),
    Group("thioester", "[CX3;$(C[#6]),H1](=[OX1])[SX2;$(S[#6])]", "thioester", 86),
    Group("isothiocyanate group", "[NX2]=[CX2]=[SX1]", "isothiocyanate", 64),
    Group("thiocyanate group", "[SX2;$(S[#6])][CX2]#[NX1]", "thiocyanate", 64),
    Group("disulfide bridge", "[SX2;$(S[#6])][SX2;$(S[#6])]", "organic disulfide", 44),
    # Nitrogen with oxygen or nitrogen.
    Group("nitrate ester group", f"{_O_C}[NX3+](=[OX1])[OX1-]", "nitrate ester", 80),
    Group("nitro group", "[NX3+;$(N[#6,#7])](=[OX1])[OX1-]", "nitro compound", 30),
    Group("nitrosamine group", "[NX3;$(N[#6])][NX2]=[OX1]", "nitrosamine", 60),
    Group("nitroso group", "[NX2;$(N[#6])]=[OX1]", "nitroso compound", 30),
    Group("azido group", "[NX2;$(N[#6])]=[NX2+]=[NX1-]", "azide", 50),
    Group("diazonium group", "[NX2+]#[NX1]", "diazonium ion", 90),
    Group("diazo group", "[#6]=[NX2+]=[NX1-]", "diazo compound", 60),
    Group("azo group", "[NX2;!R;$(N[#6])]=[NX2;!R;$(N[#6])]", "azo compound", 52),
    Group("hydroxamic acid group", "[CX3](=[OX1])[NX3][OX2H1]", "hydroxamic acid", 85),
    Group("semicarbazone group", "[NX3][CX3](=[OX1,SX1])[NX3][NX2]=[#6]", "semicarbazone", 66),
    Group("acylhydrazone group", "[CX3](=[OX1])[NX3;!R][NX2;!R]=[CX3]", "hydrazone", 66),
    Group("carbohydrazide group", "[CX3;!R](=[OX1])[NX3;!R][NX3]", "carbohydrazide", 68),
    Group("hydrazone group", "[NX3;!R][NX2;!R]=[CX3]", "hydrazone", 50),
    Group("oxime group", "[CX3]=[NX2][OX2H1]", "oxime", 56),
    Group("oxime ether group", "[CX3]=[NX2;!R][OX2;!R;$(O[#6])]", "oxime O-ether", 50),
    Group("guanidine group", "[NX3][CX3](=[NX2,NX3+])[NX3]", "guanidine", 67),
    Group("biuret group", "[NX3][CX3](=[OX1])[NX3;!R][CX3](=[OX1])[NX3]", "biuret", 66),
    Group("urea group", "[NX3;!R][CX3](=[OX1])[NX3]", "urea", 69),
    Group("cyclic urea group", "[NX3;R][CX3;R](=[OX1])[NX3;R]", "cyclic urea", 60),
    Group("tert-butoxycarbonyl group", "[CX4]([CH3])([CH3])([CH3])[OX2][CX3;$(CN)]=[OX1]", "tert-butyl carbamate", 70),
    Group("cyclic carbamate", "[NX3;R][CX3;R](=[OX1])[OX2;R]", "cyclic carbamate", 62),
    Group("carbamate group", "[NX3][CX3](=[OX1])[OX2;$(O[#6]),OX1-]", "carbamate ester", 72),
    Group("carbamic acid group", "[NX3][CX3](=[OX1])[OX2H1]", "carbamic acid", 72),
    # Carboxylic acids and their kin.
    Group("carbonate ester", "[OX2][CX3](=[OX1])[OX2;$(O[#6])]", "carbonate ester", 74),
    Group("acid anhydride", "[CX3](=[OX1])[OX2][CX3]=[OX1]", "acyclic carboxylic anhydride", 87),
    Group("acyl halide group", "[CX3](=[OX1])[F,Cl,Br,I]", "acyl halide", 84),
    Group("peroxy acid group", "[CX3](=[OX1])[OX2][OX2H1]", "peroxy acid", 92),
    Group("carboxy group", "[CX3;$(C[#6]),H1](=[OX1])[OX2H1]", "carboxylic acid", 92),
    Group("carboxylate group", "[CX3;$(C[#6]),H1](=[OX1])[OX1-]", "carboxylic acid anion", 92),
    Group("cyclic imide group", "[CX3;R](=[OX1])[NX3;R][CX3;R]=[OX1]", "dicarboximide", 71),
    Group("imide group", "[CX3](=[OX1])[NX3][CX3]=[OX1]", "dicarboximide", 71),
    Group("acetoxy group", "[CH3][CX3](=[OX1])[OX2;!R;$(O[#6])]", "acetate ester", 86),
    Group("beta-lactam", "[CX3;r4](=[OX1])[NX3;r4]", "beta-lactam", 79),
    Group("gamma-lactone", "[CX3;r5;R](=[OX1])[OX2;r5;R]", "gamma-lactone", 81),
    Group("delta-lactone", "[CX3;r6;R](=[OX1])[OX2;r6;R]", "delta-lactone", 81),
    Group("lactone", "[CX3;R](=[OX1])[OX2;R]", "lactone", 83),
    Group("methoxycarbonyl group", "[CX3;!R](=[OX1])[OX2;!R][CH3]", "methyl ester", 86),
    Group("ethoxycarbonyl group", "[CX3;!R](=[OX1])[OX2;!R][CX4H2][CH3]", "ethyl ester", 86),
    Group("carboxylic ester", "[CX3](=[OX1])[OX2;$(O[#6])]", "carboxylic ester", 86),
    Group("acetamido group", "[CH3][CX3](=[OX1])[NX3H1;!R]", "acetamide", 73),
    Group("primary carboxamide group", "[CX3;!R](=[OX1])[NX3H2]", "primary carboxamide", 73),
    Group("gamma-lactam", "[CX3;r5;R](=[OX1])[NX3;r5;R]", "gamma-lactam", 71),
    Group("delta-lactam", "[CX3;r6;R](=[OX1])[NX3;r6;R]", "delta-lactam", 71),
    Group("lactam", "[CX3;R](=[OX1])[NX3;R]", "lactam", 71),
    Group("secondary carboxamide group", "[CX3](=[OX1])[NX3H1]", "secondary carboxamide", 73),
    Group("tertiary carboxamide group", "[CX3](=[OX1])[NX3H0]", "tertiary carboxamide", 73),
    Group("amidine group", "[CX3;$(C[#6]),H1](=[NX2,NX3+;!R])[NX3;!R]", "carboxamidine", 67),
    # Nitriles, isocyanates, imines.
    Group("isocyanate group", "[NX2;$(N[#6])]=[CX2]=[OX1]", "isocyanate", 64),
    Group("isocyano group", "[NX2+;$(N[#6])]#[CX1-]", "isocyanide", 50),
    Group("cyano group", "[CX2;$(C[#6])]#[NX1]", "nitrile", 58),
    Group("nitrone group", "[CX3]=[NX3+;$(N[#6])][OX1-]", "nitrone", 50),
    Group("iminium group", "[CX3;!$(C[N])]=[NX3+;!$(N[O-])]", "iminium ion", 60),
    Group("imine group", "[CX3;!R;!$(C[N,O,S])]=[NX2;!R;$(N[#6,#1]),H1]", "imine", 38),
    # Aldehydes, ketones, alcohols, ethers.
    Group("formyl group", "[CX3H1;$(C[#6])]=[OX1]", "aldehyde", 57),
    Group("acetyl group", "[CH3][CX3;$(C[#6])]=[OX1]", "methyl ketone", 55),
    Group("enone group", "[CX3;$(C([#6])[#6])](=[OX1])[CX3]=[CX3]", "enone", 56),
    Group("ketone", "[CX3;$(C([#6])[#6])]=[OX1]", "ketone", 55),
    Group("oxo group", "[OX1;$(O=c)]"),
    Group("thioxo group", "[SX1;$(S=[#6])]"),
    Group("hydroperoxy group", "[OX2;$(O[#6])][OX2H1]", "hydroperoxide", 60),
    Group("peroxide bridge", "[OX2;$(O[#6])][OX2;$(O[#6])]", "organic peroxide", 48),
    Group("N-oxide group", "[#7+;$([#7]([#6])[#6,$([#6]=[#7])]),$([n+])][OX1-]", "N-oxide", 46),
    Group("N-hydroxy group", "[OX2H1;$(O[#7])]"),
    Group("hemiacetal hydroxy group", "[OX2H1;$(O[CX4;R][OX2;R])]"),
    Group("phenolic hydroxy group", "[OX2H1;$(Oc)]", "phenol", 53),
    Group("phenolate group", "[OX1-;$(Oc)]", "phenolate anion", 60),
    Group("enolic hydroxy group", "[OX2H1;$(O[CX3]=[CX3])]", "enol", 40),
    Group("primary hydroxy group", "[OX2H1;$(O[CX4H2]),$(O[CX4H3])]", "primary alcohol", 54),
    Group("secondary hydroxy group", "[OX2H1;$(O[CX4H1])]", "secondary alcohol", 54),
    Group("tertiary hydroxy group", "[OX2H1;$(O[CX4H0])]", "tertiary alcohol", 54),
    Group("alkoxide group", "[OX1-;$(O[CX4])]", "alkoxide", 60),
    Group("trifluoromethoxy group", "[OX2;!R;$(O[#6;!$(C(F)(F)F)])][CX4](F)(F)F", "aromatic ether", 20),
    Group("difluoromethoxy group", "[OX2;!R;$(O[#6;!$([CH](F)F)])][CX4H1](F)F", "aromatic ether", 20),
    Group("methoxy group", "[OX2;!R;$(O[#6;!H3])][CH3]", "methyl ether", 22),
    Group("ethoxy group", "[OX2;!R;$(O[#6]);$(O[#6;!$([CH2][CH3])])][CX4H2][CH3]", "ether", 21),
    Group("silyl ether group", "[OX2;$(O[#6])][SiX4]", "silyl ether", 50),
    Group("epoxide ring", "[CX4;r3][OX2;r3][CX4;r3]", "epoxide", 42),
    Group("glycosidic linkage", "[OX2;!R;$(O([#6])[CX4;R][OX2;R])]", "glycoside", 88),
    Group("acetal group", "[OX2;!R;$(O[#6])][CX4;!R;!$(C[N])][OX2;!R;$(O[#6])]", "acetal", 26),
    Group("diaryl ether linkage", "[OX2;!R;$(O(c)c)]", "aromatic ether", 24),
    Group("aryl ether linkage", "[OX2;!R;$(Oc);$(O[CX4])]", "aromatic ether", 23),
    Group("enol ether linkage", "[OX2;!R;$(O[CX3]=[CX3]);$(O[#6])]", "enol ether", 23),
    Group("ether linkage", "[OX2;!R;$(O([#6])[#6])]", "ether", 21),
    # Thiols and sulfides.
    Group("sulfanyl group", "[SX2H1;$(S[#6])]", "thiol", 52),
    Group("thiolate group", "[SX1-;$(S[#6])]", "organosulfide anion", 60),
    Group("methylsulfanyl group", "[SX2;!R;$(S[#6;!H3])][CH3]", "methyl sulfide", 25),
    Group("aryl sulfide linkage", "[SX2;!R;$(S([#6])c)]", "aryl sulfide", 25),
    Group("sulfide linkage", "[SX2;!R;$(S([#6])[#6])]", "organic sulfide", 25),
    # Amines and their cations.
    Group("protonated aromatic nitrogen", "[nX3H1+]", "heteroaromatic cation", 55),
    Group("quaternised aromatic nitrogen", "[nX3H0+;!$(n[O-])]", "heteroaromatic cation", 60),
    Group("N-hydroxyamino group", "[NX3;$(N[#6])][OX2H1]", "hydroxylamine", 48),
    Group("hydrazine group", "[NX3;!R;!$(N[#6]=[O,S])][NX3;!R;!$(N[#6]=[O,S])]", "hydrazine derivative", 48),
    Group("quaternary ammonium group", "[NX4+;$(N([#6])([#6])([#6])[#6])]", "quaternary ammonium ion", 89),
    Group("protonated primary amino group", "[NX4H3+;$(N[#6])]", "primary ammonium ion", 59),
    Group("protonated secondary amino group", "[NX4H2+;$(N([#6])[#6])]", "secondary ammonium ion", 59),
    Group("protonated tertiary amino group", "[NX4H1+;$(N([#6])([#6])[#6])]", "tertiary ammonium ion", 59),
    Group("aromatic amino group", "[NX3H2;$(Nc)]", "primary arylamine", 51),
    Group("primary amino group", "[NX3H2;$(N[CX4])]", "primary amine", 51),
    Group("secondary arylamine", f"[NX3H1;!R;$(Nc);$(N([#6])[#6]);{_BASIC}]", "secondary arylamine", 47),
    Group("dimethylamino group", f"[NX3;!R;$(N[#6;!H3]);{_BASIC}]([CH3])[CH3]", "tertiary amine", 47),
    Group("tertiary arylamine", f"[NX3H0;$(Nc);$(N([#6])([#6])[#6]);{_BASIC}]", "tertiary arylamine", 43),
    Group("secondary amine", f"[NX3H1;$(N([#6])[#6]);{_BASIC}]", "secondary amine", 49),
    Group("tertiary amine", f"[NX3H0;$(N([#6])([#6])[#6]);{_BASIC}]", "tertiary amine", 49),
    # Halogens.
    Group("trifluoromethyl group", "[CX4;$(C[!F])](F)(F)F", "organofluorine compound", 14),
    Group("trichloromethyl group", "[CX4;$(C[!Cl])](Cl)(Cl)Cl", "organochlorine compound", 14),
    Group("difluoromethyl group", "[CX4H1;$(C[#6])](F)F", "organofluorine compound", 14),
    Group("fluoro group", "[FX1;$(F[#6])]", "organofluorine compound", 12),
    Group("chloro group", "[ClX1;$(Cl[#6])]", "organochlorine compound", 12),
    Group("bromo group", "[BrX1;$(Br[#6])]", "organobromine compound", 13),
    Group("iodo group", "[IX1;$(I[#6])]", "organoiodine compound", 13),
    # Boron, silicon, selenium, arsenic.
    Group("boronic acid group", "[BX3;$(B[#6])]([OX2H1])[OX2H1]", "boronic acid", 84),
    Group("boronic ester group", "[BX3;$(B[#6])]([OX2])[OX2]", "boronic ester", 80),
    Group("trimethylsilyl group", "[SiX4]([CH3])([CH3])[CH3]", "organosilicon compound", 30),
    Group("silyl group", "[SiX4;$([Si][#6])]", "organosilicon compound", 30),
    Group("selanyl group", "[SeX2H1;$([Se][#6])]", "selenol", 50),
    Group("selenide linkage", "[SeX2;$([Se]([#6])[#6])]", "organoselenium compound", 30),
    Group("arsenic acid group", f"[AsX4;$([As][#6])](=[OX1])({_OX}){_OX}", "organoarsonic acid", 90),
    # Carbon-carbon unsaturation outside rings and long chains.
    Group("ethynyl group", "[CX2;$(C[#6])]#[CX2H1]", "terminal alkyne", 18),
    Group("allene group", "[CX3]=[CX2]=[CX3]", "allene", 18),
    Group("carbon-carbon triple bond", "[CX2;!R]#[CX2;!R]", "alkyne", 17),
    Group("vinyl group", "[CX3H1;!R;$(C[#6])]=[CX3H2;!R]", "olefinic compound", 16),
    Group("methylidene group", "[CX3H2;$(C=[CX3])]", "olefinic compound", 10),
    Group("exocyclic double bond", "[CX3;R;!$(C=[CH2])]=[CX3;!R]", "olefinic compound", 10),
    Group("carbon-carbon double bond", "[CX3;!R]=[CX3;!R]", "olefinic compound", 15),
)


_PLAIN_ATOM = re.compile(r"\[?(?P<element>[A-Z][a-z]?)(?P<degree>X\d)?(?P<hydrogens>H\d)?(?P<charge>[+-])?")
_BOND_MARKS = {Chem.BondType.SINGLE: "-", Chem.BondType.DOUBLE: "=", Chem.BondType.TRIPLE: "#"}


def _query_features(query: Chem.Mol) -> frozenset[str]:
    """What a molecule must hold to be searched: atoms by element, degree, hydrogens, charge, and plain bonds."""
    features, element = set(), {}
    for atom in query.GetAtoms():
        whole = atom.GetSmarts().strip("[]")
        stated = re.split(r"[;$]|&[!$]", whole)[0].replace("&", "")
        if re.fullmatch(r"#\d+.*", stated) and "," not in stated:
            features.add(re.match(r"#\d+", stated)[0])
        plain = _PLAIN_ATOM.match(stated)
        if plain is None or "," in stated or "!" in stated:
            continue
        element[atom.GetIdx()] = plain["element"]
        features.add(plain["element"] + (plain["degree"] or ""))
        if plain["degree"] and plain["hydrogens"]:
            features.add(plain["element"] + plain["degree"] + plain["hydrogens"])
        if plain["charge"]:
            features.add(plain["element"] + plain["charge"])
    for bond in query.GetBonds():
        ends = [element.get(bond.GetBeginAtomIdx()), element.get(bond.GetEndAtomIdx())]
        mark = _BOND_MARKS.get(bond.GetBondType()) if bond.GetSmarts() in ("", "-", "=", "#") else None
        if mark and all(ends):
            features.add(mark.join(sorted(ends)))
    return frozenset(features)


def _molecule_features(graph: Graph) -> set[str]:
    features = set()
    element = [symbol.lower() if ring else symbol for symbol, ring in zip(graph.symbol, graph.aromatic, strict=True)]
    for index, symbol in enumerate(element):
        hydrogens = graph.hydrogens[index]
        explicit = sum(graph.number[neighbour] == 1 for neighbour in graph.neighbours[index])
        degree = f"{symbol}X{len(graph.neighbours[index]) + hydrogens - explicit}"
        features.update((symbol, f"#{graph.number[index]}", degree, f"{degree}H{hydrogens}"))
        charge = graph.charge[index]
        if charge:
            features.add(symbol + ("+" if charge > 0 else "-"))
    for one, other, kind in graph.bonds:
        mark = _BOND_MARKS.get(kind)
        if mark:
            first, second = element[one], element[other]
            features.add(first + mark + second if first < second else second + mark + first)
    return features


@cache
def _compiled() -> tuple[tuple[Group, Chem.Mol, frozenset[str]], ...]:
    """The table with its queries compiled once and what each needs before a search is worth its time."""
    queries = [Chem.MolFromSmarts(group.smarts) for group in GROUPS]
    return tuple((group, query, _query_features(query)) for group, query in zip(GROUPS, queries, strict=True))


def find_groups(graph: Graph) -> list[GroupMatch]:
    """The functional groups of a molecule, in the order of the table; no atom is in two of them."""
    features = _molecule_features(graph)
    claimed: set[int] = set()
    found = []
    for group, query, needed in _compiled():
        if not needed <= features:
            continue
        for atoms in graph.mol.GetSubstructMatches(query, maxMatches=10_000):
            if claimed.isdisjoint(atoms):
                claimed.update(atoms)
                found.append(GroupMatch(group, atoms))
    return found
