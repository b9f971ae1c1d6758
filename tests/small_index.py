"""Models and indices small enough for tests, without training: what search is about is which vectors are near."""

from pathlib import Path

import jax
import numpy as np
from small_run import SMALL

from atomas_jax.config import Experiment
from atomas_jax.corpus.configuration import Source
from atomas_jax.model.atomas import initial_parameters
from atomas_jax.model.configuration import with_vocabulary
from atomas_jax.retrieval.building import Filled, about, fill
from atomas_jax.retrieval.index import Index, writing
from atomas_jax.tokens.training import train as train_tokenizer
from atomas_jax.trained import TrainedModel

ASPIRIN, ASPIRIN_AGAIN = "CC(=O)Oc1ccccc1C(=O)O", "OC(=O)c1ccccc1OC(C)=O"
L_ALANINE, D_ALANINE = "C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"
LIBRARY = (
    ("CCO", "ethanol", "1"),
    (ASPIRIN, "aspirin", "7.5"),
    ("not a molecule", "nonsense", "0"),
    (ASPIRIN_AGAIN, "aspirin again", "8"),
    (L_ALANINE, "L-alanine", "2"),
    (D_ALANINE, "D-alanine", ""),
    ("CC(=O)[O-]", "acetate", "3"),
    ("c1ccccc1", "benzene", "four"),
    ("CCCCCC", "hexane", "5"),
    ("CCN", "ethylamine", "6"),
)


def untrained(seed: int = 0) -> TrainedModel:
    """A model of random weights; the same seed gives the same."""
    smiles = [row[0] for row in LIBRARY]
    tokenizer = train_tokenizer(["an acid of carbon", "an amine or alcohol"], smiles, vocab_size=1000, at_most=True)
    sized = with_vocabulary(SMALL.model, tokenizer.vocab_size)
    params = jax.tree.map(np.asarray, initial_parameters(sized, jax.random.key(seed)))
    return TrainedModel(Experiment(model=sized), tokenizer, params, step=3)


def write_library(path: Path, rows=LIBRARY) -> Path:
    """A TSV of SMILES, id and activity."""
    path.write_text("".join("\t".join(row) + "\n" for row in (("smiles", "id", "activity"), *rows)))
    return path


def make_index(folder: Path, model: TrainedModel, library: Path, columns=("activity",)) -> tuple[Index, Filled]:
    """An index of a file."""
    with writing(folder, model, about(Path("run"), "best", columns)) as writer:
        filled = fill(writer, model, Source(str(library)), tuple(columns), workers=1)
        writer.finish()
        return writer.index, filled
