"""How long the caption suite and the molecule suite take, against the straightforward loop over the same libraries.

    python -m benchmarks.evaluation --data ../shared/data --out evaluation.json

The loop is what an evaluation script does: one process, one row after another, NLTK, rouge_score, rapidfuzz and RDKit
called as their documentation says, molecules parsed anew by each measure. It gives values only; the suites give 95 %
intervals, exactness without stereo and uniqueness besides. Both are timed from lists of strings to numbers, once, and
the largest difference between their numbers is reported. WordNet is opened before the loop starts.
"""

import argparse
import contextlib
import functools
import gzip
import json
import os
import platform
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import nltk.data
import numpy as np
from nltk.corpus import wordnet
from nltk.translate.bleu_score import corpus_bleu
from nltk.translate.meteor_score import meteor_score
from rapidfuzz.distance import Levenshtein
from rdkit import Chem, rdBase
from rdkit.Chem import MACCSkeys, rdFingerprintGenerator
from rdkit.DataStructs import TanimotoSimilarity
from rich.console import Console
from rich.table import Table
from rouge_score.rouge_scorer import RougeScorer

from atomas_jax import progress
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.results import versions_of
from atomas_jax.files import write_json
from tokenizers import BertWordPieceTokenizer


def caption_loop(references: list[str], predictions: list[str], vocabulary: Path, wordnet) -> dict[str, float]:
    """BLEU, METEOR and ROUGE of captions, one row after another."""
    tokenizer = BertWordPieceTokenizer(str(vocabulary), lowercase=True)
    tokenizer.enable_truncation(512)
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"])
    there, here, meteors, rouges = [], [], [], []
    for reference, prediction in progress.track(list(zip(references, predictions)), "caption loop"):
        a, b = (tokenizer.encode(text, add_special_tokens=False).tokens for text in (reference, prediction))
        there.append([a])
        here.append(b)
        meteors.append(meteor_score([a], b, wordnet=wordnet))
        rouges.append([score.fmeasure for score in scorer.score(reference, prediction).values()])
    found = {"BLEU-2": corpus_bleu(there, here, (0.5, 0.5)), "BLEU-4": corpus_bleu(there, here)}
    return (
        found | {"METEOR": float(np.mean(meteors))} | dict(zip(("ROUGE-1", "ROUGE-2", "ROUGE-L"), np.mean(rouges, 0)))
    )


def molecule_loop(references: list[str], predictions: list[str]) -> dict[str, float]:
    """String metrics and exactness in one loop, fingerprints in another, as MolT5's two scripts do."""
    exact, distances = [], []
    for reference, prediction in progress.track(list(zip(references, predictions)), "molecule loop, exact"):
        distances.append(Levenshtein.distance(prediction, reference))
        made = Chem.MolFromSmiles(prediction)
        exact.append(made is not None and Chem.MolToInchi(made) == Chem.MolToInchi(Chem.MolFromSmiles(reference)))
    found = {
        "BLEU": corpus_bleu([[list(text)] for text in references], [list(text) for text in predictions]),
        "Exact": float(np.mean(exact)),
        "Levenshtein": float(np.mean(distances)),
    }
    pairs = []
    for reference, prediction in progress.track(list(zip(references, predictions)), "molecule loop, parse"):
        made = Chem.MolFromSmiles(prediction)
        if made is not None:
            pairs.append((Chem.MolFromSmiles(reference), made))
    found["Validity"] = len(pairs) / len(references)
    morgan = rdFingerprintGenerator.GetMorganGenerator(radius=2)
    for name, make in {
        "MACCS": MACCSkeys.GenMACCSKeys,
        "RDK": Chem.RDKFingerprint,
        "Morgan": morgan.GetSparseCountFingerprint,
    }.items():
        similar = [TanimotoSimilarity(make(a), make(b)) for a, b in progress.track(pairs, f"molecule loop, {name}")]
        found[name] = float(np.mean(similar))
    return found


