"""Training pairs anyone can have: the public parts of ChEBI-20, GIT-Mol, PCdes and PubChem324k, no leak into the tests.

The files lie in a folder beside the project (or in $ATOMAS_PAIRS), laid out as `data/README.md` there says. ChEBI-20's
full training split is not among them: numbers of this experiment do not belong beside those of models trained on it.
"""

import os
from pathlib import Path

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.config import EvaluationConfig, Experiment
from atomas_jax.corpus.configuration import CorpusConfig, Source, SplitConfig
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.model.configuration import preset
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.training.configuration import OptimizerConfig, TrainingConfig

DATA = Path(os.environ.get("ATOMAS_PAIRS", Path(__file__).resolve().parents[2] / "shared" / "data"))


def source(path: str, name: str, licence: str, **settings) -> Source:
    """A file of the data folder."""
    return Source(str(DATA / path), name=name, licence=licence, **settings)


CHEBI = "BSD-3-Clause (MolT5); ChEBI, CC BY 4.0"
UNSTATED = "none stated; PubChem descriptions"

CORPUS = CorpusConfig(
    sources=(
        source("chebi20/train_partial.tsv.gz", "chebi20-train-partial", "MIT in part; ChEBI, CC BY 4.0"),
        source("chebi20/validation.txt.gz", "chebi20-validation", CHEBI),
        source("gitmol_pairs/pairs.tsv.gz", "gitmol", "MIT; PubChem descriptions", smiles="isosmiles"),
        source("pcdes/validation.txt.gz", "pcdes-validation", UNSTATED),
        source("pubchem324k/test.txt.gz", "pubchem324k-test", UNSTATED),
        source("pubchem324k/valid.txt.gz", "pubchem324k-valid", UNSTATED),
    ),
    test=(source("chebi20/test.txt.gz", "chebi20-test", CHEBI),),
    held_out=(source("pcdes/test.txt.gz", "pcdes-test", UNSTATED),),
    split=SplitConfig(method="given", rows_from="chebi20-validation", rows=500),
    tokenizer="train",
    vocab_size=4096,
    spellings=2,
)

experiment = Experiment(
    name="open_pairs",
    corpus=CORPUS,
    model=preset("tiny"),
    objectives=ObjectiveConfig(momentum=0.99, queue_size=4096),
    batches=BatchConfig(pairs=32, max_smiles=128, max_text=128),
    optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=50),
    training=TrainingConfig(
        steps=500, log_every=10, validate_every=125, validation_pairs=256, samples=8, save_minutes=5
    ),
    decoding=DecodingConfig(max_length=160),
    evaluation=EvaluationConfig(
        limit=500,  # two CPU cores write all 3,300 captions and molecules in half an hour: --evaluation.limit 0
        protocol="molt5",
        vocabulary=str(DATA / "vocab" / "scibert_scivocab_uncased.vocab.txt"),
        wordnet=str(DATA / "wordnet"),
    ),
)
