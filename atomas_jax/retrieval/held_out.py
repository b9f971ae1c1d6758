"""The held-out pairs of a run's corpus, embedded: what an index is calibrated on."""

from pathlib import Path

import numpy as np

from atomas_jax import progress
from atomas_jax.chemistry.molecules import canonical_smiles
from atomas_jax.corpus.prepared import PreparedCorpus, Split
from atomas_jax.retrieval.calibration import FEWEST, calibrate
from atomas_jax.retrieval.index import IndexWriter
from atomas_jax.trained import TrainedModel

SPLITS = ("validation", "test")
"""Where held-out pairs are looked for, the first that has enough."""


def held_out_split(corpus_folder: Path) -> Split | None:
    """The split of a corpus to calibrate on; None where each has too few rows. Raises UserError where there is no
    corpus."""
    corpus = PreparedCorpus.open(corpus_folder)
    enough = (name for name in SPLITS if name in corpus.splits and len(corpus.split(name)) >= FEWEST)
    name = next(enough, None)
    return corpus.split(name) if name else None


def calibrate_on(writer: IndexWriter, model: TrainedModel, split: Split, pairs: int, seed: int = 0) -> None:
    """Calibrate an index on `pairs` rows of a split, drawn with the seed."""
    chosen = np.sort(np.random.default_rng(seed).choice(len(split), min(pairs, len(split)), replace=False))
    rows = [split.row(int(row)) for row in chosen]
    with progress.bar("calibrate", 2 * len(rows), "strings") as bar:
        texts = model.embed_text([row["text"] for row in rows], progress=bar.advance)
        canonical = [canonical_smiles(row["smiles"]) for row in rows]
        molecules = model.embed_molecules(canonical, progress=bar.advance)
    source = f"{len(rows)} pairs of {split.path}"
    calibrate(writer, texts, molecules, [row["flat_key"] for row in rows], source)
