"""Settings of the optimiser and of the training run."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class OptimizerConfig:
    """What turns gradients into updates."""

    name: Literal["adamw", "adafactor"] = "adamw"
    learning_rate: float = 1e-3
    """Peak of the schedule."""
    schedule: Literal["constant", "linear", "cosine", "rsqrt"] = "cosine"
    """After the warm-up: stay, fall to 0 in a line or a half cosine at the last step, or fall with 1/sqrt(step)."""
    warmup_steps: int = 100
    """Steps of linear rise from 0."""
    weight_decay: float = 0.0
    """Decoupled, on kernels and embeddings only; multiplied by the learning rate."""
    beta1: float = 0.9
    """Of AdamW, as the next two; Adafactor has its own (T5X's)."""
    beta2: float = 0.98
    epsilon: float = 1e-8
    clip: float = 1.0
    """Largest global norm of the gradient; 0 does not clip."""


@dataclass(frozen=True)
class TrainingConfig:
    """Length, seed, and what is written when."""

    steps: int = 1000
    """Optimiser steps in all."""
    initial: str = ""
    """Run folder whose weights training starts from, such as what `atomas import` made; empty starts afresh."""
    seed: int = 42
    """Every random choice of a run is a function of this and the step (for dropout: on one kind of device and one
    version of jax)."""
    mesh: str = ""
    """Devices along each axis, as in data=4,fsdp=2,tensor=1: `data` splits the pairs; `fsdp` the pairs and every
    parameter with its optimiser state; `tensor` heads, feed-forward and vocabulary. When empty all
    devices are `data`; in a job of one process as many as `batches.unit` allows. It changes no result but dropout's
    draws, so a run may resume on another that `batches.unit` allows."""
    distributed: str = ""
    """How the processes of a job find each other: empty for one process alone; `auto` on TPU pods, under SLURM, Open
    MPI and Kubernetes; coordinator=HOST:PORT,processes=N,process=I anywhere. The run folder must be one that all see;
    the corpus may be a copy on each machine. It changes no result but, with the mesh, dropout's draws, so a run may
    resume in another number."""
    accumulate: int = 1
    """Parts a batch is cut into, one after another, to save memory; must divide batches.pairs. The language loss
    stays that of the whole batch; the alignments compare the pairs of one part with each other and with the queue."""
    log_every: int = 20
    """Steps between lines of the log, and between looks at the device."""
    validate_every: int = 500
    """Steps between validations; 0 validates at the end only."""
    validation_pairs: int = 512
    """First rows of the validation split that are looked at during training; 0 never validates, and keeps no best."""
    samples: int = 8
    """Validation pairs captioned and generated at each validation, for reading."""
    save_every: int = 500
    """Steps between checkpoints."""
    save_minutes: float = 10.0
    """A checkpoint is also due at the first line of the log this many minutes after the last one."""
    keep: int = 2
    """Latest checkpoints kept, beside the best."""
    best: str = "language"
    """Validation metric whose best checkpoint is kept; see the names in log.jsonl. Of losses and ranks the lowest is
    best, of everything else the highest."""
    refusals: int = 20
    """Steps in a row whose loss or gradient may be non-finite before the run stops. Each such step changes no
    parameter."""
    tensorboard: bool = True
    """Write TensorBoard events beside log.jsonl."""
