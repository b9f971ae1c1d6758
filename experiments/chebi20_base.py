"""Atomas-base on all of ChEBI-20, as published (ICLR 2025): for who can reach the data set and has accelerators.

The published settings: 247 M parameters and T5's vocabulary, Adam at a constant 1e-4, clipping at 1, bfloat16, 8
devices of 2 pairs, 100 epochs, seed 42, losses 1 : 10 : 1, beam search of width 5 up to 512 tokens with the momentum
weights. What differs is what `atomas_jax` corrects: strings come at their own lengths and clusters follow them, the
backslash can be written, both directions are learned in one run, and a molecule's other captions are no negatives. The
published run starts from MolT5's weights; this one starts from scratch.

T5's `spiece.model` comes with every T5 checkpoint: name it in $T5_SPIECE_MODEL. The protocol `molt5` needs SciBERT's
vocabulary (`atomas assets scibert`), which `atomas run` asks for before anything else; with `atomas assets wordnet`
METEOR has its synonyms too, and without it the stamp says so.
"""

import os
from dataclasses import replace

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.config import EvaluationConfig, Experiment
from atomas_jax.corpus.configuration import CorpusConfig, Source
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.model.configuration import preset
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.training.configuration import OptimizerConfig, TrainingConfig

PAIRS = 16
DEVICES = 8
"""That may split the pairs of a step; more share the work of a pair (`tensor` of `--training.mesh`)."""
STEPS = 100 * 26_407 // PAIRS
BASE = preset("base")

experiment = Experiment(
    name="chebi20_base",
    corpus=CorpusConfig(
        sources=(Source("chebi20", split="train"),),
        validation=(Source("chebi20", split="validation"),),
        test=(Source("chebi20", split="test"),),
        tokenizer=os.environ.get("T5_SPIECE_MODEL", "spiece.model"),
    ),
    model=replace(BASE, transformer=replace(BASE.transformer, dtype="bfloat16", remat="dots")),
    objectives=ObjectiveConfig(),
    batches=BatchConfig(pairs=PAIRS, unit=DEVICES, max_smiles=512, max_text=512, random_spelling=0.0),
    optimizer=OptimizerConfig(
        learning_rate=1e-4, schedule="constant", warmup_steps=1, beta1=0.9, beta2=0.999, clip=1.0
    ),
    training=TrainingConfig(steps=STEPS, seed=42, validate_every=5000, validation_pairs=3301, save_every=2000),
    decoding=DecodingConfig(method="beam", beams=5, max_length=512),
    evaluation=EvaluationConfig(split="test", protocol="molt5"),
)
