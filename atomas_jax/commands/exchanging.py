"""`atomas import` and `atomas export`: T5 checkpoints in, Hugging Face folders out."""

from pathlib import Path

from tyro.conf import Positional

from atomas_jax import progress


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

    checkpoint = open_checkpoint(source)
    with progress.bar("import", len(checkpoint.tensors), "tensors") as bar:
        made = import_checkpoint(checkpoint, run, tokenizer, seed, bar.advance)
    fresh = f"; fresh: {', '.join(made.fresh)}" if made.fresh else ""
    print(
        f"{run}: {made.parameters:,} numbers of {made.dtype}{fresh}; what was done to them is in {run / 'import.json'}"
    )
