"""`atomas retrieve`: the nearest strings of a small library."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands.lines import read_lines
from atomas_jax.commands.molecule_lines import molecule_check, smiles_of
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

    Output: tab-separated lines of query, rank, score (cosine), line number in the library, hit. Lines of the library
    that should hold a molecule and do not are left out, and told of.

    Args:
      run: A run folder.
      queries: Texts (SMILES with --find texts), or none to read them from --file.
      library: What is searched: one SMILES a line, a name may follow it (or one text a line).
      file: One query a line; "-" is standard input.
      find: What the library holds.
      k: Hits a query.
      checkpoint: best, latest, or a step that was kept.
    """
    from atomas_jax.trained import load

    if k < 1:
        raise UserError(f"-k is {k}: want 1 or more")
    asked = list(read_lines(queries, file, "queries"))
    if not library.is_file():
        raise UserError(f"no library at {library}: give --library a file of one {find[:-1]} a line")
    candidates, fault_of = list(read_lines((), library, "library")), molecule_check()
    if find == "molecules":
        candidates = _molecules(candidates, library, fault_of)
    else:
        for number, query in asked:
            if fault := fault_of(query):
                raise UserError(f"query {number}: {fault}")
    model = load(run, checkpoint)
    with progress.bar("embed and search", len(asked) + len(candidates), "strings") as bar:
        queried, searched = [query for _, query in asked], [candidate for _, candidate in candidates]
        if find == "molecules":
            hits = model.find_molecules(queried, list(map(smiles_of, searched)), k, progress=bar.advance)
        else:
            hits = model.find_texts(list(map(smiles_of, queried)), searched, k, progress=bar.advance)
    for query, indices, scores in zip(queried, hits.index, hits.score):
        for rank, (index, score) in enumerate(zip(indices, scores), 1):
            number, candidate = candidates[index]
            # a tab, as before a molecule's name, would begin another column
            print(_cell(query), rank, f"{score:.4f}", number, _cell(candidate), sep="\t")


def _molecules(lines: list[tuple[int, str]], library: Path, fault_of: Callable[[str], str]) -> list[tuple[int, str]]:
    """The lines that hold a molecule; the others are told of. Raises UserError where none does."""
    faults = {number: fault for number, line in lines if (fault := fault_of(line))}
    if faults:
        number, fault = next(iter(faults.items()))
        told = (
            f"{library}: {len(faults):,} of {len(lines):,} lines hold no molecule; the first is line {number}: {fault}"
        )
        if len(faults) == len(lines):
            raise UserError(told)
        print(f"left out of {told}", file=sys.stderr)
    return [(number, line) for number, line in lines if number not in faults]


def _cell(string: str) -> str:
    return string.replace("\t", " ")
