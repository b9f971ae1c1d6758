"""Captions written from structure, each phrase tied to the atoms it speaks of.

The caption is a function of the canonical molecule and a seed: spelling and atom order change nothing in the text, and
the atom indices follow the input's order. It says what the structure shows and nothing else: no roles, no origin.
"""

import random
from dataclasses import dataclass
from hashlib import blake2b

from rdkit import Chem

from atomas_jax.chemistry.facts import find_facts
from atomas_jax.chemistry.grammar import Mention
from atomas_jax.chemistry.molecules import MoleculeLike, as_molecule
from atomas_jax.chemistry.phrasing import compose


@dataclass(frozen=True, slots=True)
class Phrase:
    """`text[start:end]` of a description speaks of `atoms`: sorted indices in the order of the input molecule."""

    start: int
    end: int
    atoms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """A caption and its phrases in the order of the text, which do not overlap."""

    text: str
    phrases: tuple[Phrase, ...]


def describe(molecule: MoleculeLike, seed: int = 0) -> Description:
    """Writes a caption of 15 to 50 words or so in the manner of ChEBI.

    Args:
      molecule: a molecule or a SMILES. Any parsable molecule is described: ions, salts, metals, wildcards, peptides.
      seed: chooses among the templates; the same (molecule, seed) always gives the same caption.

    Raises:
      InvalidMolecule: a string that is no molecule.
    """
    mol, original, canonical = _canonical(as_molecule(molecule))
    digest = blake2b(f"{seed}\n{canonical}".encode(), digest_size=8).digest()
    sentences = compose(find_facts(mol), random.Random(int.from_bytes(digest, "big")))
    pieces, phrases, length = [], [], 0
    for position, clause in enumerate(sentences):
        for piece in [" ", *clause] if position else clause:
            text = piece.text if isinstance(piece, Mention) else piece
            if isinstance(piece, Mention):
                atoms = tuple(sorted(original[index] for index in piece.atoms))
                phrases.append(Phrase(length, length + len(text), atoms))
            pieces.append(text)
            length += len(text)
    return Description("".join(pieces), tuple(phrases))


def _canonical(mol: Chem.Mol) -> tuple[Chem.Mol, list[int], str]:
    """The molecule in canonical order, the input index of each of its atoms, and its canonical SMILES."""
    if mol.GetNumHeavyAtoms() < mol.GetNumAtoms():
        marked = Chem.Mol(mol)
        for atom in marked.GetAtoms():
            atom.SetIntProp("_given", atom.GetIdx())
        mol = Chem.RemoveHs(marked)
        given = [atom.GetIntProp("_given") for atom in mol.GetAtoms()]
    else:
        given = range(mol.GetNumAtoms())
    smiles = Chem.MolToSmiles(mol)
    written = [int(index) for index in mol.GetProp("_smilesAtomOutputOrder").strip("[],").split(",")]
    read = Chem.MolFromSmiles(smiles)
    if read is None or read.GetNumAtoms() != mol.GetNumAtoms():
        # Rare: RDKit writes a string it does not accept, or merges a hydrogen it kept before.
        read = Chem.RenumberAtoms(mol, written)
    return read, [given[index] for index in written], smiles
