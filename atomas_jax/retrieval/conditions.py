"""What a hit must be beside near: conditions on the columns of an index and on substructures.

They hold before ranking: a row that does not meet them is never a hit, and the k hits asked for are k that do.
"""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from atomas_jax import progress
from atomas_jax.chemistry.filters import Filter, molecule_filter
from atomas_jax.chemistry.properties import hill_order
from atomas_jax.errors import UserError
from atomas_jax.retrieval.index import Index
from atomas_jax.retrieval.segments import COLUMNS

_ORDERED = {"<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt}
_CONDITION = re.compile(r"\s*([^<>=!~]+?)\s*(<=|>=|!=|<|>|=|~)\s*(.*?)\s*")


@dataclass(frozen=True)
class Condition:
    """`column` `relation` `value`: <, <=, >, >= compare numbers; = and != numbers or strings; ~ finds a part of a
    string, whatever its case."""

    column: str
    relation: str
    value: str

    def mask(self, values: pa.ChunkedArray) -> np.ndarray:
        """bool [N] over a column; what is missing or no number where one is wanted does not pass."""
        if self.relation == "~":
            part = self.value.lower()
            return np.array([part in str(value or "").lower() for value in values.to_pylist()], bool)
        number = _number(self.value)
        if self.relation in _ORDERED:
            return _ORDERED[self.relation](_numbers(values), number)
        if number == number:
            numbers = _numbers(values)
            known, same = ~np.isnan(numbers), np.isclose(numbers, number, rtol=0, atol=1e-9)
        else:
            known = np.array([value not in (None, "") for value in values.to_pylist()], bool)
            same = np.array([value == self.value for value in values.to_pylist()], bool)
        return same if self.relation == "=" else known & ~same


@dataclass(frozen=True)
class Conditions:
    """Everything a hit must meet; `conditions` makes one from what a user writes."""

    columns: tuple[Condition, ...] = ()
    structure: Filter | None = None
    passed: dict[int, bool] = field(default_factory=dict, repr=False, compare=False)

    def mask(self, index: Index) -> np.ndarray:
        """bool [N]: rows that are left and meet the conditions on columns."""
        mask = index.alive.copy()
        for condition in self.columns:
            mask &= condition.mask(index.rows.column(condition.column))
        return mask

    def has_structure(self, index: Index, number: int) -> bool:
        """Whether a row meets the conditions on substructures; each row is looked at once."""
        if self.structure is None:
            return True
        if number not in self.passed:
            self.passed[number] = self.structure.accepts(index.rows.at(number)["canonical"])
        return self.passed[number]

    def with_structure(self, index: Index, mask: np.ndarray) -> np.ndarray:
        """bool [N]: the rows of a mask that meet the conditions on substructures. Looks at every one not seen yet."""
        numbers = np.flatnonzero(mask)
        unseen = np.array([number not in self.passed for number in numbers.tolist()], bool)
        smiles = index.rows.column("canonical").take(numbers[unseen])
        with progress.bar("look for the substructures", len(smiles), "molecules") as bar:
            for number, string in zip(numbers[unseen].tolist(), smiles):
                self.passed[number] = self.structure.accepts(string.as_py())
                bar.advance()
        left = np.zeros(len(mask), bool)
        left[[number for number in numbers.tolist() if self.passed[number]]] = True
        return left


def conditions(
    index: Index, where: Sequence[str] = (), require_smarts: Sequence[str] = (), forbid_smarts: Sequence[str] = ()
) -> Conditions:
    """The conditions as users write them.

    Args:
      where: "weight<500", "logp>=2.5", "charge=0", "formula=C9H8O4", "name~azole": a column of the index, a relation
        (see `Condition`), a value.
      require_smarts, forbid_smarts: all required, all forbidden.

    Raises:
      UserError: one that cannot be read; a column the index does not keep.
    """
    known = [*COLUMNS, *index.columns]
    parsed = []
    for written in where:
        match = _CONDITION.fullmatch(written)
        if not match:
            raise UserError(f"condition {written!r} cannot be read: write it as weight<500 or name~azole")
        column, relation, value = match.groups()
        if column not in known:
            raise UserError(f"condition {written!r}: the index has no column {column!r}; it has {', '.join(known)}")
        if relation in _ORDERED and _number(value) != _number(value):
            raise UserError(f"condition {written!r}: {value!r} is no number")
        if column == "formula" and relation in ("=", "!="):
            value = hill_order(molecule_filter(formula=value).formula)
        parsed.append(Condition(column, relation, value))
    structure = molecule_filter(require_smarts, forbid_smarts) if require_smarts or forbid_smarts else None
    return Conditions(tuple(parsed), structure)


def _number(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")


def _numbers(values: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(values.type):
        return np.array([_number(value) for value in values.to_pylist()], np.float64)
    return values.to_numpy().astype(np.float64)
