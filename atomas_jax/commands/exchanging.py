"""`atomas import` and `atomas export`: T5 checkpoints in, Hugging Face folders out."""

from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands.writable import check_folder


def import_(source: Positional[str], run: Positional[Path], tokenizer: Path | None = None, seed: int = 0) -> None:
    r"""A T5 checkpoint -> a run folder that captions, generates, is evaluated and trained on.

    Reads Hugging Face folders (T5, T5 v1.1, MolT5, mT5's layout; safetensors, sharded or not, or pytorch_model.bin
    without running its code), T5X checkpoints, and what `atomas export` wrote. T5's missing characters (\ { } ~ ^ <
    and the backquote) get unused ids and start as copies of the unknown token; import.json in the run says so.

    Args:
      source: A folder, or a model's name on the Hugging Face hub.
      run: The new run folder.
      tokenizer: T5's spiece.model, or a tokenizer folder, where the checkpoint has none.
      seed: Of the alignment heads, which no T5 checkpoint has.
    """
    from atomas_jax.interchange.importing import import_checkpoint, open_checkpoint

    check_folder(run)
    checkpoint = open_checkpoint(source)
    with progress.bar("import", len(checkpoint.tensors), "tensors") as bar:
        made = import_checkpoint(checkpoint, run, tokenizer, seed, bar.advance)
    fresh = f"; fresh: {', '.join(made.fresh)}" if made.fresh else ""
    print(
        f"{run}: {made.parameters:,} numbers of {made.dtype}{fresh}; what was done to them is in {run / 'import.json'}"
    )


def export(
    run: Positional[Path],
    folder: Positional[Path],
    checkpoint: str = "best",
    dtype: Literal["float32", "bfloat16"] | None = None,
    stablehlo: tuple[int, ...] = (),
) -> None:
    """A run folder -> a folder for `transformers`: weights, tokenizer, alignment heads, a model card that tells how.

    Args:
      run: A run folder.
      folder: The new folder.
      checkpoint: best, latest, or a step that was kept.
      dtype: Of the transformer's weights; that of an import not trained since, else float32, when absent.
      stablehlo: Lengths in tokens to write embedding programs for, which jax alone can serve (as 64 128 256).
    """
    from atomas_jax.interchange.exporting import export as write
    from atomas_jax.interchange.exporting import tensor_count

    check_folder(folder)
    with progress.bar("export", tensor_count(run), "tensors") as bar:
        write(run, folder, checkpoint, dtype, stablehlo, on_progress=bar.advance)
    print(f"{folder}: README.md tells how to use it")
