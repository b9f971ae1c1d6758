"""`atomas search`: molecules of an index for texts or for molecules."""

from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands.indexing import model_of
from atomas_jax.commands.lines import read_lines
from atomas_jax.commands.writable import check_writable
from atomas_jax.errors import UserError
from atomas_jax.files import write_whole

BATCH = 64
"""Questions asked at a time."""


def search(
    index: Positional[Path],
    queries: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    smiles: bool = False,
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10,
    but_not: tuple[str, ...] = (),
    where: tuple[str, ...] = (),
    require_smarts: tuple[str, ...] = (),
    forbid_smarts: tuple[str, ...] = (),
    similar_to: str = "",
    rerank: int = 0,
    also: tuple[Path, ...] = (),
    twins: bool = False,
    exact: bool = False,
    answer_always: bool = False,
    format: Literal["tsv", "json", "html"] = "tsv",
    out: Path | None = None,
    run: Path | None = None,
    checkpoint: str | None = None,
) -> None:
    """Find the molecules that texts describe, or that are like a molecule.

    Args:
      index: Folder of an index.
      queries: Descriptions (or SMILES), or none to read them from --file.
      file: One a line; "-" is standard input.
      smiles: The queries are molecules.
      k: Hits of a query. Stereo twins are one hit.
      but_not: Descriptions of what is not wanted, as in "a steroid".
      where: Conditions, as in "weight<500" "logp>=2" "charge=0" "formula=C9H8O4" "name~azole".
      require_smarts: Substructures all of which a hit has.
      forbid_smarts: Substructures none of which a hit has.
      similar_to: SMILES to compare hits with (Morgan, Tanimoto); a query that is a molecule is compared by itself.
      rerank: Rank that many of the first hits again by the interaction of their atoms with the text's words.
      also: Indices of the same molecules by other runs: ranks are added.
      twins: Stereo twins are hits of their own.
      exact: Look at every molecule, though the index has an approximate engine.
      answer_always: Give the nearest molecules where nothing matches, too.
      format: tsv, json, or an html page with drawn molecules.
      out: File to write; standard output when absent.
      run: The run that made the index, where it has moved.
      checkpoint: Of it; the one that made the index when absent.
    """
    from atomas_jax.chemistry.molecules import parse
    from atomas_jax.retrieval import showing
    from atomas_jax.retrieval.conditions import conditions
    from atomas_jax.retrieval.ensemble import find_together
    from atomas_jax.retrieval.finder import Finder, Question, SearchSettings
    from atomas_jax.retrieval.index import Index

    check_writable(out)
    settings = SearchSettings(k, rerank, twins, exact, answer_always)
    if also and rerank:
        raise UserError("--also and --rerank exclude each other: ranks of several runs are not reranked by one")
    questions = []
    for number, query in read_lines(queries, file, "queries"):
        try:
            if smiles:
                parse(query)
            questions.append(Question(smiles=query, but_not=but_not) if smiles else Question(query, but_not=but_not))
        except UserError as error:
            raise UserError(f"query {number}: {error}") from None
    if similar_to:
        parse(similar_to)
    opened = Index.open(index)
    asked = conditions(opened, where, require_smarts, forbid_smarts)
    others = [Index.open(other) for other in also]
    finders = [Finder(opened, model_of(opened, run, checkpoint)), *(Finder(each, model_of(each)) for each in others)]
    answers = []
    with progress.bar("search", len(questions), "queries") as bar:
        for start in range(0, len(questions), BATCH):
            batch = questions[start : start + BATCH]
            if others:
                answers += find_together(finders, batch, settings, asked, similar_to)
            else:
                answers += finders[0].find(batch, settings, asked, similar_to)
            bar.advance(len(batch))
    if format == "tsv":
        shown = "\n".join(showing.as_lines(answers, opened.columns))
    elif format == "json":
        shown = showing.as_json(answers, opened.columns)
    else:
        shown = showing.as_page(answers, opened.columns, f"{len(opened):,} molecules of {index}")
    if out:
        write_whole(out, shown + "\n")
    else:
        print(shown)
