"""A run small enough for tests: its settings, its corpus, and the command that trains it in a process of its own."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.config import EvaluationConfig, Experiment
from atomas_jax.corpus.prepared import PreparedWriter
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.model.configuration import AlignmentConfig, ModelConfig, T5Config
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.tokens.training import train as train_tokenizer
from atomas_jax.training.configuration import OptimizerConfig, TrainingConfig

SMALL = Experiment(
    name="small",
    model=ModelConfig(
        T5Config(d_model=16, d_kv=8, d_ff=24, num_heads=2, encoder_layers=1, decoder_layers=1),
        AlignmentConfig(embedding_dim=8, attention_heads=2),
    ),
    objectives=ObjectiveConfig(queue_size=20, momentum=0.9),
    batches=BatchConfig(pairs=8, max_smiles=32, max_text=32, unit=8),
    # epsilon: Adam's first steps are the sign of the gradient, which rounding decides where it is near 0
    optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2, epsilon=1e-3),
    training=TrainingConfig(
        steps=12, log_every=1, validate_every=6, validation_pairs=12, save_every=3, samples=0, tensorboard=False
    ),
    decoding=DecodingConfig(max_length=16),
    evaluation=EvaluationConfig(limit=6),
)

CARBONS = ("C", "CC", "CCC", "CCCC", "CCCCC", "CCCCCC")
ENDS = {"O": "alcohol", "N": "amine", "Cl": "chloride", "C(=O)O": "acid", "C#N": "nitrile", "C=O": "aldehyde"}


def write_corpus(folder: Path) -> Path:
    """A prepared corpus of 36 molecules that rhyme with their captions, written without rdkit or `datasets`."""
    pairs = [(c + s, f"A {name} with {len(c)} carbon atoms in its chain.") for c in CARBONS for s, name in ENDS.items()]
    tokenizer = train_tokenizer([t for _, t in pairs], [s for s, _ in pairs], vocab_size=1000, at_most=True)
    order = np.random.default_rng(0).permutation(len(pairs))
    with PreparedWriter(folder) as writer:
        for place, i in enumerate(order):
            smiles, text = pairs[i]
            split = "validation" if place < 6 else "test" if place < 12 else "train"
            writer.add(
                split, molecule=int(i), key=f"K{i}", flat_key=f"K{i}", smiles=smiles, text=text, source="tests",
                id=str(i), smiles_tokens=[tokenizer.encode_smiles(smiles)], text_tokens=tokenizer.encode_text(text),
            )  # fmt: skip
        tokenizer.save(writer.tokenizer_folder)
        facts = {"sha256": tokenizer.sha256, "kind": tokenizer.kind, "vocab_size": tokenizer.vocab_size}
        writer.finish({"tokenizer": facts, "counts": {}, "lengths": {}})
    return folder


def with_training(**changes) -> Experiment:
    """The small experiment with other training settings."""
    return replace(SMALL, training=replace(SMALL.training, **changes))


PROGRAM = """
import sys
sys.path[:0] = {path!r}
{before}
from pathlib import Path
from small_run import with_training
from atomas_jax.jobs import train
outcome = train(with_training(**{changes!r}), Path({corpus!r}), Path({run!r}))
print("finished" if outcome.finished else "stopped", outcome.step)
"""


def training_process(corpus: Path, run: Path, before: str = "", **changes) -> subprocess.Popen:
    """Train in a process of its own; `before` is Python that runs first."""
    path = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    program = PROGRAM.format(path=path, before=before, changes=changes, corpus=str(corpus), run=str(run))
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
