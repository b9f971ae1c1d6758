"""Molecules laid out in the plane as a few hundred bytes each, for pages that draw thousands of them themselves."""

import math

from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from atomas_jax.chemistry.molecules import InvalidMolecule, Mol, MoleculeLike, as_molecule

LARGEST = 250
"""Atoms beyond which a picture says nothing and its layout takes seconds."""

UNIT = 20
"""Length of a bond in the integers of an outline; y points down, the smallest x and y are 0."""

SINGLE, DOUBLE, TRIPLE, WEDGE, DASH, LEFT, RIGHT = range(1, 8)
"""Kinds of bonds: `LEFT` and `RIGHT` are double bonds whose second line lies on that side of the way from the first
atom to the second, as seen on the page."""

_SUBSCRIPT, _SUPERSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"), str.maketrans("0123456789+-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻")


def outline(molecule: MoleculeLike) -> dict[str, list] | str:
    """What it takes to draw a molecule, aromatic rings kekulised; for what cannot be drawn, why.

    Returns:
      "p": x and y of every atom in turn, integers. "b": first atom, second atom and kind of every bond in turn; wedges
      and dashes start at the narrow end. "t": for every atom that is written, [atom, element, label, side]; `side` is
      -1 where the label runs to the left of the element's letter ("HO"), else 1.
    """
    try:
        mol = as_molecule(molecule)
    except InvalidMolecule:
        return "not a valid SMILES"
    if mol.GetNumAtoms() > LARGEST:
        return f"{mol.GetNumAtoms()} atoms: too large to draw"
    try:
        mol = rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=True)
    except (Chem.MolSanitizeException, ValueError, RuntimeError):
        mol = rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=False)
    points = mol.GetConformer().GetPositions()[:, :2] * [1, -1]
    lengths = [math.dist(points[b.GetBeginAtomIdx()], points[b.GetEndAtomIdx()]) for b in mol.GetBonds()]
    scale = UNIT / (sorted(lengths)[len(lengths) // 2] if lengths else 1.0)
    places = ((points - points.min(axis=0)) * scale).round().astype(int)
    bonds = [n for bond in mol.GetBonds() for n in _bond(mol, bond, places)]
    return {"p": places.ravel().tolist(), "b": bonds, "t": [t for atom in mol.GetAtoms() if (t := _text(atom, places))]}


def _bond(mol: Mol, bond: Chem.Bond, places) -> tuple[int, int, int]:
    first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    kind = {Chem.BondType.DOUBLE: DOUBLE, Chem.BondType.TRIPLE: TRIPLE}.get(bond.GetBondType(), SINGLE)
    if bond.GetBondDir() in (Chem.BondDir.BEGINWEDGE, Chem.BondDir.BEGINDASH):
        kind = WEDGE if bond.GetBondDir() == Chem.BondDir.BEGINWEDGE else DASH
    elif kind == DOUBLE:
        kind = _side(mol, bond, places)
    return first, second, kind


def _side(mol: Mol, bond: Chem.Bond, places) -> int:
    """The side of a double bond's second line: into the smallest ring, else to the substituents, else neither."""
    first, second = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
    rings = [ring for ring in mol.GetRingInfo().AtomRings() if first in ring and second in ring]
    if rings:
        others = [atom for atom in min(rings, key=len) if atom not in (first, second)]
    elif min(mol.GetAtomWithIdx(end).GetDegree() for end in (first, second)) < 2:
        return DOUBLE
    else:
        others = [n.GetIdx() for end in (first, second) for n in mol.GetAtomWithIdx(end).GetNeighbors()]
    (ax, ay), (bx, by) = places[first], places[second]
    turn = sum((bx - ax) * (places[n][1] - ay) - (by - ay) * (places[n][0] - ax) for n in others)
    return DOUBLE if turn == 0 else RIGHT if turn > 0 else LEFT


def _text(atom: Chem.Atom, places) -> list | None:
    charge, isotope, radicals = atom.GetFormalCharge(), atom.GetIsotope(), atom.GetNumRadicalElectrons()
    symbol = atom.GetSymbol()
    if symbol == "C" and atom.GetDegree() and not (charge or isotope or radicals):
        return None
    hydrogens = atom.GetTotalNumHs()
    own = (str(isotope).translate(_SUPERSCRIPT) if isotope else "") + symbol
    held = f"H{str(hydrogens).translate(_SUBSCRIPT) if hydrogens > 1 else ''}" if hydrogens else ""
    sign = f"{abs(charge) if abs(charge) > 1 else ''}{'+' if charge > 0 else '-'}" if charge else ""
    mark = "•" * radicals + sign.translate(_SUPERSCRIPT)
    index = atom.GetIdx()
    lean = sum(int(places[n.GetIdx()][0] - places[index][0]) for n in atom.GetNeighbors())
    left = bool(held) and lean > 0
    return [index, symbol, (held + own if left else own + held) + mark, -1 if left else 1]
