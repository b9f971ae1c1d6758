"""Caption a file of SMILES, several candidates each, the one that agrees best with its molecule kept.

    python experiments/sampling/caption_file.py runs/open_pairs molecules.smi captions.tsv

One SMILES a line in, what follows it (a name) is not read; tab-separated SMILES, caption, agreement (with `--rerank
none` the log-probability once more) and log-probability out, in the same order.
"""

import argparse
from pathlib import Path

import atomas_jax
from atomas_jax import progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("molecules", type=Path)
    parser.add_argument("captions", type=Path)
    parser.add_argument("--candidates", type=int, default=8)
    parser.add_argument("--rerank", choices=("none", "global", "tokens"), default="tokens")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = atomas_jax.load(options.run)
    molecules = [line.split()[0] for line in options.molecules.read_text().splitlines() if line.strip()]
    with options.captions.open("w") as out, progress.bar("caption", len(molecules), "molecules") as bar:
        answers = model.answers(
            "caption", molecules, bar.advance, method="sample", candidates=options.candidates,
            rerank=options.rerank, temperature=options.temperature, seed=options.seed,
        )  # fmt: skip
        for smiles, (best, *_) in zip(molecules, answers, strict=True):
            caption = " ".join(best.string.split())  # a tab would begin another column
            print(smiles, caption, f"{best.score:.3f}", f"{best.log_probability:.2f}", sep="\t", file=out)


if __name__ == "__main__":
    main()
