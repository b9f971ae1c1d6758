"""The run folder, the unit of exchange: what lies where.

config.json       every setting of the run        versions.json   of the libraries and the machine's devices
tokenizer/        the model's own copy            corpus.json     manifest of the corpus it was trained on
log.jsonl         one line a log step             tensorboard/    the same as TensorBoard events
checkpoints/      latest states, to resume        best/           the best weights, to use
samples/          what the model wrote at each validation
evaluation/       predictions and results         report.html     all of it, to look at
import.json       where imported weights came from and what was done to them
"""

import json
import platform
from importlib import metadata
from pathlib import Path

from atomas_jax.errors import UserError
from atomas_jax.files import write_json

LIBRARIES = ("atomas_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "sentencepiece", "pyarrow")


def read_json(path: Path):
    """The JSON in a file of a run folder. Raises UserError when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {path.parent} is not a complete run folder") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it or name another run folder") from None


class RunFolder:
    """Paths and small files of one run. Making one touches nothing on disk."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.versions = self.path / "versions.json"
        self.corpus = self.path / "corpus.json"
        self.imported = self.path / "import.json"
        self.tokenizer = self.path / "tokenizer"
        self.log = self.path / "log.jsonl"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.samples = self.path / "samples"
        self.evaluation = self.path / "evaluation"
        self.report = self.path / "report.html"

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return self.config.is_file()

    def read_config(self) -> dict:
        """The run's settings. Raises UserError when the folder is no run folder or its settings are damaged."""
        if not self.path.is_dir():
            raise UserError(f"no run folder at {self.path}: `atomas train` makes one")
        if not self.exists():
            raise UserError(f"{self.path} is not a run folder (it has no config.json)")
        return read_json(self.config)

    def own_corpus(self) -> Path | None:
        """The folder of the corpus the run was trained on, as noted then; None where none was, as in imported runs."""
        noted = read_json(self.corpus) if self.corpus.exists() else None
        folder = noted.get("folder") if isinstance(noted, dict) else None
        return Path(folder) if isinstance(folder, str) else None

    def claim(self) -> None:
        """Make the folder for a new run. Raises UserError when it cannot be written or holds something else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            begun = {self.tokenizer.name, self.corpus.name, self.imported.name, self.versions.name}  # before a kill
            names = (entry.name for entry in self.path.iterdir() if entry.suffix != ".part")
            if foreign := sorted(set(names) - begun):
                raise UserError(f"{self.path} holds {foreign[0]} but no run: name an empty or a new folder")
        except OSError as error:
            raise UserError(f"cannot write the run folder {self.path}: {error.strerror}") from None

    def write_versions(self, devices: list[str]) -> None:
        """Record what the run runs on."""
        versions = {name: _version(name) for name in LIBRARIES}
        write_json(self.versions, {"python": platform.python_version(), **versions, "devices": devices})


def saved_steps(folder: Path) -> list[int]:
    """Steps with a complete checkpoint in a folder of checkpoints, ascending."""
    found = [entry for entry in folder.glob("*") if entry.name.isdigit() and (entry / "weights").is_dir()]
    return sorted(int(entry.name) for entry in found)


def find_checkpoint(run: RunFolder, which: str) -> tuple[Path, int]:
    """Folder and step of a checkpoint: `which` is "best", "latest" or a step that was kept.

    "best" falls back to the latest where no validation has been run. Raises UserError when there is none such.
    """
    latest, best = saved_steps(run.checkpoints), saved_steps(run.best)
    if which == "best" and best:
        return run.best.absolute() / str(best[-1]), best[-1]
    if which in ("best", "latest") and latest:
        return run.checkpoints.absolute() / str(latest[-1]), latest[-1]
    if which.isdecimal() and int(which) in latest:
        return run.checkpoints.absolute() / str(int(which)), int(which)
    have = ", ".join(map(str, latest)) or "none"
    raise UserError(f"{run.path} has no checkpoint {which!r}; steps saved: {have}")


def read_log(path: str | Path) -> list[dict]:
    """The entries of a log.jsonl, each with an int "step". A line cut short by a kill is left out.

    Raises UserError for a file that cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read the log {path}: {error.strerror}") from None
    entries = []
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            entries.append(entry)
    return entries


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
