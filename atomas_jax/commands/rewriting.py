"""`atomas caption` and `atomas generate`: one language into the other, line by line."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands import Unprefixed
from atomas_jax.commands.lines import output, read_lines
from atomas_jax.config import DecodingOverrides
from atomas_jax.errors import UserError


def caption(
    run: Positional[Path],
    molecules: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    checkpoint: str = "best",
    batch_size: int = 64,
    decoding: Annotated[DecodingOverrides, Unprefixed] = DecodingOverrides(),  # noqa: B008  (frozen)
) -> None:
    """Captions for SMILES. Output: tab-separated lines of input and caption, in input order.

    Args:
      run: A run folder.
      molecules: SMILES, or none to read them from --file.
      file: One SMILES a line; "-" is standard input.
      out: File to write; standard output when absent.
      checkpoint: best, latest, or a step that was kept.
      batch_size: Strings decoded together.
    """
    _rewrite(run, "write_captions", "caption", molecules, file, out, checkpoint, batch_size, decoding)


def generate(
    run: Positional[Path],
    texts: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    checkpoint: str = "best",
    batch_size: int = 64,
    decoding: Annotated[DecodingOverrides, Unprefixed] = DecodingOverrides(),  # noqa: B008  (frozen)
) -> None:
    """SMILES for texts. Output: tab-separated lines of text and SMILES, in input order.

    Args:
      run: A run folder.
      texts: Descriptions, or none to read them from --file.
      file: One description a line; "-" is standard input.
      out: File to write; standard output when absent.
      checkpoint: best, latest, or a step that was kept.
      batch_size: Strings decoded together.
    """
    _rewrite(run, "write_molecules", "generate", texts, file, out, checkpoint, batch_size, decoding)


def _rewrite(
    run: Path, method: str, title: str, given, file, out, checkpoint, batch_size: int, decoding: DecodingOverrides
) -> None:
    from atomas_jax.trained import load

    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}: want 1 or more")
    inputs = [string for _, string in read_lines(given, file, "inputs")]
    with output(out) as stream:
        model = load(run, checkpoint)
        with progress.bar(title, len(inputs), "strings") as bar:
            written = getattr(model, method)(inputs, progress=bar.advance, batch_size=batch_size, **decoding.given())
            for string, outputs in zip(inputs, written):
                for answer in outputs:
                    print(f"{string}\t{' '.join(answer.split())}", file=stream, flush=out is None)
