"""Fréchet ChemNet distance, where its library is installed (`pip install atomas_jax[fcd]`).

Preuer et al., J. Chem. Inf. Model. 2018. The number hangs on the version: `fcd` 1.1 (Keras) gives .416 and .382 for
GPT-4's and MolT5-large's molecules on ChEBI-20 test, as published, `fcd` 1.2 (torch) 1.85 and 7.04 for the same files.
So the version is in the stamp, and `atomas compare` names versions that differ.
"""

import contextlib
import io
import warnings
from collections.abc import Sequence

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.evaluation.results import Score

LEAST = 1000
"""Molecules on either side; of fewer the covariance of 512 features means nothing."""

GROUPS = 20
"""Of the jackknife: so many distances are computed again, each a second of linear algebra."""


def distance(references: Sequence[str], molecules: Sequence[str | None], seed: int = 0) -> Score:
    """The distance between the distributions of references and of generated molecules, lower being better.

    Its 95 % interval is a delete-a-group jackknife's over rows (Shao and Tu, The Jackknife and Bootstrap, 1995, section
    5.3): a bootstrap repeats rows, which makes covariances poorer and the distance larger, so its interval would not
    hold the value.

    Args:
      references: N valid SMILES. molecules: N, one a row, None where the row has no molecule. seed: of the groups.

    Raises: `UserError` where the library is not installed and for fewer than `LEAST` molecules.
    """
    try:
        from fcd import calculate_frechet_distance, canonical_smiles, get_predictions, load_ref_model
    except ModuleNotFoundError:
        raise UserError("FCD needs its library: pip install 'atomas_jax[fcd]', or do without (--no-fcd)") from None
    if (fewest := sum(one is not None for one in molecules)) < LEAST:
        raise UserError(f"FCD of {fewest} molecules means nothing: it wants {LEAST:,} on either side (--no-fcd)")
    group = np.random.default_rng(seed).permutation(len(references)) % GROUPS
    sides = []
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for side in (references, molecules):
            rows = np.array([row for row, one in enumerate(side) if one is not None])
            written = canonical_smiles([side[row] for row in rows])
            kept = np.array([one is not None for one in written])
            features = get_predictions(load_ref_model(), [one for one in written if one is not None])
            sides.append((features.astype(np.float64), group[rows[kept]]))

        def without(left_out: int) -> float:
            moments = []
            for features, member in sides:
                rest = features[member != left_out]
                moments += [rest.mean(axis=0), np.cov(rest.T)]
            return float(calculate_frechet_distance(*moments))

        value = without(-1)
        again = np.array([without(one) for one in range(GROUPS)])
    spread = 1.96 * np.sqrt((GROUPS - 1) / GROUPS * np.sum((again - again.mean()) ** 2))
    return Score(value, value - spread, value + spread)
