"""What the validity constraint knows of atoms: how many bonds they take, and when an aromatic one needs a double bond.

RDKit's default valence model (2024.09 and later), written out so that decoding needs no RDKit; a test compares the two.
Sets of bond-order sums are bit masks: bit s stands for a sum of s, hydrogens counted.
"""

from dataclasses import dataclass, replace

from atomas_jax.tokens.smiles import ELEMENTS

UNLIMITED = 14
"""Bonds of an atom that RDKit sets no limit to. Nothing written has more."""

_LISTS = {
    (1,): "H F Cl Br Cs Fr",
    (0,): "He Ne Ar Kr Rn",
    (2,): "Be O",
    (3,): "B N Al Ga In",
    (4,): "C Si Ge",
    (3, 5): "P As Sb Bi",
    (2, 4, 6): "S Se Te Po",
    (2, 4): "Sn Pb",
    (1, 3, 5): "I At",
    (0, 2, 4, 6): "Xe",
    (1, UNLIMITED): "Li Na K Rb",
    (2, UNLIMITED): "Mg Ca Sr Ba Ra",
}
VALENCES = {element: valences for valences, elements in _LISTS.items() for element in elements.split()}
"""Valences of the elements that have some; the others, metals mostly, take any."""

_NON_METALS = frozenset(["H", "B", "C", "N", "O", "F", "Si", "P", "S", "Cl", "As", "Se", "Br", "Te", "I", "At"])
_NON_METALS |= {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}
_SUMS = range(UNLIMITED + 2)


@dataclass(frozen=True)
class Species:
    """What the constraint has to know of a kind of atom.

    Attributes:
      most: greatest sum of bond orders, hydrogens counted.
      aromatic: has to be in a ring.
      conjugated: takes part in the double bonds of aromatic rings: aromatic, or a wildcard.
      without, paired: sums with which the atom is complete without and with a double bond of the aromatic system.
      may_pair: sums from which an atom that is paired can still become complete.
      oxidised: greatest sum where oxygens are bound by double bonds beyond `most`, which RDKit takes for charged pairs.
      oxygen: is one.
      metal: is one for RDKit, which makes bonds of hypervalent atoms to it dative. Those close no rings.
      wild: is "*".
      bound: greatest sum with which no bond to a metal is made dative.
      loose: greatest sum with which a bond to a metal that is made dative still leaves the double bonds as they are.
    """

    most: int
    aromatic: bool
    conjugated: bool
    without: int
    paired: int
    may_pair: int
    oxidised: int = 0
    oxygen: bool = False
    metal: bool = False
    wild: bool = False
    bound: int = UNLIMITED
    loose: int = UNLIMITED


def most_bonds(element: str, charge: int) -> int:
    """Greatest sum of bond orders of an element ("*" is a wildcard), as RDKit's `calcExplicitValence` has it."""
    if VALENCES.get(element, (UNLIMITED,))[-1] == UNLIMITED:
        return UNLIMITED
    number = ELEMENTS.index(element) + 1
    alike = number - charge  # charged atoms have the valences of the neutral one with as many electrons
    if (number in (15, 16) and alike > 16) or (number in (33, 34) and alike > 34):
        return VALENCES[element][-1] + charge
    if alike <= 0:
        return 0 if element == "H" else UNLIMITED
    return VALENCES.get(ELEMENTS[alike - 1], (UNLIMITED,))[-1] if alike <= len(ELEMENTS) else UNLIMITED


def species(symbol: str, charge: int = 0, bracket: bool = True) -> Species:
    """The kind of an atom by its symbol as in SMILES, lower case for aromatic."""
    element = symbol.capitalize()
    most = most_bonds(element, charge)
    everything = sum(1 << s for s in _SUMS)
    bound = min(most, _bound(element, charge, symbol.islower()))
    if not symbol.islower():
        oxidised = 7 if not charge and element in ("Cl", "Br", "I") else 0
        if oxidised:  # and then no even sum, which would leave an electron
            everything = sum(1 << s for s in _SUMS if s <= most or s % 2)
        wild = symbol == "*"
        metal = not wild and element not in _NON_METALS
        return Species(most, False, False, everything, 0, 0, oxidised, element == "O", metal, wild, bound, most)
    pairs = [s <= most and _needs_double_bond(element, charge, bracket, s) for s in _SUMS]
    if element in ("S", "Se", "Te") and not charge:
        pairs[3:] = [None] * len(pairs[3:])  # kekulisation gives these double bonds only in some rings
    paired = sum(1 << s for s in _SUMS if pairs[s])
    without = sum(1 << s for s in _SUMS if s <= most and (pairs[s] is False or (s % 2 == 0 and pairs[s] is None)))
    sums = range(most + 1)
    may_pair = sum(1 << s for s in sums if any(pairs[s : most + 1]))
    loose = most if element in ("S", "Se", "Te") and not charge else min(most, 3)
    return Species(most, True, True, without, paired, may_pair, bound=bound, loose=loose)


def unfollowed(kind: Species) -> Species:
    """The kind without its double bonds, where there are too many ways to place them to follow them all."""
    if not kind.aromatic:
        return kind
    either = kind.without | kind.paired
    return replace(kind, without=either, paired=either, may_pair=kind.may_pair | either)


def _bound(element: str, charge: int, aromatic: bool) -> int:
    """Greatest sum of bond orders with which RDKit (`cleanUpOrganometallics`) makes no bond to a metal dative."""
    if element == "*" or element not in _NON_METALS:
        return UNLIMITED
    if aromatic:  # whose bonds count one and a half each
        return 3 if (element, charge) == ("C", 0) else 0
    alike = ELEMENTS.index(element) + 1 - charge
    greatest = VALENCES.get(ELEMENTS[alike - 1], (0,))[-1] if alike > 0 else 0
    return greatest or UNLIMITED


def _needs_double_bond(element: str, charge: int, bracket: bool, total: int) -> bool:
    """Whether RDKit's kekulisation gives the aromatic atom a double bond within the ring (`markDbondCands`)."""
    shift = -abs(charge) if element == "C" else -charge if element in ("B", "Si", "Ge", "Al") else charge
    free = next((v + shift - total for v in VALENCES.get(element, ()) if v + shift >= total), 0)
    return free == 1 or (free == 2 and (bracket or element == "C"))
