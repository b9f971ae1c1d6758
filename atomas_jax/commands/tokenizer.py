"""`atomas tokenizer train` and `atomas tokenizer check`."""

from collections.abc import Iterator
from pathlib import Path

from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands.writable import check_folder
from atomas_jax.errors import UserError

SHIPPED_TOKENIZER = Path(__file__).parents[2] / "tokenizers" / "atomas-embedded"
"""There in a checkout of the project."""


def train(
    file: Positional[Path],
    out: Path,
    vocab_size: int = 4096,
    smiles: str = "",
    text: str = "",
    seed: int = 0,
) -> None:
    """Train one tokenizer for SMILES and text on a file of pairs.

    Args:
      file: TSV, CSV, JSONL or Parquet with a column of SMILES and one of text.
      out: Folder of the tokenizer.
      vocab_size: Ids at most, SMILES pieces and bytes included; a small file yields fewer.
      smiles: Column of the SMILES; found by its usual names when absent.
      text: Column of the text; found by its usual names when absent.
      seed: Of the sampling of long files.
    """
    from atomas_jax.corpus.configuration import Source
    from atomas_jax.corpus.readers import Record, read
    from atomas_jax.tokens.training import train as train_tokenizer

    check_folder(out)

    def column(name: str) -> Iterator[str]:
        for record in progress.track(read(Source(str(file), smiles=smiles, text=text)), f"read {name}"):
            if isinstance(record, Record):
                yield getattr(record, name)

    trained = train_tokenizer(column("text"), column("smiles"), vocab_size, at_most=True, seed=seed)
    trained.save(out)
    print(f"{out}: {trained.vocab_size:,} ids, sha256 {trained.sha256[:16]}")


def check(
    file: Positional[Path],
    tokenizer: Path | None = None,
    smiles: str = "",
    text: str = "",
) -> int:
    """Does a tokenizer give every SMILES and text of a file back as it was? Exit code 1 when it does not.

    Args:
      file: TSV, CSV, JSONL or Parquet of pairs, or a .smi list of SMILES.
      tokenizer: Folder of a tokenizer, run or prepared corpus, or T5's own spiece.model; the shipped one when absent.
      smiles: Column of the SMILES; found by its usual names when absent.
      text: Column of the text; found by its usual names when absent.
    """
    from atomas_jax.corpus.configuration import Source
    from atomas_jax.corpus.readers import Record, Reject, read
    from atomas_jax.tokens.checking import check

    loaded = _tokenizer_at(tokenizer)
    rows = list(progress.track(read(Source(str(file), smiles=smiles, text=text)), "read"))
    records = [row for row in rows if isinstance(row, Record)]
    refused = [row for row in rows if isinstance(row, Reject)]
    first = f" (the first on line {refused[0].line}: {refused[0].reason})" if refused else ""
    print(f"rows read {len(records):,}, refused by the reader {len(refused):,}{first}")
    lossless = True
    for what, strings in (("smiles", [r.smiles for r in records]), ("text", [r.text for r in records if r.text])):
        if strings:
            report = check(progress.track(strings, f"check {what}"), loaded, what)
            print(report.table())
            lossless &= report.lossless == report.count
    return 0 if lossless else 1


def _tokenizer_at(path: Path | None):
    """The tokenizer of its own folder, of a run or prepared corpus, of T5's file, or the shipped one."""
    from atomas_jax.tokens.tokenizer import Tokenizer

    if path is None:
        path = SHIPPED_TOKENIZER
        if not path.is_dir():
            raise UserError("no tokenizer is shipped with this installation: name one with --tokenizer")
    if path.is_file():
        return Tokenizer.from_t5(path)
    inner = path / "tokenizer"
    return Tokenizer.load(inner if inner.is_dir() else path)
