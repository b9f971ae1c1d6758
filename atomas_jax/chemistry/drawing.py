"""Molecules drawn as SVG for reports; a bad string is drawn as a note, never raised."""

from collections.abc import Iterable
from html import escape

from rdkit import Chem
from rdkit.Chem.Draw import rdMolDraw2D

from atomas_jax.chemistry.molecules import InvalidMolecule, MoleculeLike, as_molecule

_LARGEST_DRAWN = 250
"""Heavy atoms beyond which a picture says nothing and its layout takes seconds."""


def _note(message: str, width: int, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
        f'<rect width="100%" height="100%" fill="#f6f6f6"/><text x="50%" y="50%" text-anchor="middle" '
        f'font-family="sans-serif" font-size="12" fill="#a33">{escape(message)}</text></svg>'
    )


def svg(molecule: MoleculeLike, width: int = 250, height: int = 180, highlight: Iterable[int] = ()) -> str:
    """One molecule as a stand-alone `<svg>` element (no XML header, so that it can be put into a page).

    Args:
      molecule: a molecule or a SMILES; what cannot be read gives a small SVG that says so.
      width, height: pixels.
      highlight: atom indices to colour; indices the molecule has not are ignored.
    """
    try:
        mol = as_molecule(molecule)
    except InvalidMolecule:
        return _note("not a valid SMILES", width, height)
    if mol.GetNumAtoms() > _LARGEST_DRAWN:
        return _note(f"{mol.GetNumAtoms()} atoms: too large to draw", width, height)
    atoms = sorted({int(atom) for atom in highlight if 0 <= int(atom) < mol.GetNumAtoms()})
    bonds = [bond.GetIdx() for bond in mol.GetBonds() if {bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()} <= set(atoms)]
    drawer = rdMolDraw2D.MolDraw2DSVG(width, height)
    drawer.drawOptions().clearBackground = False
    try:
        prepared = rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=True)
    except (Chem.MolSanitizeException, ValueError, RuntimeError):
        prepared = rdMolDraw2D.PrepareMolForDrawing(mol, kekulize=False)
    try:
        drawer.DrawMolecule(prepared, highlightAtoms=atoms, highlightBonds=bonds)
    except (ValueError, RuntimeError):
        return _note("no layout found", width, height)
    drawer.FinishDrawing()
    text = drawer.GetDrawingText()
    return text[text.index("<svg") :]