@contextlib.contextmanager
def opened(archive: Path):
    """NLTK's WordNet as `nltk.corpus` gives it, from an archive that lies elsewhere than NLTK looks."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "corpora").mkdir()
        shutil.copy(archive, Path(folder) / "corpora" / "wordnet.zip")
        nltk.data.path.append(folder)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that other languages are not at hand
            wordnet.synsets("acid")
        yield wordnet


def columns(path: Path, rows: int) -> dict[str, list[str]]:
    """The columns of an unquoted table by their names, its first rows (0: all)."""
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        head, *lines = [line.rstrip("\n").split("\t") for line in file]
    return dict(zip(head, map(list, zip(*(lines[:rows] if rows else lines)))))


def timed(function: Callable[[], dict]) -> tuple[dict, float]:
    """What it gives, and the seconds it took."""
    start = time.perf_counter()
    found = function()
    return found, time.perf_counter() - start


def suite(title: str, rows: int, ours: Callable, loop: Callable) -> dict:
    """Time both and compare their numbers."""
    result, seconds = timed(ours)
    values, loop_seconds = timed(loop)
    return {
        "suite": title,
        "rows": rows,
        "seconds": seconds,
        "loop_seconds": loop_seconds,
        "times_faster": loop_seconds / seconds,
        "largest_difference": max(abs(result[name] - value) for name, value in values.items()),
        "values": {name: result[name] for name in values},
    }


def main() -> None:
    """Run both suites and print, and write, what they took."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the prediction files")
    options.add_argument("--model", default="molt5-large", help="whose predictions are measured")
    options.add_argument("--rows", type=int, default=0, help="the first rows only; 0 takes all 3,300")
    options.add_argument("--out", type=Path, default=Path("runs/benchmarks/evaluation.json"))
    given = options.parse_args()
    rdBase.DisableLog("rdApp.*")
    vocabulary, words = given.data / "vocab/scibert_scivocab_uncased.vocab.txt", given.data / "wordnet"
    captions = columns(given.data / "chebi20_predictions/molt5_smiles2caption.tsv.gz", given.rows)
    molecules = columns(given.data / "chebi20_predictions/molt5_caption2smiles.tsv.gz", given.rows)
    told, written = captions[f"{given.model}-smiles2caption"], molecules[f"{given.model}-caption2smiles"]
    captioned = functools.partial(caption_metrics, captions["ground truth"], told, "molt5", vocabulary, words)
    generated = functools.partial(molecule_metrics, molecules["ground truth"], written, "molt5")
    with opened(words / "wordnet.zip") as reader:
        loop = functools.partial(caption_loop, captions["ground truth"], told, vocabulary, reader)
        suites = [suite("captions", len(told), captioned, loop)]
    loop = functools.partial(molecule_loop, molecules["ground truth"], written)
    suites.append(suite("molecules", len(written), generated, loop))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {"cores": cores, "processor": platform.machine(), "load": os.getloadavg()}
    versions = versions_of("nltk", "rouge-score", "tokenizers", "rdkit", "rapidfuzz", "numpy")
    write_json(given.out, {"machine": machine, "versions": versions, "model": given.model, "suites": suites})
    table = Table(title=f"Evaluation of {given.model} on {cores} cores", title_justify="left")
    for head in ("suite", "rows", "this, s", "loop, s", "times faster", "largest difference"):
        table.add_column(head, justify="left" if head == "suite" else "right")
    for one in suites:
        numbers = (f"{one['seconds']:.1f}", f"{one['loop_seconds']:.1f}", f"{one['times_faster']:.1f}")
        table.add_row(one["suite"], f"{one['rows']:,}", *numbers, f"{one['largest_difference']:.1e}")
    Console().print(table)
    print(json.dumps({one["suite"]: round(one["seconds"], 1) for one in suites}), "->", given.out)


if __name__ == "__main__":
    main()
