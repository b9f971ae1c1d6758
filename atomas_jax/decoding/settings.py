"""How to decode: a frozen dataclass that the compiled loop takes as a constant."""

from dataclasses import dataclass
from typing import Literal

from atomas_jax.errors import UserError


@dataclass(frozen=True)
class DecodingConfig:
    """Settings of one decoding. Lengths are tokens, the end token counted, the start token not."""

    method: Literal["greedy", "sample", "beam"] = "greedy"
    """The most probable token each time; a random one; or the most probable of many strings."""
    max_length: int = 256
    """A string that has not ended by then is cut there."""
    results: int = 1
    """Strings for each input: independent samples, or the best beams. Greedy decoding gives one."""
    beams: int = 5
    """Width of the beam search."""
    length_penalty: float = 1.0
    """Beams are ranked by log-probability / length ** length_penalty, Hugging Face's rule; over 0 favours long ones."""
    early_stopping: bool = False
    """Stop an input's beam search as soon as `beams` strings have ended, rather than when no better one is in sight."""
    temperature: float = 1.0
    """Samples are drawn from softmax(logits / temperature); below 1 is bolder, above 1 more varied."""
    top_k: int = 0
    """Sample among the k most probable tokens; 0 is all."""
    top_p: float = 1.0
    """Sample among the most probable tokens that together reach this probability; 1 is all."""
    seed: int = 0
    """Samples repeat for the same seed, whatever the batches."""

    def __post_init__(self):
        if self.method not in ("greedy", "sample", "beam"):
            raise UserError(f"decoding method {self.method!r} is not known: choose greedy, sample or beam")
        for name in ("max_length", "results", "beams"):
            if getattr(self, name) < 1:
                raise UserError(f"decoding setting {name} is {getattr(self, name)}: want 1 or more")
        if self.method == "greedy" and self.results > 1:
            raise UserError("greedy decoding gives one result: use method sample or beam for more")
        if self.method == "beam" and self.results > self.beams:
            raise UserError(f"{self.results} results from {self.beams} beams: want at least as many beams as results")
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}: want more than 0 (greedy is the limit at 0)")
        if self.top_k < 0 or not 0 < self.top_p <= 1:
            raise UserError(f"top_k {self.top_k}, top_p {self.top_p}: want top_k of 0 or more, 0 < top_p <= 1")

    @property
    def continuations(self) -> int:
        """Strings written at once for each input."""
        return {"greedy": 1, "sample": self.results, "beam": self.beams}[self.method]
