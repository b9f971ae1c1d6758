"""Rankings by anybody's model: an .npz (or .npy) of embeddings, of scores, or of ranks.

Names of the arrays, T texts and M molecules, row n of both a pair; what is over is a distractor:

texts [T, E], molecules [M, E]                          embeddings, ranked by cosine
scores [N, M]                                           of N texts with M >= N molecules, higher is nearer
text_to_molecule [N], molecule_to_text [N], pool_size   ranks from 1, one direction or both

With embeddings or scores also: pairs, how many rows are pairs where both tables go on; smiles [max(T, M)], strings, for
extra positives. A .npy holds scores.
"""

import zipfile
from pathlib import Path

import numpy as np
from rich.console import Console

from atomas_jax import progress
from atomas_jax.errors import UserError
from atomas_jax.evaluation import ranking, tables
from atomas_jax.evaluation.configuration import EvaluationConfig
from atomas_jax.evaluation.molecule_keys import molecule_keys
from atomas_jax.evaluation.outputs import write_results
from atomas_jax.evaluation.ranking import Pairs
from atomas_jax.evaluation.ranking_protocols import ranking_protocol
from atomas_jax.evaluation.results import Result, Results, data_hash

ENDINGS = (".npz", ".npy")
NAMES = ("texts", "molecules", "scores", "text_to_molecule", "molecule_to_text", "pool_size", "pairs", "smiles")
MODEL, CHANCE = "model", "chance"


def evaluate_rankings(
    path: Path, config: EvaluationConfig, folder: Path | None = None, console: Console | None = None
) -> Results:
    """Measure both directions beside chance, print tables, and write results.json, .csv and .tex into `folder`.

    Args:
      config: `ranking` names the protocol; `positives` other than "own" needs the file's `smiles`.

    Raises: `UserError` for a file that cannot be read or lacks arrays, and as `ranking.both_directions`.
    """
    arrays = read_arrays(path)
    rule = ranking_protocol(config.ranking)
    measured = _of_ranks(arrays, path, config) if "pool_size" in arrays else _of_tables(arrays, path, config)
    results: Results = {}
    for direction, (result, size) in measured.items():
        floor = ranking.chance(result.stamp.rows, size, result, rule.batch)
        results[direction.capitalize()] = {MODEL: result, CHANCE: floor}
    tables.print_results(results, console, [f"{path.name}: {rule.about}."])
    if folder is not None:
        write_results(folder, results)
    return results


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by their names. Raises `UserError` for one that is missing or damaged, holds Python objects
    or no array of `NAMES`."""
    try:
        read = np.load(path, allow_pickle=False)
        if isinstance(read, np.ndarray):
            return {"scores": read}
        with read:
            return {name: read[name] for name in NAMES if name in read.files} or _nothing(path, read.files)
    except FileNotFoundError:
        raise UserError(f"no such file: {path}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        # numpy's own words speak of pickles whatever the file is
        raise UserError(f"{path} cannot be read as arrays: want an .npz or .npy of numbers and strings") from None


def _nothing(path: Path, names: list[str]):
    raise UserError(f"{path} holds {', '.join(names) or 'nothing'}: want some of {', '.join(NAMES)}")


def _of_tables(arrays, path: Path, config: EvaluationConfig) -> dict[str, tuple[Result, int]]:
    if "scores" in arrays:
        given = (arrays["scores"],)
        sizes = {"text to molecule": given[0].shape[-1], "molecule to text": len(given[0]) if given[0].ndim else 0}
    elif "texts" in arrays and "molecules" in arrays:
        given = (arrays["texts"], arrays["molecules"])
        sizes = {"text to molecule": len(given[1]), "molecule to text": len(given[0])}
    else:
        raise UserError(f"{path} holds neither scores, nor texts and molecules, nor ranks with their pool_size")
    for array in given:
        if array.ndim != 2 or array.dtype.kind not in "fiu":
            raise UserError(f"{path}: want matrices of numbers, not {array.dtype} {list(array.shape)}")
    count = int(_number(arrays, "pairs", path)) if "pairs" in arrays else min(sizes.values())
    keys = None
    if config.positives != "own":
        if "smiles" not in arrays:
            raise UserError(f"{path} has no smiles to find other positives by: do with --positives own")
        smiles = [str(one) for one in arrays["smiles"].tolist()]
        keys = molecule_keys(smiles, config.positives)
    pairs = Pairs(count, keys, config.positives)
    measure = ranking.both_directions_of_scores if "scores" in arrays else ranking.both_directions
    with progress.bar("rank", 2 * count, "queries") as bar:
        results, _ = measure(*given, pairs, config.ranking, _hash(arrays, list(sizes.values())), config.seed)
        bar.advance(2 * count)
    return {direction: (result, sizes[direction]) for direction, result in results.items()}


def _hash(arrays, sizes: list[int]) -> str:
    """What tells whether two files were asked the same: their molecules where they say them, else numbers of rows."""
    molecules = arrays["smiles"].tolist() if "smiles" in arrays else []
    return data_hash(map(str, sizes), map(str, molecules))


def _of_ranks(arrays, path: Path, config: EvaluationConfig) -> dict[str, tuple[Result, int]]:
    rule = ranking_protocol(config.ranking)
    size = int(_number(arrays, "pool_size", path))
    found = {}
    for direction in ("text to molecule", "molecule to text"):
        name = direction.replace(" ", "_")
        if name not in arrays:
            continue
        ranks = arrays[name]
        if ranks.ndim != 1 or ranks.dtype.kind not in "fiu":
            raise UserError(f"{path}: {name} is {ranks.dtype} {list(ranks.shape)}: want one rank a query")
        pool, positives = rule.pool, ranking.POSITIVES[config.positives]
        data = _hash(arrays, [len(ranks), size])
        found[direction] = (
            ranking.ranking_metrics(
                ranks, size, pool, direction, rule.cutoffs, positives, data, config.seed, rule.name, "as in the file"
            ),
            size,
        )
    if not found:
        raise UserError(f"{path} has a pool_size but no text_to_molecule or molecule_to_text ranks")
    return found


def _number(arrays, name: str, path: Path) -> float:
    array = arrays[name]
    if array.size != 1 or array.dtype.kind not in "iu" or array.item() < 1:
        raise UserError(f"{path}: {name} must be one whole number from 1")
    return array.item()
