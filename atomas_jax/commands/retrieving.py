"""`atomas retrieve`: the nearest strings of a small library."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands.lines import read_lines
from atomas_jax.errors import UserError


def retrieve(
    run: Positional[Path],
    queries: Positional[tuple[str, ...]] = (),
    library: Path = Path(),
    file: Path | None = None,
    find: Literal["molecules", "texts"] = "molecules",
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10,
    checkpoint: str = "best",
) -> None:
    """The molecules of a library nearest to texts, or the texts nearest to molecules.

    Output: tab-separated lines of query, rank, score (cosine), line number in the library, hit.

    Args:
      run: A run folder.
      queries: Texts (SMILES with --find texts), or none to read them from --file.
      library: What is searched: one SMILES (or text) a line.
      file: One query a line; "-" is standard input.
      find: What the library holds.
      k: Hits a query.
      checkpoint: best, latest, or a step that was kept.
    """
    from atomas_jax.trained import load

    if k < 1:
        raise UserError(f"-k is {k}: want 1 or more")
    asked = [query for _, query in read_lines(queries, file, "queries")]
    if not library.is_file():
        raise UserError(f"no library at {library}: give --library a file of one {find[:-1]} a line")
    numbers, candidates = zip(*read_lines((), library, "library"))
    model = load(run, checkpoint)
    search = model.find_molecules if find == "molecules" else model.find_texts
    with progress.bar("embed and search", len(asked) + len(candidates), "strings") as bar:
        hits = search(asked, candidates, k, progress=bar.advance)
    for query, indices, scores in zip(asked, hits.index, hits.score):
        for rank, (index, score) in enumerate(zip(indices, scores), 1):
            print(f"{query}\t{rank}\t{score:.4f}\t{numbers[index]}\t{candidates[index]}")
