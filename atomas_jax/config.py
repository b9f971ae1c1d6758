"""An experiment: every setting of the main job, in one value; how it is found, saved and read back."""

import dataclasses
import json
import runpy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.corpus.configuration import CorpusConfig
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.evaluation.configuration import EvaluationConfig
from atomas_jax.model.configuration import PRESETS, ModelConfig, preset
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.run_folder import read_json
from atomas_jax.training.configuration import OptimizerConfig, TrainingConfig


@dataclass(frozen=True)
class Experiment:
    """The main job from pairs to numbers. Files under `experiments/` hold one each, in a variable called
    `experiment`."""

    name: str = "experiment"
    """Names the default corpus and run folders."""
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    model: ModelConfig = field(default_factory=lambda: PRESETS["tiny"])
    objectives: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)


@dataclass(frozen=True)
class DecodingOverrides:
    """Decoding settings of one call. What is None is left as the run has it; see `DecodingConfig` for the rest."""

    method: Literal["greedy", "sample", "distinct", "beam"] | None = None
    """How to decode: the run's own setting when absent, as for the following. `distinct` samples all differ."""
    max_length: int | None = None
    """Longest string written, in tokens."""
    results: int | None = None
    """Strings for each input: samples, or the best beams."""
    candidates: int | None = None
    """Strings written for each input, of which `results` are kept; 0 writes no more than are kept."""
    rerank: Literal["none", "global", "tokens"] | None = None
    """Order candidates by the model's own alignment with the input: of whole strings, or token by token."""
    beams: int | None = None
    """Width of the beam search."""
    length_penalty: float | None = None
    """Beams are ranked by log-probability / length ** length_penalty; over 0 favours long ones."""
    early_stopping: bool | None = None
    """Stop a beam search as soon as `beams` strings have ended."""
    exhaustive: bool | None = None
    """Stop a beam search only when no string of any length could be better."""
    temperature: float | None = None
    """Of sampling: below 1 is bolder, above 1 more varied."""
    top_k: int | None = None
    """Sample among the k most probable tokens; 0 is all."""
    top_p: float | None = None
    """Sample among the most probable tokens that together reach this probability; 1 is all."""
    min_p: float | None = None
    """Sample among tokens at least this times as probable as the likeliest; 0 is all."""
    seed: int | None = None
    """Samples repeat for the same seed."""
    constrained: bool | None = None
    """Write SMILES under the validity constraint: what cannot become a molecule is not written."""
    valid: bool | None = None
    """Of SMILES, give only those RDKit reads, others replaced by the next candidate."""
    dtype: Literal["auto", "float32", "bfloat16"] | None = None
    """Of activations and caches: auto is bfloat16 on accelerators, the run's own on CPU."""
    compiled: bool | None = None
    """False runs the loop in Python, for a debugger: the same result, far slower."""

    def given(self) -> dict[str, Any]:
        """The settings that are not None."""
        return {name: value for name, value in vars(self).items() if value is not None}


def find_experiment(name: str) -> Experiment:
    """The experiment of a Python file, of a name in `experiments/`, of a run folder, or one of a model preset's name.

    Raises:
      UserError: none of these; a file that does not define `experiment`.
    """
    candidates = [Path(name), Path("experiments") / f"{name}.py"]
    if (settings := Path(name) / "config.json").is_file():
        return from_json(read_json(settings), str(settings))
    for path in candidates:
        if path.is_file():
            return _load_file(path)
    if name in PRESETS:
        return Experiment(name=name, model=preset(name))
    # scripts lie there too
    files = [path for path in Path("experiments").glob("*.py") if "\nexperiment = " in path.read_text("utf-8")]
    known = sorted(path.stem for path in files)
    raise UserError(
        f"no experiment {name!r}: name a Python file, one of experiments/ ({', '.join(known) or 'none here'}), "
        f"a run folder or a model preset ({', '.join(PRESETS)})"
    )


# What running a file that somebody wrote can raise of itself.
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip


def _load_file(path: Path) -> Experiment:
    try:
        found = runpy.run_path(str(path)).get("experiment")
    except _FAULTS as error:
        raise UserError(f"{path} cannot be read as an experiment: {type(error).__name__}: {error}") from None
    if not isinstance(found, Experiment):
        raise UserError(f"{path} defines no `experiment = Experiment(...)`")
    return found


def to_json(experiment: Experiment) -> dict:
    """The settings as plain JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(experiment)))


def from_json(values, where: str) -> Experiment:
    """Settings read back. `where` names the file in errors. Raises UserError naming what is wrong with them."""
    import cattrs
    from cattrs.errors import BaseValidationError

    if not isinstance(values, dict):
        raise UserError(f"{where} does not hold settings but {json.dumps(values)[:40]}")
    batches = values.get("batches")
    if isinstance(batches, dict):
        # runs of the first versions had batches of several shapes
        former = ("smiles_edges", "text_edges", "shapes")
        values = {**values, "batches": {name: value for name, value in batches.items() if name not in former}}
    try:
        return cattrs.Converter(forbid_extra_keys=True).structure(values, Experiment)
    except BaseValidationError as error:
        problem = "; ".join(cattrs.transform_error(error))
        raise UserError(f"{where} does not hold settings this version understands: {problem}") from None


def difference(one: Experiment, other: Experiment) -> list[str]:
    """Settings that differ, as "name: value, other value"."""

    def walk(a, b, name):
        if isinstance(a, dict):
            for key in a:
                yield from walk(a[key], b[key], f"{name}.{key}" if name else key)
        elif a != b:
            yield f"{name}: {a}, {b}"

    return list(walk(to_json(one), to_json(other), ""))
