"""Write n molecules for each description, all strings different (`--method sample` repeats), with log-probabilities.

    python experiments/sampling/generate_molecules.py runs/open_pairs descriptions.txt -n 5

One description a line in; tab-separated number of the line, SMILES, log-probability and description out.
"""

import argparse
import sys
from pathlib import Path

import atomas_jax
from atomas_jax import progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("descriptions", type=Path)
    parser.add_argument("-n", type=int, default=5, help="molecules a description")
    parser.add_argument("--method", choices=("sample", "distinct", "beam"), default="distinct")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = atomas_jax.load(options.run)
    texts = [line.strip() for line in options.descriptions.read_text().splitlines() if line.strip()]
    replaced = missing = 0
    with progress.bar("generate", len(texts), "descriptions") as bar:
        written = model.answers(
            "generate", texts, bar.advance, method=options.method, results=options.n, beams=options.n,
            temperature=options.temperature, seed=options.seed,
        )  # fmt: skip
        for number, (text, answers) in enumerate(zip(texts, written, strict=True), 1):
            for answer in answers:
                print(number, answer.string, f"{answer.log_probability:.2f}", text, sep="\t")
            replaced += sum(answer.replaced for answer in answers if answer.string)
            missing += options.n - sum(bool(answer.string) for answer in answers)
    print(
        f"of {len(texts) * options.n} answers {replaced} stand for candidates that were none; {missing} missing",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
