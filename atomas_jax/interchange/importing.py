"""From a T5 checkpoint to a run folder that captions, generates, and is trained on.

The table of T5 has rows that no piece uses. T5's missing characters (the backslash of E/Z bonds above all) and the two
start tokens get ids there (see `tokens.t5`), and their rows start as copies: of the unknown token for the characters,
of the pad token for the starts. So the model reads a backslash as the unknown token it was trained with, starts as it
did, and where it would write the unknown token between bonds a backslash is written; training then sets them apart.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from atomas_jax.config import Experiment, to_json
from atomas_jax.corpus.configuration import CorpusConfig
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.files import write_json
from atomas_jax.interchange.folder import ALIGNMENT, ATOMAS, TOKENIZER, unflatten
from atomas_jax.interchange.huggingface import config_from_huggingface, from_state_dict
from atomas_jax.interchange.t5x import is_t5x, open_t5x
from atomas_jax.interchange.weight_files import Tensor, open_safetensors, open_tensors
from atomas_jax.model.atomas import abstract_parameters, initial_parameters
from atomas_jax.model.configuration import AlignmentConfig, ModelConfig, T5Config, with_vocabulary
from atomas_jax.run_folder import RunFolder
from atomas_jax.tokens.t5 import PIECES, SENTINELS
from atomas_jax.tokens.tokenizer import MODEL_FILE, Tokenizer

HUB_FILES = ["config.json", "spiece.model", "*.safetensors", "*.safetensors.index.json", "pytorch_model*.bin",
             "pytorch_model.bin.index.json", "atomas*", "tokenizer/*"]  # fmt: skip


@dataclass(frozen=True)
class Imported:
    """What `import_checkpoint` made."""

    parameters: int
    """Numbers read, alignment heads not counted."""
    dtype: str
    """Of the weights in the checkpoint; a run keeps float32, which holds bfloat16 exactly."""
    fresh: tuple[str, ...]
    """What was not in the checkpoint and starts anew."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose tensors are still in their files."""

    source: str
    folder: Path
    settings: dict[str, Any]
    """Its config.json, or what a T5X checkpoint's shapes say of one."""
    tensors: dict[str, Tensor]


def open_checkpoint(source: str) -> Checkpoint:
    """A Hugging Face or T5X checkpoint of a T5, or what `atomas export` wrote: a folder, or a name on the hub.

    Raises UserError: no such folder or model; files that are missing, damaged or hold code.
    """
    folder = _fetch(source)
    if is_t5x(folder):
        tensors, settings = open_t5x(folder)
    else:
        settings = _read_config(folder)
        tensors = open_tensors(folder)
    return Checkpoint(source, folder, settings, tensors)


def import_checkpoint(
    checkpoint: Checkpoint,
    run_folder: Path,
    tokenizer: Path | None = None,
    seed: int = 0,
    on_progress: Callable[[int], None] | None = None,
) -> Imported:
    """Make a run folder, at step 0, of a checkpoint.

    Args:
      tokenizer: T5's `spiece.model` or a tokenizer folder, where the checkpoint has none.
      seed: of the alignment heads, where the checkpoint has none.
      on_progress: called with the number of tensors read since its last call.

    Raises:
      UserError: a model that is no T5; tensors missing, misshapen or unknown (each named); no tokenizer; a run folder
        that is not empty.
    """
    run = RunFolder(run_folder)
    if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
        raise UserError(f"{run.path} is not empty: name a new run folder")
    tensors, settings = checkpoint.tensors, checkpoint.settings
    transformer = config_from_huggingface(settings)
    _check_rows(tensors, transformer)
    loaded, own = _tokenizer(checkpoint.folder, tokenizer)
    given = settings.get(ATOMAS) or {}
    alignment = AlignmentConfig(**_tuples(given["alignment"])) if "alignment" in given else _alignment(transformer)
    rows = max(
        with_vocabulary(ModelConfig(transformer), loaded.vocab_size).transformer.vocab_size, transformer.vocab_size
    )
    model = ModelConfig(replace(transformer, vocab_size=rows), alignment)
    params = from_state_dict(tensors, transformer, "float32", on_progress)
    record = {"source": checkpoint.source, "dtype": _common_dtype(tensors)}
    if not own:
        record["rows"] = _place_characters(params, transformer, model.transformer, loaded)
    heads = _read_alignment(checkpoint.folder, model)
    fresh = () if heads else ("alignment heads",)
    if heads is None:
        make = jax.jit(lambda key: initial_parameters(model, key)["alignment"])  # the rest is never made
        heads = jax.device_get(make(jax.random.fold_in(jax.random.key(seed), 0)))
        record["alignment"] = f"fresh, seed {seed}"
    experiment = Experiment(
        name=run.path.name,
        corpus=CorpusConfig(tokenizer=str(run.tokenizer)),
        model=model,
        decoding=DecodingConfig(max_length=512),
    )
    _write(run, experiment, loaded, {"transformer": params, "alignment": heads}, record)
    count = sum(int(np.prod(tensor.shape)) for tensor in tensors.values())
    return Imported(count, record["dtype"], fresh)


