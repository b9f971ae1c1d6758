"""`atomas info`: what a folder is."""

import json
from pathlib import Path

from tyro.conf import Positional

from atomas_jax.errors import UserError


def info(folder: Positional[Path], sharding: str = "") -> None:
    """What a run folder, a prepared corpus or a tokenizer is; or where training would keep each parameter on a mesh.

    Args:
      folder: Any of the three; with --sharding an experiment, as for `atomas train`.
      sharding: A mesh such as data=4,fsdp=2,tensor=1, of devices that need not be here.
    """
    if sharding:
        from atomas_jax.config import find_experiment
        from atomas_jax.training.sharding_table import sharding_lines

        print("\n".join(sharding_lines(find_experiment(str(folder)), sharding)))
        return
    from atomas_jax.corpus.prepared import MANIFEST, PreparedCorpus
    from atomas_jax.tokens.tokenizer import Tokenizer

    if (folder / "config.json").is_file():
        print_run(folder)
    elif (folder / MANIFEST).is_file():
        print_corpus(folder, PreparedCorpus.open(folder).manifest)
    elif (folder / "tokenizer.json").is_file():
        loaded = Tokenizer.load(folder)
        print(f"tokenizer {folder}: {loaded.kind}, {loaded.vocab_size:,} ids, sha256 {loaded.sha256}")
    else:
        raise UserError(f"{folder} is no run folder, prepared corpus or tokenizer")


def print_run(folder: Path) -> None:
    from atomas_jax.config import from_json
    from atomas_jax.run_folder import RunFolder, read_json, read_log, saved_steps

    run = RunFolder(folder)
    experiment = from_json(run.read_config(), str(run.config))
    entries = read_log(run.log) if run.log.exists() else []
    step = entries[-1]["step"] if entries else 0
    print(f"run {folder}: experiment {experiment.name}, step {step:,} of {experiment.training.steps:,}")
    kept = {"checkpoints": saved_steps(run.checkpoints), "best": saved_steps(run.best)}
    for name, steps in kept.items():
        print(f"{name}: {', '.join(map(str, steps)) or 'none'}")
    validations = [entry for entry in entries if entry.get("kind") == "validation"]
    if validations:
        values = {name: value for name, value in validations[-1].items() if name not in ("step", "kind", "time")}
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, int | float))
        print(f"last validation, at step {validations[-1]['step']:,}: {told}")
    versions = read_json(run.versions)
    if isinstance(versions, dict):
        print("versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    print(json.dumps(run.read_config(), indent=2))


def print_corpus(folder: Path, manifest: dict) -> None:
    print(f"prepared corpus {folder}")
    shown = {name: manifest[name] for name in ("counts", "lengths", "tokenizer") if name in manifest}
    print(json.dumps(shown, indent=2))
