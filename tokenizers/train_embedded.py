"""Trains the shipped tokenizer on the embedded corpus; `python tokenizers/train_embedded.py` writes atomas-embedded/.

Needs rdkit (the corpus is written from structure). The same source gives the same bytes; `tokenizer.json` records the
digest of the pairs it was trained on, so that a later describer is told apart from a broken training.
"""

import argparse
import hashlib
import itertools
from pathlib import Path

from atomas_jax.corpus.embedded import embedded_pairs
from atomas_jax.tokens import Tokenizer
from atomas_jax.tokens.training import train

FOLDER = Path(__file__).resolve().parent / "atomas-embedded"
COUNT, SEED, VOCAB_SIZE = 20_000, 0, 2048


def pairs_digest(pairs: list[dict]) -> str:
    """Hex sha256 of the pairs' SMILES and texts, in order."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(f"{pair['smiles']}\t{pair['text']}\n".encode())
    return digest.hexdigest()


def train_embedded(count: int = COUNT, seed: int = SEED, vocab_size: int = VOCAB_SIZE) -> Tokenizer:
    """The tokenizer of the first `count` pairs of the embedded corpus of `seed`."""
    pairs = list(itertools.islice(embedded_pairs(count, seed), count))
    tokenizer = train(
        (pair["text"] for pair in pairs),
        (pair["smiles"] for pair in pairs),
        vocab_size,
        at_most=True,
        command=f"python tokenizers/train_embedded.py --count {count} --seed {seed} --vocab-size {vocab_size}",
    )
    tokenizer.training["pairs_sha256"] = pairs_digest(pairs)
    return tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=COUNT, help=f"pairs to train on (default {COUNT})")
    parser.add_argument("--seed", type=int, default=SEED, help=f"seed of the embedded corpus (default {SEED})")
    parser.add_argument("--vocab-size", type=int, default=VOCAB_SIZE, help=f"ids at most (default {VOCAB_SIZE})")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write (default tokenizers/atomas-embedded)")
    arguments = parser.parse_args()
    made = train_embedded(arguments.count, arguments.seed, arguments.vocab_size)
    made.save(arguments.out)
    print(made)
