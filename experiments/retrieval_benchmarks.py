"""The field's retrieval protocols on a run of ours: ChEBI-20, PCdes, CHEMIchoice, and what the second stage adds.

    python experiments/retrieval_benchmarks.py runs/open_pairs --data ../shared/data

Prints a stamped table for each pool and direction with chance beside it, then the published rows of the same pool,
apart: they were trained on other data. Writes the tables to RUN/evaluation/retrieval/results.json, and embeddings
beside it, so that a stopped call goes on where it was. `--limit` takes the first rows of every test set, to try it.
"""

import argparse
import gzip
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table as RichTable

import atomas_jax
from atomas_jax import progress
from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.readers import Record, read
from atomas_jax.decoding.rerank import agreement
from atomas_jax.errors import UserError
from atomas_jax.evaluation import ranking, results, tables
from atomas_jax.evaluation.molecule_keys import read_distractors
from atomas_jax.evaluation.ranking_protocols import RANKINGS, ranking_protocol
from atomas_jax.evaluation.results import Results
from atomas_jax.files import write_json
from atomas_jax.retrieval.index import fingerprint
from atomas_jax.trained import TrainedModel

DATA = Path(os.environ.get("ATOMAS_PAIRS", Path(__file__).resolve().parents[2] / "shared" / "data"))
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the interaction of tokens in the second stage; the cosine of the whole strings has the rest."""

# Pool, direction, system, R@1, R@10, mean rank, MRR, source. Trained on all of ChEBI-20 or PCdes.
PUBLISHED = (
    ("text2mol33k", "text to molecule", "Text2Mol MLP1", 0.224, 0.686, 30.38, 0.372, "its README"),
    ("text2mol33k", "text to molecule", "Text2Mol GCN2", 0.223, 0.689, 41.90, 0.371, "its README"),
    ("text2mol33k", "text to molecule", "Text2Mol, all as ensemble", 0.344, 0.811, 20.21, 0.499, "its README"),
    ("text2mol33k", "text to molecule", "AMAN (pool not confirmed)", 0.494, 0.921, 16.01, 0.647, "its paper"),
    ("split", "text to molecule", "ORMA", 0.665, None, None, None, "its abstract; pool by its released code"),
    ("pcdes-batch64", "molecule to text", "MolCA", 0.864, None, None, None, "quoted in a later paper"),
    ("pcdes-batch64", "molecule to text", "LDMol, 25 draws", 0.903, None, None, None, "quoted in a later paper"),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every protocol and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with chebi20/ and pcdes/")
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--limit", type=int, default=0, help="test rows of each set; 0: all")
    parser.add_argument("--pool-limit", type=int, default=0, help="further molecules of Text2Mol's pool; 0: all")
    parser.add_argument("--rerank-queries", type=int, default=200, help="texts the second stage is tried on; 0: none")
    parser.add_argument("--rerank-candidates", type=int, default=20)
    options = parser.parse_args(arguments)
    try:
        run(options)
    except UserError as error:
        sys.exit(f"retrieval_benchmarks: {error}")


def run(options: argparse.Namespace) -> None:
    """As `main`, with parsed options."""
    model = atomas_jax.load(options.run, options.checkpoint)
    folder = options.run / "evaluation" / "retrieval"
    embedded = Embedded(model, folder)
    console = Console()
    told: dict = {}

    texts, smiles = pairs(options.data / "chebi20" / "test.txt.gz", options.limit)
    text_vectors, molecule_vectors = embedded("text", texts), embedded("molecules", smiles)
    for name in ("split", "in-batch64"):
        told |= show(console, name, texts, smiles, text_vectors, molecule_vectors)
    source = Source(str(options.data / "chebi20" / "cid_to_smiles.tsv.gz"))
    others = read_distractors(source, smiles).smiles[: options.pool_limit or None]
    pool = np.concatenate([molecule_vectors, embedded("molecules", others)])
    told |= show(console, "text2mol33k", texts, smiles + others, text_vectors, pool, len(texts))
    if options.rerank_queries:
        told["second stage"] = second_stage(console, model, texts, smiles, text_vectors, molecule_vectors, options)

    texts, smiles = pairs(options.data / "pcdes" / "test.txt.gz", options.limit)
    text_vectors, molecule_vectors = embedded("text", texts), embedded("molecules", smiles)
    for name in ("pcdes", "pcdes-batch64"):
        told |= show(console, name, texts, smiles, text_vectors, molecule_vectors)

    told |= choices(console, options.data / "pcdes", embedded, options.limit)
    print(f"written: {write_json(folder / 'results.json', told)}")


class Embedded:
    """Embeddings of lists of strings, kept in a folder."""

    def __init__(self, model: TrainedModel, folder: Path):
        self._model, self._folder, self._made_by = model, folder, fingerprint(model)
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, what: str, strings: list[str], part: int = 2048) -> np.ndarray:
        """float32 [N, E]; what: text or molecules."""
        embed = self._model.embed_text if what == "text" else self._model.embed_molecules
        parts = [np.zeros((0, self._model.config.alignment.embedding_dim), np.float32)]
        with progress.bar(f"embed {what}", len(strings), "strings") as bar:
            for start in range(0, len(strings), part):
                chosen = strings[start : start + part]
                path = self._folder / f"{what}-{results.data_hash([self._made_by], chosen)}.npy"
                if path.is_file():
                    parts.append(np.load(path))
                    bar.advance(len(chosen))
                    continue
                parts.append(embed(chosen, progress=bar.advance))
                partial = path.with_suffix(".partial.npy")
                np.save(partial, parts[-1])
                partial.replace(path)
        return np.concatenate(parts)


def pairs(path: Path, limit: int) -> tuple[list[str], list[str]]:
    """Texts and SMILES of a test file; its rows are all kept, molecules that RDKit refuses too."""
    rows = [row for row in read(Source(str(path))) if isinstance(row, Record)][: limit or None]
    return [row.text for row in rows], [row.smiles for row in rows]


def show(
    console: Console, name: str, texts: list, smiles: list, text_vectors, molecule_vectors, count: int | None = None
) -> dict:
    """Rank by a protocol both ways and print; returns what is written."""
    rule = ranking_protocol(name)
    found, _ = ranking.both_directions(
        text_vectors, molecule_vectors, ranking.Pairs(count or len(texts)), name, results.data_hash(smiles, texts)
    )
    measured: Results = {}
    for direction, result in found.items():
        size = len(smiles) if direction == "text to molecule" else len(texts)
        beside = ranking.chance(result.stamp.rows, size, result, rule.batch)
        measured[f"{name}: {direction}"] = {"model": result, "chance": beside}
    tables.print_results(measured, console)
    for direction in found:
        print_published(console, name, direction)
    return as_values(measured)


def as_values(measured: Results) -> dict:
    """Values, intervals and stamps."""
    return {
        heading: {
            "stamp": vars(table["model"].stamp),
            **{
                system: {name: [score.value, score.low, score.high] for name, score in result.scores.items()}
                for system, result in table.items()
            },
        }
        for heading, table in measured.items()
    }


def print_published(console: Console, name: str, direction: str) -> None:
    """The published rows of one pool and direction, if there are any."""
    rows = [row[2:] for row in PUBLISHED if row[:2] == (name, direction)]
    if not rows:
        return
    title = f"published, {name} ({RANKINGS[name].pool}), {direction}; trained on other data than this run"
    table = RichTable(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "R@1", "R@10", "Mean rank", "MRR", "source"):
        table.add_column(heading)
    for system, *values, source in rows:
        table.add_row(system, *("–" if value is None else f"{value:g}" for value in values), source)
    console.print(table)


def second_stage(
    console: Console, model: TrainedModel, texts, smiles, text_vectors, molecule_vectors, options: argparse.Namespace
) -> dict:
    """R@1 and MRR with and without the second stage on the same texts among the test molecules, and its cost."""
    count = min(options.rerank_candidates, len(smiles))
    chosen = np.sort(
        np.random.default_rng(0).choice(len(texts), min(options.rerank_queries, len(texts)), replace=False)
    )
    cosines = text_vectors[chosen] @ molecule_vectors.T
    order = np.argsort(-cosines, axis=1, kind="stable")
    first = 1 + np.argmax(order == chosen[:, None], axis=1)
    tokenizer = model.tokenizer
    agree = np.zeros((len(chosen), count), np.float32)

    def score(places: Sequence[int]) -> None:
        sides = [(tokenizer.encode_smiles(smiles[m]), tokenizer.encode_text(texts[chosen[p]])) for p in places
                 for m in order[p, :count]]  # fmt: skip
        both = [list(side) for side in zip(*sides)]
        agree[list(places)] = agreement(model.params, model.config, *both, by="tokens").reshape(-1, count)

    seconds = timed(score, range(len(chosen)))
    near = np.take_along_axis(cosines, order[:, :count], 1)
    outcome = {"queries": len(chosen), "pool": len(smiles), "candidates": count, "seconds": seconds, "weights": {}}
    table = RichTable(
        title=f"second stage: {count} candidates of {len(smiles):,} molecules for {len(chosen)} texts, "
        f"{1000 * seconds / len(chosen):.0f} ms a text, compilation included",
        title_justify="left", box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for heading in ("weight of the interaction", "R@1", "MRR", "MRR less that of the first stage"):
        table.add_column(heading)
    for weight in WEIGHTS:
        mixed = np.argsort(-((1 - weight) * near + weight * agree), axis=1, kind="stable")
        place = np.argmax(np.take_along_axis(order[:, :count], mixed, 1) == chosen[:, None], axis=1) + 1
        ranks = np.where(first <= count, place, first)
        gain = 1 / ranks - 1 / first
        wide = 1.96 * gain.std() / len(gain) ** 0.5
        outcome["weights"][weight] = {"R@1": (ranks == 1).mean(), "MRR": (1 / ranks).mean(), "gain": gain.mean()}
        shown = "" if weight == 0 else f"{gain.mean():+.4f} ± {wide:.4f}"
        table.add_row(f"{weight:g}", f"{(ranks == 1).mean():.3f}", f"{(1 / ranks).mean():.4f}", shown)
    console.print(table)
    return outcome


def timed(work: Callable, items: Sequence, part: int = 16) -> float:
    """Seconds that work takes on all items, a part at a time."""
    started = time.perf_counter()
    with progress.bar("second stage", len(items), "texts") as bar:
        for start in range(0, len(items), part):
            work(items[start : start + part])
            bar.advance(len(items[start : start + part]))
    return time.perf_counter() - started


def choices(console: Console, folder: Path, embedded: Embedded, limit: int) -> dict:
    """CHEMIchoice (KV-PLM, 2022): which of four sentences is of the molecule."""
    asked = questions(folder / "chemichoice_PCdes_for_human0725.txt.gz")
    with gzip.open(folder / "chemichoice_PCdes_human_ans0725.txt.gz", "rt", encoding="utf-8") as file:
        letters = file.read().split()
    if len(asked) != len(letters):
        raise UserError(f"{len(asked)} questions of CHEMIchoice but {len(letters)} answers")
    asked, right = asked[: limit or None], ["ABCD".index(letter) for letter in letters[: limit or None]]
    molecules = embedded("molecules", [smiles for smiles, _ in asked])
    options = embedded("text", [text for _, four in asked for text in four]).reshape(len(asked), 4, -1)
    found = ranking.rank_similarity(np.einsum("qe,qoe->qo", molecules, options), np.array(right))
    result = ranking.ranking_metrics(
        found.ranks, 4, "CHEMIchoice, four sentences", "molecule to text", (1,), protocol="chemichoice",
        data=results.data_hash([smiles for smiles, _ in asked], letters),
    )  # fmt: skip
    measured = {"CHEMIchoice": {"model": result, "chance": ranking.chance(len(asked), 4, result)}}
    tables.print_results(measured, console)
    return as_values(measured)


def questions(path: Path) -> list[tuple[str, list[str]]]:
    """SMILES and four sentences of every question."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        blocks = re.split(r"【\d+】", file.read())[1:]
    found = []
    for block in blocks:
        smiles = re.search(r"^SMILES: *(\S+)", block, re.MULTILINE)
        options = dict(re.findall(r"^([A-D])\. *(.+?) *$", block, re.MULTILINE))
        if not smiles or sorted(options) != list("ABCD"):
            raise UserError(
                f"{path}: question {len(found)} has no SMILES or not four sentences: {json.dumps(block[:80])}"
            )
        found.append((smiles[1], [options[letter] for letter in "ABCD"]))
    return found


if __name__ == "__main__":
    main()
