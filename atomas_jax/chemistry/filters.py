"""Conditions on molecules that a chemist asks for."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors
from rdkit.Chem.rdMolDescriptors import CalcMolFormula

from atomas_jax.chemistry.molecules import InvalidMolecule, Mol, parse
from atomas_jax.errors import UserError

_FORMULA = re.compile(r"([A-Z][a-z]?)(\d*)")


@dataclass(frozen=True)
class Filter:
    """What a molecule has to meet; `molecule_filter` makes one from what a user writes.

    Attributes:
      required, forbidden: substructures all, none of which it contains, with the SMARTS they were written as.
      formula: counts of elements it has exactly, hydrogens counted, charges left out; None asks nothing.
      weight: least and greatest average molecular weight, g/mol, both allowed.
    """

    required: tuple[tuple[str, Mol], ...] = ()
    forbidden: tuple[tuple[str, Mol], ...] = ()
    formula: dict[str, int] | None = None
    weight: tuple[float, float] | None = None

    def objection(self, smiles: str) -> str | None:
        """Why a SMILES does not pass, None where it does."""
        try:
            mol = parse(smiles)
        except InvalidMolecule as error:
            return str(error)
        for smarts, query in self.required:
            if not mol.HasSubstructMatch(query, useChirality=True):
                return f"lacks {smarts}"
        for smarts, query in self.forbidden:
            if mol.HasSubstructMatch(query, useChirality=True):
                return f"contains {smarts}"
        if self.formula is not None:
            found = CalcMolFormula(mol)
            # a molecule with wildcard atoms ("*") has no formula of elements
            if "*" in found or _counts(re.sub(r"[+-]\d*$", "", found)) != self.formula:
                return f"formula is {found}"
        if self.weight is not None:
            weight = Descriptors.MolWt(mol)
            if not self.weight[0] <= weight <= self.weight[1]:
                return f"weight is {weight:.2f}"
        return None

    def accepts(self, smiles: str) -> bool:
        """Whether a SMILES is a molecule that meets every condition."""
        return self.objection(smiles) is None


def begins_smiles(prefix: str) -> bool:
    """Whether a SMILES may begin so, as far as its grammar goes: branches, rings and a bracket may be open at the end,
    which are completed here in the simplest way. A ring's number has to be whole ("C%10"): it is one token, so
    nothing can go on from "C%1"."""
    open_ = prefix.rpartition("]")[2].rpartition("[")
    atoms = (f"{prefix}]C", f"{prefix}C]C", f"{prefix}H]C") if open_[1] else (f"{prefix}C",)
    outside = re.sub(r"\[[^\]]*(\]|$)", "", prefix)
    numbers = Counter(re.findall(r"%\d\d|\d", outside))
    rings = "".join(f"CC{number}" for number, times in numbers.items() if times % 2)
    branches = ")" * (outside.count("(") - outside.count(")"))
    if prefix.split() != [prefix]:
        return False
    with rdBase.BlockLogs():
        return any(Chem.MolFromSmiles(f"{atom}{rings}{branches}", sanitize=False) for atom in atoms)


def molecule_filter(
    require_smarts: Iterable[str] = (),
    forbid_smarts: Iterable[str] = (),
    formula: str = "",
    weight: str = "",
    keep: Iterable[str] = (),
) -> Filter:
    """The conditions as users write them.

    Args:
      require_smarts, forbid_smarts: SMARTS, all required, all forbidden.
      formula: as "C9H8O4".
      weight: a range in g/mol as "200:500"; either end may be left out.
      keep: fragments as SMILES that stay in the molecule.

    Raises:
      UserError: one that cannot be read.
    """
    kept = []
    for smiles in keep:
        try:
            kept.append((smiles, parse(smiles)))
        except InvalidMolecule as error:
            raise UserError(f"the fragment to keep is no molecule: {error}") from error
    required = (*(_query(smarts, "required") for smarts in require_smarts), *kept)
    forbidden = tuple(_query(smarts, "forbidden") for smarts in forbid_smarts)
    return Filter(required, forbidden, _counts(formula) if formula else None, _range(weight) if weight else None)


def _query(smarts: str, what: str) -> tuple[str, Mol]:
    query = Chem.MolFromSmarts(smarts) if smarts else None
    if query is None:
        raise UserError(f"the {what} substructure {smarts!r} is no SMARTS")
    return smarts, query


def _counts(formula: str) -> dict[str, int]:
    if not formula or "".join(f"{e}{n}" for e, n in _FORMULA.findall(formula)) != formula:
        raise UserError(f"formula {formula!r} cannot be read: write it as C9H8O4")
    counts: dict[str, int] = {}
    for element, count in _FORMULA.findall(formula):
        counts[element] = counts.get(element, 0) + int(count or 1)
    return counts


def _range(weight: str) -> tuple[float, float]:
    least, colon, greatest = weight.partition(":")
    try:
        bounds = float(least or 0), float(greatest or "inf")
    except ValueError:
        bounds = (1.0, 0.0)
    if not colon or not 0 <= bounds[0] <= bounds[1]:
        raise UserError(f"weight {weight!r} is no range: write it as 200:500, in g/mol")
    return bounds
