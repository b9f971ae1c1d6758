"""The main job on the embedded corpus: minutes on two CPU cores, everything from pairs to report.html.

It shows that the whole path works, not how good the method is: the corpus is written by a describer with a limited
vocabulary, and no number on it belongs beside one on ChEBI-20.
"""

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.config import EvaluationConfig, Experiment
from atomas_jax.corpus.configuration import CorpusConfig, SplitConfig
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.model.configuration import preset
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.training.configuration import OptimizerConfig, TrainingConfig

experiment = Experiment(
    name="quickstart",
    corpus=CorpusConfig(
        embedded=4000,
        split=SplitConfig(method="scaffold", validation=0.05, test=0.05),
        tokenizer="tokenizers/atomas-embedded",
        spellings=1,
    ),
    model=preset("tiny"),
    # a run of a few hundred steps: an average over 50 of them, and a queue that turns over
    objectives=ObjectiveConfig(momentum=0.98, queue_size=1024),
    batches=BatchConfig(pairs=32, max_smiles=40, max_text=56),
    optimizer=OptimizerConfig(learning_rate=2e-3, warmup_steps=30),
    training=TrainingConfig(steps=100, log_every=5, validate_every=0, validation_pairs=128, samples=4),
    # so young a model repeats itself when greedy
    decoding=DecodingConfig(max_length=56, method="sample", temperature=0.5),
    evaluation=EvaluationConfig(limit=96, retrieval_limit=192),
)
