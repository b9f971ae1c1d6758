"""From a record of a file to a row of an index: identity and properties of its molecule, in worker processes."""

from collections.abc import Sequence
from dataclasses import dataclass

from atomas_jax.chemistry.molecules import InvalidMolecule, identity, parse
from atomas_jax.chemistry.properties import properties
from atomas_jax.corpus.readers import Record, Reject


@dataclass(frozen=True)
class Examine:
    """Records to rows, or to rejects where they hold no molecule; pickled to workers once."""

    columns: tuple[str, ...] = ()
    """Names of what `Record.kept` holds."""

    def __call__(self, records: Sequence[Record | Reject]) -> list[dict | Reject]:
        return [record if isinstance(record, Reject) else self._row(record) for record in records]

    def _row(self, record: Record) -> dict | Reject:
        try:
            molecule = parse(record.smiles)
        except InvalidMolecule as error:
            return Reject(record.file, record.line, str(error), record.smiles[:200])
        known, found = identity(molecule), properties(molecule)
        return {
            "id": record.id,
            "smiles": record.smiles,
            "canonical": known.canonical,
            "key": known.key,
            "flat_key": known.flat_key,
            "weight": found.weight,
            "logp": found.logp,
            "charge": found.charge,
            "formula": found.formula,
            **dict(zip(self.columns, record.kept, strict=True)),
        }
