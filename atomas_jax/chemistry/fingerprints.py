"""Fingerprints, Tanimoto similarity, and the nearest neighbours of many molecules in a library."""

from collections.abc import Iterable, Sequence

import numpy as np
from rdkit import DataStructs
from rdkit.Chem import MACCSkeys, rdFingerprintGenerator

from atomas_jax.chemistry.molecules import MoleculeLike, as_molecule

_MORGAN = {radius: rdFingerprintGenerator.GetMorganGenerator(radius=radius) for radius in range(5)}
_RDK = rdFingerprintGenerator.GetRDKitFPGenerator(maxPath=7, fpSize=2048)


def morgan(molecule: MoleculeLike, radius: int = 2) -> DataStructs.ULongSparseIntVect:
    """Morgan (ECFP-like) fingerprint: how often each circular environment of up to `radius` (0 to 4) bonds occurs.

    Source: Rogers & Hahn, J. Chem. Inf. Model. 2010, 50, 742.
    """
    return _MORGAN[radius].GetSparseCountFingerprint(as_molecule(molecule))


def morgan_bits(molecule: MoleculeLike, radius: int = 2, size: int = 2048) -> DataStructs.ExplicitBitVect:
    """The folded bit form of `morgan`. Published text-to-molecule metrics use the counts, unfolded."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)
    return generator.GetFingerprint(as_molecule(molecule))


def maccs(molecule: MoleculeLike) -> DataStructs.ExplicitBitVect:
    """The 166 public MACCS keys (bit 0 is unused)."""
    return MACCSkeys.GenMACCSKeys(as_molecule(molecule))


def rdk(molecule: MoleculeLike) -> DataStructs.ExplicitBitVect:
    """RDKit's path fingerprint: paths of 1 to 7 bonds folded into 2,048 bits."""
    return _RDK.GetFingerprint(as_molecule(molecule))


def tanimoto(one, other) -> float:
    """Tanimoto similarity of two fingerprints of the same kind: shared over all, by counts where there are counts."""
    return DataStructs.TanimotoSimilarity(one, other)


def _features(molecule: MoleculeLike, radius: int) -> list[tuple[int, int]]:
    # An environment seen n times becomes n features (id, 1)..(id, n): set overlap is then the overlap of counts.
    counts = morgan(molecule, radius).GetNonzeroElements()
    return [(environment, level) for environment, count in counts.items() for level in range(count)]


def nearest(
    queries: Iterable[MoleculeLike], library: Sequence[MoleculeLike], radius: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """The most similar library molecule of each query, by Tanimoto over Morgan counts.

    An inverted index from environment to molecules turns one query into one count over the posting lists of its
    environments; nothing of size queries x library is stored.

    Args:
      queries: Q molecules or SMILES. library: N molecules or SMILES, N >= 1.

    Returns:
      (index int64 [Q], similarity float64 [Q]); the lowest index wins a tie.

    Raises:
      ValueError: an empty library. InvalidMolecule: a string that is no molecule.
    """
    if not len(library):
        raise ValueError("the library of a nearest-neighbour search is empty")
    postings: dict[tuple[int, int], list[int]] = {}
    sizes = np.zeros(len(library), dtype=np.int64)
    for row, molecule in enumerate(library):
        features = _features(molecule, radius)
        sizes[row] = len(features)
        for feature in features:
            postings.setdefault(feature, []).append(row)
    arrays = {feature: np.asarray(rows, dtype=np.int64) for feature, rows in postings.items()}

    index, similarity = [], []
    for query in queries:
        features = _features(query, radius)
        lists = [arrays[feature] for feature in features if feature in arrays]
        shared = np.bincount(np.concatenate(lists), minlength=len(library)) if lists else np.zeros(len(library))
        score = shared / np.maximum(sizes + len(features) - shared, 1)
        best = int(np.argmax(score))
        index.append(best)
        similarity.append(float(score[best]))
    return np.asarray(index, dtype=np.int64), np.asarray(similarity, dtype=np.float64)
