"""The settings of the training objective: which terms, how they weigh, and what counts as a negative."""

from dataclasses import dataclass
from typing import Literal

from atomas_jax.errors import UserError

GlobalForm = Literal["momentum", "softmax", "sigmoid"]
Duplicates = Literal["mask", "negatives"]


@dataclass(frozen=True)
class ObjectiveConfig:
    """L = global_alignment * L_ga + language * L_lm + hierarchical * L_haa; a weight of 0 switches its term off (not
    computed).

    The defaults are Atomas' (ICLR 2025), except for `duplicates`.
    """

    language: float = 10.0
    """Weight of the language loss."""
    global_alignment: float = 1.0
    """Weight of the global alignment."""
    hierarchical: float = 1.0
    """Weight of the hierarchical adaptive alignment, all levels together."""
    caption: float = 1.0
    """Weight, inside the language loss, of molecule to text."""
    generation: float = 1.0
    """Weight, inside the language loss, of text to molecule."""
    global_form: GlobalForm = "momentum"
    """`momentum`: ALBEF's queue and soft targets; `softmax`: in-batch InfoNCE (CLIP); `sigmoid`: SigLIP."""
    queue_size: int = 13_200
    """Past momentum features kept as further negatives, in pairs."""
    momentum: float = 0.995
    """Share of the old weights in the momentum copy at each step. The copy makes the keys of the "momentum" form, and
    in any form it is what a run saves to be used: it follows the parameters up to the step before."""
    soft_target: float = 0.4
    """Share of the target that is the momentum copy's own softmax; the rest is one-hot."""
    duplicates: Duplicates = "mask"
    """Other rows of a pair's own molecule (a second caption, a stale entry of the queue): left out of its comparison,
    or counted as negatives as the released code does."""
    label_smoothing: float = 0.0
    """Share of the language target spread evenly over the vocabulary."""
    z_loss: float = 0.0
    """Weight of log(Z)^2 of the language softmax (T5X: 1e-4); keeps logits from drifting."""

    def __post_init__(self):
        for name in ("language", "global_alignment", "hierarchical", "caption", "generation", "z_loss"):
            if getattr(self, name) < 0:
                raise UserError(f"objectives.{name} = {getattr(self, name)} is negative: use 0 to switch a term off")
        for name in ("momentum", "soft_target", "label_smoothing"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"objectives.{name} = {getattr(self, name)} is not between 0 and 1")
        if self.queue_size < 1:
            raise UserError(f"objectives.queue_size = {self.queue_size}: the queue needs at least one entry")

    @property
    def uses_queue(self) -> bool:
        """Whether the training state needs a momentum copy and a queue."""
        return self.global_alignment > 0 and self.global_form == "momentum"