def _fetch(source: str) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.exists() or source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise UserError(f"no folder {source}: name a folder with a checkpoint, or a model of the Hugging Face hub")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(source, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise UserError(f"no folder {source}, and the Hugging Face hub gave no such model ({reason})") from None


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} has no config.json: it is no Hugging Face checkpoint (nor a T5X one)") from None
    except ValueError as error:
        raise UserError(f"{path} is no JSON: {error}") from None
    if not isinstance(settings, dict):
        raise UserError(f"{path} holds no settings")
    return settings


def _tokenizer(folder: Path, given: Path | None) -> tuple[Tokenizer, bool]:
    """The tokenizer, and whether the checkpoint's tables were made for it."""
    if given is not None:
        if given.is_dir():
            return Tokenizer.load(given), True
        return Tokenizer.from_t5(given, _added_tokens(folder)), False
    if (folder / TOKENIZER).is_dir():
        return Tokenizer.load(folder / TOKENIZER), True
    if (folder / MODEL_FILE).is_file():
        return Tokenizer.from_t5(folder / MODEL_FILE, _added_tokens(folder)), False
    raise UserError(f"{folder} has no {MODEL_FILE}: give T5's own with --tokenizer")


def _added_tokens(folder: Path) -> list[str]:
    """What the authors of a checkpoint put behind T5's own ids, in the order of its ids."""
    added: dict[int, str] = {}
    for name in ("added_tokens.json", "tokenizer_config.json"):
        path = folder / name
        if path.is_file():
            try:
                found = json.loads(path.read_text("utf-8"))
                if name == "added_tokens.json":
                    added |= {int(number): token for token, number in found.items()}
                else:
                    added |= {int(n): entry["content"] for n, entry in found.get("added_tokens_decoder", {}).items()}
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(f"{path} is no list of added tokens: {error!r}") from None
    first = PIECES + SENTINELS
    numbers = sorted(number for number in added if number >= first)
    if numbers != list(range(first, first + len(numbers))):
        raise UserError(
            f"{folder} adds tokens at ids {numbers[0]:,} to {numbers[-1]:,} with gaps: that is not read here"
        )
    return [added[number] for number in numbers]


def _check_rows(tensors: Mapping[str, Tensor], config: T5Config) -> None:
    table = tensors.get("shared.weight")
    if table is not None and table.shape[0] != config.vocab_size:
        raise UserError(
            f"config.json says vocab_size {config.vocab_size:,}, the embedding has {table.shape[0]:,} rows: correct it"
        )


def _alignment(config: T5Config) -> AlignmentConfig:
    """The default heads, with as many attention heads (at most) as divide the width."""
    heads = next(h for h in range(AlignmentConfig.attention_heads, 0, -1) if config.d_model % h == 0)
    return AlignmentConfig(attention_heads=heads)


