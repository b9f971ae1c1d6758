"""How to decode: a frozen dataclass that the compiled loop takes as a constant."""

from dataclasses import dataclass
from typing import Literal

from atomas_jax.errors import UserError

METHODS = ("greedy", "sample", "distinct", "beam")


@dataclass(frozen=True)
class DecodingConfig:
    """Settings of one decoding. Lengths are tokens, the end token counted, the start token not."""

    method: Literal["greedy", "sample", "distinct", "beam"] = "greedy"
    """The most probable token each time; random ones; random ones that all differ; the most probable of many strings.
    Of the last two, valid molecules differ as strings, all else token by token: one text may be cut in many ways."""
    max_length: int = 256
    """A string that has not ended by then is cut there. Under the constraint a SMILES is completed by then: for that
    the last 12 tokens are kept, and 3 more for every ring and branch that is open."""
    results: int = 1
    """Strings for each input: samples, or the best beams. Greedy decoding gives one."""
    candidates: int = 0
    """Strings written for each input, of which `results` are kept: by `rerank`, else in the method's order. 0 writes no
    more than are kept; a beam search that reranks or replaces takes all its beams."""
    rerank: Literal["none", "global", "tokens"] = "none"
    """Order the candidates by the model's own alignment with the input: the cosine of the whole strings, or the
    weighted interaction of their tokens at every level."""
    beams: int = 5
    """Width of the beam search."""
    length_penalty: float = 1.0
    """Beams are ranked by log-probability / length ** length_penalty, Hugging Face's rule; over 0 favours long ones."""
    early_stopping: bool = False
    """Stop an input's beam search as soon as `beams` strings have ended, rather than when no better one is in sight."""
    exhaustive: bool = False
    """Take a better string to be in sight as long as one of the greatest length could be (Hugging Face's early stopping
    "never"), not one of the present length: slower, and for a length penalty over 0 alone a difference."""
    temperature: float = 1.0
    """Samples are drawn from softmax(logits / temperature); below 1 is bolder, above 1 more varied."""
    top_k: int = 0
    """Sample among the k most probable tokens; 0 is all."""
    top_p: float = 1.0
    """Sample among the most probable tokens that together reach this probability; 1 is all."""
    min_p: float = 0.0
    """Sample among tokens at least this times as probable as the likeliest; 0 is all."""
    seed: int = 0
    """Samples repeat for the same seed, whatever the batches."""
    constrained: bool = True
    """Write SMILES under the validity constraint (`decoding.validity`): nothing that cannot become a molecule.
    Tokenizers that do not cut SMILES at atoms have none."""
    valid: bool = True
    """Of SMILES, give only those RDKit reads: the next candidate replaces one that it does not, and more are drawn,
    under the constraint, where none is left."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of activations and caches while strings are written; parameters, norms, softmax and logits are float32
    whatever it is. `auto` is bfloat16 on accelerators, the run's own on CPU."""
    compiled: bool = True
    """False runs the loop in Python, one operation at a time, for a debugger: the same result, far slower."""

    def __post_init__(self):
        if self.method not in METHODS:
            raise UserError(f"decoding method {self.method!r} is not known: choose one of {', '.join(METHODS)}")
        if self.rerank not in ("none", "global", "tokens"):
            raise UserError(f"rerank {self.rerank!r} is not known: choose none, global or tokens")
        if self.dtype not in ("auto", "float32", "bfloat16"):
            raise UserError(f"dtype {self.dtype!r} is not known: choose auto, float32 or bfloat16")
        for name in ("max_length", "results", "beams"):
            if getattr(self, name) < 1:
                raise UserError(f"decoding setting {name} is {getattr(self, name)}: want 1 or more")
        if self.candidates and self.candidates < self.results:
            raise UserError(f"{self.results} results of {self.candidates} candidates: want as many candidates or more")
        if self.method == "greedy" and self.written > 1:
            what = "candidate" if self.candidates > self.results else "result"
            raise UserError(f"greedy decoding gives one {what}: use method sample, distinct or beam for more")
        if self.method == "beam" and self.written > self.beams:
            raise UserError(f"{self.written} results from {self.beams} beams: want at least as many beams as results")
        if self.temperature <= 0:
            raise UserError(f"temperature is {self.temperature}: want more than 0 (greedy is the limit at 0)")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise UserError(
                f"top_k {self.top_k}, top_p {self.top_p}, min_p {self.min_p}: want top_k of 0 or more, "
                "0 < top_p <= 1, 0 <= min_p <= 1"
            )
        if self.method == "distinct" and (self.top_k, self.top_p, self.min_p) != (0, 1, 0):
            raise UserError("method distinct draws from the whole distribution: do without top_k, top_p and min_p")
        if self.early_stopping and self.exhaustive:
            raise UserError("early_stopping and exhaustive are opposites: choose one")

    @property
    def written(self) -> int:
        """Strings given back for each input before any choice among them."""
        return max(self.results, self.candidates)

    @property
    def continuations(self) -> int:
        """Strings written at once for each input."""
        return self.beams if self.method == "beam" else self.written
