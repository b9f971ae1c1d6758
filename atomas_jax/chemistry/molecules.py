"""Molecules: parsing with reasons, canonical and random spellings, identities, scaffolds.

Every string of the outside world enters here; RDKit's own log is silenced because a refusal is reported by its reason.
"""

from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem.Scaffolds import MurckoScaffold

from atomas_jax.errors import UserError

rdBase.DisableLog("rdApp.*")

Mol = Chem.Mol
MoleculeLike = Chem.Mol | str

LONGEST_SMILES = 10_000
"""Characters of SMILES accepted: ten times the longest of ChEBI-20, so that no input can take unbounded time."""


_LARGEST_SEED = 2**31 - 2  # RDKit takes 0 for "draw a seed" and 32 bits at most


class InvalidMolecule(UserError):
    """A string that is no molecule; the message says why."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes two spellings the same molecule.

    Attributes:
      key: the standard InChIKey; "SMILES:" + canonical SMILES where InChI has no answer (wildcards, over 1,024 atoms).
      flat_key: the same of the molecule without stereo marks (isotopes stay), for leakage checks that ignore stereo.
      canonical: canonical isomeric SMILES.
    """

    key: str
    flat_key: str
    canonical: str


def _shortened(smiles: str) -> str:
    return smiles if len(smiles) <= 60 else smiles[:57] + "..."


def parse(smiles: str) -> Mol:
    """Reads one SMILES.

    Args:
      smiles: at most `LONGEST_SMILES` printable ASCII characters; blanks around it are ignored, blanks inside are
        refused (RDKit would silently take what follows for a name).

    Returns:
      The sanitised molecule; atoms in the order of the string, explicit hydrogens merged into their neighbours.

    Raises:
      InvalidMolecule: with the reason: empty, too long, bad syntax, or the chemical problem and its atom.
    """
    if not isinstance(smiles, str):
        raise InvalidMolecule(f"a SMILES string was expected, not {type(smiles).__name__}")
    text = smiles.strip()
    if not text:
        raise InvalidMolecule("the SMILES is empty")
    if len(text) > LONGEST_SMILES:
        raise InvalidMolecule(f"the SMILES has {len(text):,} characters; at most {LONGEST_SMILES:,} are read")
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise InvalidMolecule(f"the SMILES holds a blank or a character outside printable ASCII: {_shortened(text)!r}")
    mol = Chem.MolFromSmiles(text)
    if mol is None:
        raise InvalidMolecule(f"{_reason(text)}: {_shortened(text)!r}")
    if mol.GetNumAtoms() == 0:
        raise InvalidMolecule(f"the SMILES holds no atom: {_shortened(text)!r}")
    return mol


def is_valid(smiles: str) -> bool:
    """Whether `parse` reads a SMILES."""
    try:
        parse(smiles)
    except InvalidMolecule:
        return False
    return True


def _reason(smiles: str) -> str:
    rough = Chem.MolFromSmiles(smiles, sanitize=False)
    if rough is None:
        return "not valid SMILES syntax"
    problems = Chem.DetectChemistryProblems(rough)
    return problems[0].Message() if problems else "not a molecule RDKit can sanitise"


def as_molecule(molecule: MoleculeLike) -> Mol:
    """The molecule itself, or the parsed string (see `parse`)."""
    return molecule if isinstance(molecule, Chem.Mol) else parse(molecule)


def canonical_smiles(molecule: MoleculeLike, stereo: bool = True) -> str:
    """RDKit's canonical SMILES, the same for every spelling; `stereo=False` drops stereo marks and keeps isotopes."""
    mol = as_molecule(molecule)
    return Chem.MolToSmiles(mol if stereo else _flattened(mol))


def plain_smiles(molecule: MoleculeLike) -> str:
    """Canonical SMILES without stereo marks and isotopes, what many published overlap counts go by."""
    return Chem.MolToSmiles(as_molecule(molecule), isomericSmiles=False)


def inchikey(molecule: MoleculeLike) -> str:
    """The standard InChIKey, or '' where InChI has none (wildcard atoms, more than 1,024 atoms)."""
    return Chem.MolToInchiKey(as_molecule(molecule))


def identity(molecule: MoleculeLike) -> Identity:
    """The keys by which duplicates and leaks are found. Raises `InvalidMolecule` for a string that is no molecule."""
    mol = as_molecule(molecule)
    canonical = Chem.MolToSmiles(mol)
    key = inchikey(mol) or "SMILES:" + canonical
    if not any(mark in canonical for mark in "@/\\"):
        return Identity(key, key, canonical)
    flat = _flattened(mol)
    return Identity(key, inchikey(flat) or "SMILES:" + Chem.MolToSmiles(flat), canonical)


def centres_alone(molecule: MoleculeLike) -> str:
    """Canonical SMILES that keeps R/S centres and drops the geometry of double bonds (E/Z)."""
    mol = Chem.Mol(as_molecule(molecule))
    for bond in mol.GetBonds():
        bond.SetStereo(Chem.BondStereo.STEREONONE)
        bond.SetBondDir(Chem.BondDir.NONE)
    return Chem.MolToSmiles(mol)


def double_bonds_alone(molecule: MoleculeLike) -> str:
    """Canonical SMILES that keeps the geometry of double bonds (E/Z) and drops R/S centres."""
    mol = Chem.Mol(as_molecule(molecule))
    for atom in mol.GetAtoms():
        atom.SetChiralTag(Chem.ChiralType.CHI_UNSPECIFIED)
    return Chem.MolToSmiles(mol)


def _flattened(mol: Mol) -> Mol:
    flat = Chem.Mol(mol)
    Chem.RemoveStereochemistry(flat)
    return flat


def scaffold(molecule: MoleculeLike) -> str:
    """Bemis-Murcko scaffold (rings and the chains between them, no stereo) as canonical SMILES; '' without rings.

    Source: Bemis & Murcko, J. Med. Chem. 1996, 39, 2887.
    """
    mol = as_molecule(molecule)
    if not mol.GetRingInfo().NumRings():
        return ""
    return Chem.MolToSmiles(_flattened(MurckoScaffold.GetScaffoldForMol(mol)))


def random_spelling(molecule: MoleculeLike, seed: int) -> str:
    """A valid SMILES of the same molecule that starts and branches elsewhere; the same `seed` gives the same string.

    RDKit's random writer loses a stereo mark in rare ring closures, so each proposal is read back and compared; after
    eight failures the canonical SMILES is returned.
    """
    mol = as_molecule(molecule)
    canonical = Chem.MolToSmiles(mol)
    for attempt in range(8):
        (spelling,) = Chem.MolToRandomSmilesVect(mol, 1, randomSeed=(seed * 8 + attempt) % _LARGEST_SEED + 1)
        read_back = Chem.MolFromSmiles(spelling)
        if read_back is not None and Chem.MolToSmiles(read_back) == canonical:
            return spelling
    return canonical