def _tuples(values: dict) -> dict:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}


def _common_dtype(tensors: Mapping[str, Tensor]) -> str:
    kinds = sorted({tensor.dtype for tensor in tensors.values()})
    return kinds[0] if len(kinds) == 1 else "float32"


def _place_characters(params: dict, old: T5Config, new: T5Config, tokenizer: Tokenizer) -> dict[str, str]:
    """Give the added ids their rows in the tables, in place; returns what each row was copied from."""
    starts = (tokenizer.text_start_id, tokenizer.smiles_start_id)
    first = tokenizer.vocab_size - len(tokenizer.training["added"])
    copies = {row: tokenizer.unk_id for row in range(first, tokenizer.vocab_size)}
    copies |= {row: tokenizer.unk_id for row in range(old.vocab_size, new.vocab_size)}
    copies |= dict.fromkeys(starts, tokenizer.pad_id)
    rows, sources = np.array(list(copies)), np.array(list(copies.values()))
    for path, axis in ((("embedding",), 0), (("head", "kernel"), 1)):
        node = params
        for key in path[:-1]:
            node = node.get(key, {})
        if path[-1] not in node:
            continue  # a tied head
        table = node[path[-1]]
        if new.vocab_size > old.vocab_size:
            more = [(0, 0), (0, 0)]
            more[axis] = (0, new.vocab_size - old.vocab_size)
            table = node[path[-1]] = np.pad(table, more)
        if axis == 0:
            table[rows] = table[sources]
        else:
            table[:, rows] = table[:, sources]
    named = {f"{row} {tokenizer.surfaces[row].decode()}": "unknown token" for row in copies if row < starts[0]}
    resized = {"table": f"{old.vocab_size} -> {new.vocab_size} rows"} if new.vocab_size > old.vocab_size else {}
    return named | {f"{starts[0]} text start": "pad token", f"{starts[1]} SMILES start": "pad token"} | resized


def _read_alignment(folder: Path, model: ModelConfig) -> dict | None:
    path = folder / ALIGNMENT
    if not path.is_file():
        return None
    flat = {name: np.asarray(tensor, np.float32) for name, tensor in open_safetensors(path).items()}
    heads = unflatten(flat)
    wanted = abstract_parameters(model)["alignment"]
    shapes = lambda tree: jax.tree.map(lambda leaf: tuple(leaf.shape), tree)  # noqa: E731
    if shapes(heads) != shapes(wanted):
        raise UserError(f"{path} does not hold the alignment heads that config.json describes")
    return heads


def _put_on_device(tree: dict) -> None:
    """Every leaf in place, so that two copies of no more than one leaf exist at a time.

    By a copy: an array that shares NumPy's memory is copied when it is saved, and all of them at once.
    """
    for key, value in tree.items():
        if isinstance(value, dict):
            _put_on_device(value)
        else:
            tree[key] = jnp.array(value, copy=True)


def _write(run: RunFolder, experiment: Experiment, tokenizer: Tokenizer, params: dict, record: dict) -> None:
    """The run folder, whole or not at all: made beside its place, then moved there."""
    from atomas_jax.training.checkpoints import write_weights

    run.path.parent.mkdir(parents=True, exist_ok=True)
    made = RunFolder(tempfile.mkdtemp(prefix=f".{run.path.name}-", dir=run.path.parent))
    try:
        made.path.chmod(0o755)
        tokenizer.save(made.tokenizer)
        _put_on_device(params)
        write_weights(made, 0, params)
        made.write_versions([device.device_kind for device in jax.devices()])
        write_json(made.imported, record)
        write_json(made.config, to_json(experiment))
        if run.path.exists():
            run.path.rmdir()
        made.path.rename(run.path)
    finally:
        if made.path.exists():
            shutil.rmtree(made.path)
