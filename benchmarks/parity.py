"""The field's own outputs measured by us, beside the numbers that were published with them.

    python -m benchmarks.parity --data ../shared/data --out parity.json

Sixteen prediction files of MolT5 and T5 and MolReGPT's of GPT-4, all on ChEBI-20 test. A value is compared with the
published one, but ROUGE, which MolT5's tables print for other decodings, with a recomputation by the packages
themselves. MolReGPT's captions are measured by its own protocol, its molecules against references as shipped, with
doubled backslashes, which is what it published. METEOR is measured without WordNet too, to tell what that changes.
"""

import argparse
import gzip
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from atomas_jax import progress
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.results import metric, versions_of
from atomas_jax.files import write_json

WITHIN = {"Levenshtein": 0.01, "Morgan": 0.0015, "Validity": 0.0015, "RDK": 0.007}
"""Beside 0.001 for every other metric. RDK's fingerprint has drifted: RDKit 2022.09 gives up to 0.0068 more than
2026.09 on the same molecules."""

WITHOUT_WORDNET = "METEOR without WordNet"


@dataclass(frozen=True)
class Case:
    """One column of outputs with its references, rows aligned, and the protocol it was published by."""

    name: str
    task: str
    protocol: str
    references: list[str]
    predictions: list[str]


def table(path: Path) -> dict[str, list[str]]:
    """Columns of a gzip'd, tab-separated, unquoted table."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        head, *rows = [line.rstrip("\n").split("\t") for line in file]
    return dict(zip(head, map(list, zip(*rows))))


def cases(data: Path) -> Iterator[Case]:
    """All columns of outputs, captions first."""
    predictions = data / "chebi20_predictions"
    by_gpt4, test = table(predictions / "molregpt_gpt4_0314.txt.gz"), table(data / "chebi20/test.txt.gz")
    place = {cid: row for row, cid in enumerate(by_gpt4["CID"])}
    order = [place[cid] for cid in test["CID"]]
    for task, file, given, asked, written in (
        ("captions", "molt5_smiles2caption.tsv.gz", "SMILES", "description", "molecule2caption"),
        ("molecules", "molt5_caption2smiles.tsv.gz", "description", "SMILES", "caption2molecule"),
    ):
        columns = table(predictions / file)
        for name, outputs in columns.items():
            if name not in ("CID", given, "ground truth"):
                yield Case(name, task, "molt5", columns["ground truth"], outputs)
        answers = by_gpt4[written]
        yield Case("molregpt_gpt4_0314", task, "molregpt", test[asked], [answers[row] for row in order])


def expected(data: Path) -> dict[tuple[str, str, str], float]:
    """(column, task, metric) to the value that is to be met."""
    found = {}
    lines = (data / "chebi20_predictions/published_metrics.tsv").read_text(encoding="utf-8").splitlines()[1:]
    for line in lines:
        column, _, kind, name, published, recomputed, _ = line.split("\t")
        value = recomputed if name.startswith("ROUGE") else published
        if value:
            task = "captions" if kind == "smiles2caption" else "molecules"
            found[column, task, name.removesuffix("_FTS")] = float(value)
    return found


def measure(case: Case, data: Path) -> dict[str, float]:
    """All metrics of a case by its protocol, and METEOR without WordNet."""
    if case.task == "molecules":
        result = molecule_metrics(case.references, case.predictions, case.protocol)
        return {name: score.value for name, score in result.scores.items()}
    file = "t5_spiece.model" if case.protocol == "molregpt" else "scibert_scivocab_uncased.vocab.txt"
    given = (case.references, case.predictions, case.protocol, data / "vocab" / file)
    result, bare = caption_metrics(*given, data / "wordnet"), caption_metrics(*given)
    return {name: score.value for name, score in result.scores.items()} | {WITHOUT_WORDNET: bare["METEOR"]}


def markdown(task: str, found: dict[str, dict[str, float]], wanted: dict[tuple[str, str, str], float]) -> str:
    """A task's table: models by metrics, "ours / theirs", and the largest deviation of each metric last."""
    names = list(dict.fromkeys(name for values in found.values() for name in values if _has(wanted, task, name)))
    lines = [f"| {task} | {' | '.join(names)} |", "| --- |" + " ---: |" * len(names)]
    for column, values in found.items():
        cells = []
        for name in names:
            value, other = values[name], wanted.get((column, task, name), math.nan)
            places = metric(name).decimals + 1
            cells.append(f"{value:.{places}f} / " + ("–" if math.isnan(other) else f"{other:g}"))
        lines.append(f"| {column} | {' | '.join(cells)} |")
    far = largest(task, found, wanted)
    lines.append("| **largest deviation** | " + " | ".join(f"{far[name]:.4f}" for name in names) + " |")
    return "\n".join(lines)


def largest(task: str, found: dict[str, dict[str, float]], wanted: dict[tuple[str, str, str], float]) -> dict:
    """The largest deviation of each metric of a task."""
    far: dict[str, float] = {}
    for (column, kind, name), value in wanted.items():
        if kind == task and column in found and name in found[column]:
            far[name] = max(far.get(name, 0.0), abs(found[column][name] - value))
    return far


def wordnet_table(found: dict[str, dict[str, float]]) -> str:
    """METEOR with and without WordNet."""
    lines = ["| captions | METEOR | without WordNet | difference |", "| --- | ---: | ---: | ---: |"]
    for column, values in found.items():
        full, bare = values["METEOR"], values[WITHOUT_WORDNET]
        lines.append(f"| {column} | {full:.4f} | {bare:.4f} | {bare - full:+.4f} |")
    return "\n".join(lines)


def _has(wanted: dict[tuple[str, str, str], float], task: str, name: str) -> bool:
    return any(kind == task and metric_name == name for _, kind, metric_name in wanted)


def main() -> None:
    """Measure, print the tables in Markdown, say what is too far; exit code 1 when something is."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="predictions, vocab, WordNet")
    parser.add_argument("--only", default="", help="only outputs whose name holds this")
    parser.add_argument("--out", type=Path, help="a JSON file for the values")
    options = parser.parse_args()
    chosen = [case for case in cases(options.data) if options.only in case.name]
    wanted = expected(options.data)
    found: dict[str, dict[str, dict[str, float]]] = {"captions": {}, "molecules": {}}
    for case in progress.track(chosen, "measure", len(chosen), "outputs"):
        found[case.task][case.name] = measure(case, options.data)
    too_far = []
    for task, values in found.items():
        if values:
            print(markdown(task, values, wanted), end="\n\n")
            far = largest(task, values, wanted)
            too_far += [f"{name} of {task}: {by:.4f}" for name, by in far.items() if by > WITHIN.get(name, 0.001)]
    if found["captions"]:
        print(wordnet_table(found["captions"]), end="\n\n")
    versions = versions_of("rdkit", "nltk", "rouge-score", "tokenizers", "sentencepiece", "rapidfuzz")
    print(json.dumps(versions))
    if options.out:
        write_json(options.out, {"values": found, "versions": versions})
    if too_far:
        raise SystemExit("beyond the tolerance: " + "; ".join(too_far))


if __name__ == "__main__":
    main()
