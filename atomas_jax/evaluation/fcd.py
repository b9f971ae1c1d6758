"""Fréchet ChemNet distance, where its library is installed (`pip install atomas_jax[fcd]`).

Preuer et al., J. Chem. Inf. Model. 2018. The number hangs on the version: `fcd` 1.1 (Keras) gives .416 and .382 for
GPT-4's and MolT5-large's molecules on ChEBI-20 test, as published, `fcd` 1.2 (torch) 1.85 and 7.04 for the same files.
So the version is in the stamp, and `atomas compare` names versions that differ.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence

from atomas_jax.errors import UserError

LEAST = 1000
"""Molecules on either side; of fewer the covariance of 512 features means nothing."""


def distance(references: Sequence[str], molecules: Sequence[str]) -> float:
    """The distance between the distributions of references and of generated molecules, all valid SMILES, lower being
    better.

    Raises `UserError` where the library is not installed and for fewer than `LEAST` molecules.
    """
    try:
        from fcd import canonical_smiles, get_fcd
    except ModuleNotFoundError:
        raise UserError("FCD needs its library: pip install 'atomas_jax[fcd]', or do without (--no-fcd)") from None
    if (fewest := min(len(references), len(molecules))) < LEAST:
        raise UserError(f"FCD of {fewest} molecules means nothing: it wants {LEAST:,} on either side (--no-fcd)")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        sides = [[one for one in canonical_smiles(list(side)) if one is not None] for side in (references, molecules)]
        return float(get_fcd(*sides))
