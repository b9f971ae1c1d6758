"""SMILES that can become molecules: a constraint on what is written, inside the compiled loop.

A state machine of fixed size a row, and one invariant: what is written can be completed by wildcards. From the present
atom on, a chain of them closes the rings that were opened since the last branch point, one wildcard a ring; then the
branch ends, and its branch point goes on the same way. A token is allowed where this remains possible:

- Valence: an atom keeps a bond for going on as long as it may have to.
- Aromatic atoms are in rings: those written while no ring of their branch is open are `naked` until a ring that was
  opened further out is closed behind them.
- Double bonds of aromatic systems: of the ways to place them, the state keeps each way's paired atoms among those
  whose bonds are not all written yet (`WAYS` sets of bits); an atom leaves with its last bond, and with it the ways
  that are wrong for it. A branch point that wants a double bond still can have it with a wildcard in a ring, so that
  it claims one of the open rings, of its own branch or further out: in each way, up to any branch point, the rings
  open have to be as many as the claims (Hall's condition, for sets that contain one another).

- Bonds to metals: RDKit makes those of hypervalent atoms dative, and dative bonds close no rings. An atom bound to a
  metal while a ring is open takes only as many bonds as leave its bond as it is; an aromatic one elsewhere, only as
  many as leave its double bonds as they are.
- Halogens that oxygens are bound to by double bonds take further oxygens, until the sum of their bonds is odd.
- Length: when it runs short, rings are closed first, then branches, then wildcards follow, or "c" where a double bond
  is wanted. A bracket atom spelled piece by piece is begun only where the longest one leaves room for that.

It looks less closely rather than forbid a real molecule: where double bonds can be placed in more than `WAYS` ways,
those of the atoms written so far are no longer followed, and of nested branches the `WINDOW` innermost are looked at.

What is not written, though RDKit reads it: rings closed outside the branch they were opened in (depth-first writers,
RDKit's and PubChem's among them, close them in that branch or deeper); `->`, `<-` and `~`; aromatic atoms other than
"c" bound to a metal while a ring is open; nitrogen of five bonds; atom classes; stereo other than "@" and "@@", cis
and trans; branches deeper than `DEPTH`, more than `SLOTS` open rings, more atoms than `atoms`.

`validity_tables` says what tokens mean, `validity_sets` holds sets of them, `validity_state` what is remembered,
`validity_outlook` what can still be completed, `validity_allowed` what may follow, `validity_advance` what changes with
a token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from jaxtyping import Array, Bool, Int

from atomas_jax.decoding.validity_advance import advance_row
from atomas_jax.decoding.validity_allowed import allowed_words
from atomas_jax.decoding.validity_sets import Sets, sets, spread
from atomas_jax.decoding.validity_state import State, nothing_written
from atomas_jax.decoding.validity_tables import NEVER, Tables, tables
from atomas_jax.errors import UserError
from atomas_jax.tokens.tokenizer import Tokenizer


@partial(jax.tree_util.register_dataclass, data_fields=["tables", "sets"], meta_fields=["atoms"])
@dataclass(frozen=True)
class Validity:
    """The constraint (see `constraint.Constraint`); `smiles_validity` makes one."""

    tables: Tables
    sets: Sets
    atoms: int

    def start(self, rows: int) -> State:
        return nothing_written(rows, self.atoms)

    def allowed(self, state: State, remaining: Int[Array, ""]) -> Bool[Array, "R V"]:
        words = jax.vmap(allowed_words, in_axes=(None, None, 0, None))(self.tables, self.sets, state, remaining)
        return spread(self.sets, words)

    def advance(self, state: State, tokens: Int[Array, " R"]) -> State:
        return jax.vmap(advance_row, in_axes=(None, 0, 0))(self.tables, state, self.tables.token_class[tokens])

    def never_written(self, tokens: Sequence[int]) -> list[int]:
        """Those of `tokens` that no string has: where one is forced, nothing sensible can follow."""
        kinds = np.asarray(self.tables.kind)[np.asarray(self.tables.token_class)]
        return [token for token in tokens if kinds[token] == NEVER]


def smiles_validity(tokenizer: Tokenizer, atoms: int = 256) -> Validity:
    """The constraint that SMILES become molecules, for strings of at most `atoms` atoms (the greatest length will do).

    Raises:
      UserError: the tokenizer does not cut SMILES at atoms.
    """
    if tokenizer.kind != "atomwise":
        raise UserError("valid SMILES are ensured while they are written for atom-wise tokenizers only")
    meanings = tables(tokenizer)
    return Validity(meanings, sets(meanings), atoms)
