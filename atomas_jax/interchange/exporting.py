"""From a run folder to one that `transformers` loads, with the alignment heads beside and a model card."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from atomas_jax.errors import UserError
from atomas_jax.files import write_json, write_whole
from atomas_jax.interchange import fast_tokenizers
from atomas_jax.interchange.folder import ALIGNMENT, ATOMAS, TOKENIZER, flatten
from atomas_jax.interchange.huggingface import config_to_huggingface, state_items
from atomas_jax.interchange.model_card import model_card
from atomas_jax.interchange.weight_files import SHARD_BYTES, write_tensors
from atomas_jax.run_folder import RunFolder, read_json
from atomas_jax.trained import TrainedModel, load

CAPTIONS, MOLECULES = "generation_config.json", "generation_molecules.json"
SMILES_TOKENIZER = "tokenizer_smiles"
_DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16}


def export(
    run_folder: Path,
    folder: Path,
    checkpoint: str = "best",
    dtype: str | None = None,
    stablehlo: tuple[int, ...] = (),
    shard_bytes: int = SHARD_BYTES,
    on_progress: Callable[[int], None] | None = None,
) -> Path:
    """Write a run as a Hugging Face folder; returns the folder.

    Args:
      folder: a new or empty folder; it appears whole or not at all.
      checkpoint: as `trained.load`.
      dtype: "float32" or "bfloat16" of the transformer's weights; None is that of the import where no step has been
        trained since, else float32. The alignment heads are float32.
      stablehlo: lengths in tokens for which the embedding programs are written too (see `stablehlo`).
      shard_bytes: greatest size of a file of weights.
      on_progress: called with the number of tensors written since its last call.

    Raises:
      UserError: no such run or checkpoint; a folder that is not empty or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not empty: name a new folder")
    model = load(run_folder, checkpoint)
    run = RunFolder(run_folder)
    dtype = dtype or _own_dtype(run, model.step)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        made.chmod(0o755)
        write_tensors(made, _weights(model, dtype, on_progress), shard_bytes)
        save_file(dict(flatten(model.params["alignment"])), made / ALIGNMENT)
        write_json(made / "config.json", _config(model, dtype))
        write_json(made / CAPTIONS, _generation(model, model.tokenizer.text_start_id, model.tokenizer.text_ids))
        write_json(made / MOLECULES, _generation(model, model.tokenizer.smiles_start_id, model.tokenizer.smiles_ids))
        _write_tokenizers(model, made)
        if stablehlo:
            from atomas_jax.interchange.stablehlo import write_programs

            write_programs(model, made, stablehlo)
        write_whole(made / "README.md", model_card(run, model, folder.name, dtype, stablehlo))
        if folder.exists():
            folder.rmdir()
        made.rename(folder)
    finally:
        if made.exists():
            shutil.rmtree(made)
    return folder


def _own_dtype(run: RunFolder, step: int | None) -> str:
    if step == 0 and run.imported.is_file():
        return "bfloat16" if read_json(run.imported)["dtype"] == "bfloat16" else "float32"
    return "float32"


def _weights(model: TrainedModel, dtype: str, on_progress) -> Iterator[tuple[str, np.ndarray]]:
    for name, array in state_items(model.params["transformer"], model.config.transformer):
        yield name, array.astype(_DTYPES[dtype], copy=False)
        if on_progress:
            on_progress(1)


def tensor_count(run_folder: Path) -> int:
    """How many tensors `export` will write of a run."""
    from atomas_jax.config import from_json
    from atomas_jax.interchange.huggingface import tensor_names

    run = RunFolder(run_folder)
    return len(tensor_names(from_json(run.read_config(), str(run.config)).model.transformer))


def _config(model: TrainedModel, dtype: str) -> dict:
    return config_to_huggingface(model.config.transformer) | {
        "decoder_start_token_id": model.tokenizer.text_start_id,
        "dtype": dtype,
        ATOMAS: {
            "alignment": asdict(model.config.alignment),
            "text_start_id": model.tokenizer.text_start_id,
            "smiles_start_id": model.tokenizer.smiles_start_id,
        },
    }


def _generation(model: TrainedModel, start: int, allowed: np.ndarray) -> dict:
    """Settings with which `generate` writes what ours does: the direction's start, and only its tokens."""
    written = np.zeros(model.config.transformer.vocab_size, bool)
    written[: len(allowed)] = allowed
    decoding = model.experiment.decoding
    return {
        "decoder_start_token_id": start,
        "pad_token_id": model.tokenizer.pad_id,
        "eos_token_id": model.tokenizer.eos_id,
        "max_new_tokens": decoding.max_length,
        "num_beams": decoding.beams if decoding.method == "beam" else 1,
        "do_sample": False,
        "suppress_tokens": np.flatnonzero(~written).tolist(),
    }


def _write_tokenizers(model: TrainedModel, folder: Path) -> None:
    tokenizer = model.tokenizer
    tokenizer.save(folder / TOKENIZER)
    fast_tokenizers.text_tokenizer(tokenizer).save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", fast_tokenizers.settings())
    if tokenizer.kind == "atomwise":
        beside = folder / SMILES_TOKENIZER
        beside.mkdir()
        fast_tokenizers.smiles_tokenizer(tokenizer).save(str(beside / "tokenizer.json"))
        write_json(beside / "tokenizer_config.json", fast_tokenizers.settings())
