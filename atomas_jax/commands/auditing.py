"""`atomas leakage`: what a test file shares with a training file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands.writable import check_writable
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError

if TYPE_CHECKING:
    from atomas_jax.corpus.readers import Record
    from atomas_jax.evaluation.leakage import Audit

_LONGEST = 96  # characters of an example on the terminal


def leakage(
    train: Positional[Source],
    test: Positional[Source],
    out: Path | None = None,
    near: float = 0.9,
    examples: int = 1,
) -> None:
    """Which test molecules and captions are in the training file: exactly, as stereo twins, by scaffold, nearly.

    Args:
      train: A file of pairs or SMILES, as in `atomas prepare --sources`: FILE[,smiles=COLUMN,text=COLUMN,...].
      test: Another.
      out: A TSV to write every leaking row to, with the first training row it meets.
      near: Share of words in common that makes two captions nearly one.
      examples: Shown of each kind.
    """
    from atomas_jax.evaluation.leakage import audit

    if not 0 < near <= 1:
        raise UserError(f"--near is {near}: want a share above 0 and at most 1")
    check_writable(out)
    sides = {"training": _read(train), "test": _read(test)}
    rows = {side: kept for side, (kept, _) in sides.items()}
    with progress.bar("audit", sum(map(len, rows.values())), "molecules") as bar:
        found = audit(rows["training"], rows["test"], near, progress=progress.counter(bar))
    for side, (kept, refused) in sides.items():
        print(f"{side}: {kept[0].file}, {len(kept):,} rows" + (f" ({refused:,} refused)" if refused else ""))
    Console().print(_table(found))
    for line in _examples(found, rows["training"], rows["test"], examples):
        print(line)
    if unreadable := found.train_unreadable + found.test_unreadable:
        print(f"{unreadable:,} SMILES are no molecules and were compared as strings only.")
    if not any(kind.kind.family == "captions" for kind in found.found):
        print("Captions were not compared: only one of the files has them, or neither.")
    if out is not None:
        from atomas_jax.files import write_whole

        write_whole(out, _tsv(found, rows["training"], rows["test"]))
        print(f"rows: {out}")


def _read(source: Source):
    """(records, number of refused rows); captions where the file has a caption column or one was named."""
    from atomas_jax.corpus import readers

    def rows(captions: bool):
        read = list(progress.track(readers.read(source, captions=captions), f"read {source.label}"))
        records = [row for row in read if isinstance(row, readers.Record)]
        if not records:
            raise UserError(f"{source.path} holds no row that can be read; the first: {read[0].reason}")
        return records, len(read) - len(records)

    if source.text:
        return rows(captions=True)
    try:
        return rows(captions=True)
    except UserError:  # no caption column: where something else is wrong, the second reading says what
        return rows(captions=False)


def _table(found: Audit) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left", caption_style="dim")
    for name in ("test rows in training by", "rows", "share", "new", "training", "distinct"):
        table.add_column(name, justify="right" if table.columns else "left", no_wrap=True)
    for one in found.found:
        counts = (f"{n:,}" for n in (len(one.new), one.train_rows, one.forms))
        table.add_row(one.kind.name, f"{len(one.leaks):,}", f"{len(one.leaks) / found.test_rows:.1%}", *counts)
    table.caption = "new: by no stricter kind of its family; training: rows met; distinct: values"
    return table


def _examples(found: Audit, train: Sequence[Record], test: Sequence[Record], count: int) -> Iterator[str]:
    """Lines: what each kind means, and test rows no stricter kind had found beside the training row they meet."""
    for one in found.found:
        if shown := one.new[:count]:
            yield f"{one.kind.name}: {one.kind.meaning}"
        for leak in shown:
            for side, row in (("test", test[leak.test]), ("training", train[leak.train])):
                text = row.smiles if one.kind.family == "molecules" else " ".join(row.text.split())
                cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
                yield f"  {side:<8} {row.id}  {cut}"


def _tsv(found: Audit, train: Sequence[Record], test: Sequence[Record]) -> str:
    columns = ("line", "id", "smiles", "caption")
    lines = ["\t".join(("kind", *(f"{side}_{c}" for side in ("test", "train") for c in columns), "train_matches"))]
    for one in found.found:
        for leak in one.leaks:
            cells = [one.kind.name]
            for row in (test[leak.test], train[leak.train]):
                cells += [str(row.line), row.id, row.smiles, row.text]
            lines.append("\t".join(" ".join(cell.split()) for cell in (*cells, str(leak.matches))))
    return "\n".join(lines) + "\n"
