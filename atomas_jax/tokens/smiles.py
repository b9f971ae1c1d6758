"""Cutting SMILES at atoms, and the fixed part of the SMILES vocabulary.

Two levels of pieces, both concatenating to what they were cut from:

- `split`: a SMILES into bracket atoms (whole), organic-subset atoms, bonds, ring closures, branches and dots
  (OpenSMILES 1.0, sections 2 and 3; the cut of Schwaller et al. 2019, made total so that it never loses a character);
- `split_bracket`: the inside of one bracket atom into isotope digits, symbol, chirality, hydrogens, charge and class,
  for the bracket atoms a vocabulary does not hold whole.
"""

import re

_ELEMENT_NAMES = """
    H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb
    Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au
    Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv Ts
    Og
"""
ELEMENTS = tuple(_ELEMENT_NAMES.split())
AROMATIC = ("b", "c", "n", "o", "p", "s")  # outside brackets; RDKit also writes si, as, se and te aromatic within them

ORGANIC = ("B", "C", "N", "O", "P", "S", "F", "Cl", "Br", "I")
BONDS = ("-", "=", "#", "$", ":", "/", "\\", "~", "->", "<-")
RINGS = tuple(str(n) for n in range(10)) + tuple(f"%{n}" for n in range(10, 100))
# Every piece written outside brackets that is always in a vocabulary.
OUTER = (*ORGANIC, *AROMATIC, "*", *BONDS, "(", ")", ".", *RINGS)

# What spells the inside of a bracket atom. "H" is both the element and the hydrogen count; digits serve isotope,
# hydrogen count, charge and atom class: which one is meant follows from what stands before.
INNER = (
    *ELEMENTS,
    *AROMATIC,
    *("si", "as", "se", "te"),
    *"0123456789",
    *("@", "@@", "@TH", "@AL", "@SP", "@TB", "@OH"),
    *"+-:#*",
)

# Bracket atoms every vocabulary holds whole, whatever it was trained on: the stereo centres, charges, isotopes and
# counter-ions that chemists write often. Rarer ones are spelled.
_COMMON = """
    [C@H] [C@@H] [C@] [C@@] [C] [CH] [CH2] [CH3] [C-] [CH-] [CH2-] [CH3-] [C+] [CH+] [CH2+] [c-] [cH-] [c+] [cH]
    [11C] [11CH3] [13C] [13CH] [13CH2] [13CH3] [13C@H] [13C@@H] [13c] [13cH] [14C] [14CH] [14CH2] [14CH3] [14c]
    [14cH] [nH] [n+] [nH+] [n-] [N] [NH] [NH2] [N+] [NH+] [NH2+] [NH3+] [NH4+] [N-] [NH-] [NH2-] [N@] [N@@] [N@+]
    [N@@+] [N@H+] [N@@H+] [13N] [15N] [15NH] [15NH2] [15n] [15nH] [O-] [O] [OH] [OH-] [O+] [OH+] [OH2+] [OH3+] [OH2]
    [o+] [O-2] [15O] [17O] [18O] [18OH] [S@] [S@@] [S@+] [S@@+] [S-] [SH-] [S-2] [S+] [SH+] [s+] [S] [SH] [SH2]
    [35S] [P] [PH] [PH2] [P@] [P@@] [P@H] [P@@H] [P+] [PH+] [P-] [P@+] [P@@+] [32P] [33P] [H] [H+] [H-] [1H] [2H]
    [3H] [B] [BH] [BH2] [B-] [BH-] [BH2-] [BH3-] [BH4-] [B@-] [B@@-] [10B] [Si] [SiH] [SiH2] [SiH3] [SiH4] [Si@]
    [Si@@] [Si-] [Ge] [GeH2] [Sn] [SnH] [Sn+2] [Sn+4] [As] [AsH] [AsH2] [As+] [As-] [As+3] [Sb] [Sb+3] [Sb+5] [Bi]
    [Bi+3] [Se] [se] [SeH] [Se-] [Se+] [Se-2] [75Se] [Te] [te] [Te-2] [F-] [F] [18F] [18F-] [Cl-] [Cl] [Cl+] [Cl+2]
    [Cl+3] [Br-] [Br] [Br+] [76Br] [77Br] [I-] [I] [I+] [IH] [IH2] [123I] [124I] [125I] [131I] [131I-] [He] [Ne]
    [Ar] [Kr] [Xe] [Rn] [At] [Li] [Li+] [Na] [Na+] [K] [K+] [Rb+] [Cs+] [Be+2] [Mg] [Mg+2] [Ca] [Ca+2] [Sr+2] [Ba+2]
    [Al] [Al+3] [Al-] [Ga+3] [In+3] [Tl+] [Pb] [Pb+2] [Ti] [Ti+4] [V] [V+2] [Cr] [Cr+3] [Cr+6] [Mo] [W] [Mn] [Mn+2]
    [Mn+3] [Fe] [Fe+2] [Fe+3] [Fe-2] [Fe-3] [Fe-4] [Co] [Co+] [Co+2] [Co+3] [Co-3] [Ni] [Ni+2] [Cu] [Cu+] [Cu+2]
    [Zn] [Zn+2] [Cd] [Cd+2] [Hg] [Hg+] [Hg+2] [Ag] [Ag+] [Au] [Au+] [Au+3] [Pt] [Pt+2] [Pt+4] [Pd] [Pd+2] [Ru]
    [Ru+2] [Ru+3] [Rh] [Rh+3] [Ir] [Os] [Zr] [Zr+4] [Hf] [Y+3] [La+3] [Ce+3] [Ce+4] [Sm+3] [Eu+3] [Gd+3] [Tb+3]
    [Lu+3] [Th] [U] [67Ga+3] [99Tc] [111In+3] [177Lu+3] [223Ra+2]
"""
COMMON_BRACKETS = tuple(_COMMON.split())

# The most frequent kind of piece, a character that begins no longer one, stands first: that is the speed of encoding.
PATTERN = re.compile(r"[^\[BC%<-]|Cl?|\[[^\[\]]*\]|Br?|->?|%[0-9]{2}|%\([0-9]{3,5}\)|<-?|.", re.DOTALL)
_INNER = re.compile("|".join(map(re.escape, sorted(INNER, key=len, reverse=True))) + "|.", re.DOTALL)


def split(smiles: str) -> list[str]:
    r"""The atom-wise pieces of a SMILES, in order; their concatenation is the input, for any string.

    A bracket atom is one piece, and so are `Br`, `Cl`, `%nn`, `%(nnn)`, `->` and `<-`. Every other character, legal
    in SMILES or not, is a piece by itself. Nothing is checked: `C1(` splits as readily as benzene.

    >>> split(r"C[C@@H](Br)/C=C\[13CH3].[Na+]")
    ['C', '[C@@H]', '(', 'Br', ')', '/', 'C', '=', 'C', '\\', '[13CH3]', '.', '[Na+]']
    """
    return PATTERN.findall(smiles)


def split_bracket(atom: str) -> list[str]:
    """The pieces inside one bracket atom, brackets left out; between the brackets again, they give the atom back.

    >>> split_bracket("[13C@@H:12]")
    ['1', '3', 'C', '@@', 'H', ':', '1', '2']
    """
    return _INNER.findall(atom[1:-1])
