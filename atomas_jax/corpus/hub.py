"""Data sets on the Hugging Face hub by short name: ids, splits and columns."""

import contextlib
import logging
from dataclasses import dataclass, replace
from pathlib import Path

from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError


@dataclass(frozen=True)
class HubDataset:
    """Where a data set of the hub keeps what: its id, its columns, and our split names to its own."""

    id: str
    smiles: str
    text: str
    row_id: str
    splits: dict[str, str]


HUB = {
    # ChEBI-20 (Edwards et al. 2021) with further columns (Liu et al. 2024); backslashes doubled as in the original.
    "chebi20": HubDataset(
        "liupf/ChEBI-20-MM",
        smiles="SMILES",
        text="description",
        row_id="CID",
        splits={"train": "train", "validation": "validation", "test": "test"},
    ),
    # L+M-24 (Edwards et al. 2024): several captions a molecule.
    "lpm24": HubDataset(
        "language-plus-molecules/LPM-24_train",
        smiles="molecule",
        text="caption",
        row_id="",
        splits={"train": "split_train", "validation": "split_valid"},
    ),
}


def resolve(source: Source) -> tuple[Source, str]:
    """`source` with columns and the hub's own split name filled in, and the id (or folder) to load.

    Raises `UserError` for a split that a short name does not have.
    """
    known = HUB.get(source.path)
    split = source.split or "train"
    if known is None:
        return replace(source, split=split, format="hub"), source.path
    if split not in known.splits:
        raise UserError(f"{source.path} has no split {split!r}; it has {', '.join(known.splits)}")
    filled = replace(
        source,
        format="hub",
        split=known.splits[split],
        name=source.label,
        smiles=source.smiles or known.smiles,
        text=source.text or known.text,
        id=source.id or known.row_id,
    )
    return filled, known.id


def load(name: str, split: str):
    """The split as a streaming `datasets.IterableDataset`; nothing is downloaded beyond what is read.

    name: a hub id, or a local folder laid out like one (files named by their split). Raises `UserError` in one line for
    a data set that cannot be reached, does not exist or has no such split.
    """
    import datasets

    try:
        with _quiet():
            return datasets.load_dataset(name, split=split, streaming=True)
    except datasets.exceptions.DatasetNotFoundError as error:
        raise UserError(f"no data set {name!r}: no such file or folder, and none of that name on the hub") from error
    except (OSError, ValueError, RuntimeError) as error:
        what = "folder" if Path(name).is_dir() else "hub data set"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(f"cannot read split {split!r} of {what} {name!r}: {reason}") from error


@contextlib.contextmanager
def _quiet():
    """The hub client warns at each retry; the one line of the `UserError` says it all."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
