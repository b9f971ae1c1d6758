"""Molecules at several temperatures: validity, uniqueness, novelty and diversity, and a picture of each.

    python experiments/sampling/sample_temperatures.py runs/open_pairs descriptions.txt --out samples

Validity: strings that are molecules. Uniqueness: of those, different ones. Novelty: of the different ones, those not
in --known (SMILES, names behind them are not read). Diversity: one less the mean Tanimoto similarity (Morgan, radius 2)
of the pairs of at most 500 of them, drawn at random, as are the 20 of the picture.
"""

import argparse
import random
from itertools import combinations
from pathlib import Path

import numpy as np

import atomas_jax
from atomas_jax import progress
from atomas_jax.chemistry.drawing import svg
from atomas_jax.chemistry.fingerprints import morgan_bits, tanimoto
from atomas_jax.chemistry.molecules import canonical_smiles, is_valid
from atomas_jax.files import write_whole

ACROSS, WIDTH, HEIGHT = 5, 220, 180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("descriptions", type=Path)
    parser.add_argument("--known", type=Path, help="SMILES that are not novel, one a line")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.5, 0.7, 1.0, 1.3])
    parser.add_argument("-n", type=int, default=4, help="samples a description")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unconstrained", action="store_true", help="without the validity constraint")
    parser.add_argument("--out", type=Path, default=Path("samples"), help="folder of the pictures")
    options = parser.parse_args()

    model = atomas_jax.load(options.run)
    texts = [line.strip() for line in options.descriptions.read_text().splitlines() if line.strip()]
    lines = options.known.read_text().splitlines() if options.known else []
    listed = [line.split()[0] for line in lines if line.strip()]
    known = {canonical_smiles(smiles) for smiles in listed if is_valid(smiles)}
    print(f"{'T':>5} {'validity':>9} {'uniqueness':>11} {'novelty':>8} {'diversity':>10}")
    for temperature in options.temperatures:
        with progress.bar(f"temperature {temperature}", len(texts), "descriptions") as bar:
            # what is written is measured: what is no molecule is not replaced
            written = model.write_molecules(
                texts, bar.advance, method="sample", results=options.n, temperature=temperature, seed=options.seed,
                constrained=not options.unconstrained, valid=False,
            )  # fmt: skip
            strings = [string for answers in written for string in answers]
        valid = [canonical_smiles(string) for string in strings if is_valid(string)]
        different = sorted(set(valid))
        random.Random(options.seed).shuffle(different)  # neighbours of a sorted list are alike
        row = (
            share(len(valid), len(strings)),
            share(len(different), len(valid)),
            share(len(set(different) - known), len(different)) if known else "-",
            diversity(different),
        )
        print("{:>5} {:>9} {:>11} {:>8} {:>10}".format(temperature, *row), flush=True)
        write_whole(options.out / f"temperature_{temperature}.svg", grid(different[: ACROSS * 4]))


def share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else "-"


def diversity(smiles: list[str]) -> str:
    if len(smiles) < 2:
        return "-"
    prints = [morgan_bits(string) for string in smiles[:500]]
    return f"{1 - np.mean([tanimoto(one, other) for one, other in combinations(prints, 2)]):.3f}"


def grid(smiles: list[str]) -> str:
    """The molecules side by side as one SVG."""
    cells = [
        f'<g transform="translate({i % ACROSS * WIDTH},{i // ACROSS * HEIGHT})">{svg(string, WIDTH, HEIGHT)}</g>'
        for i, string in enumerate(smiles)
    ]
    height = -(-max(len(smiles), 1) // ACROSS) * HEIGHT
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{ACROSS * WIDTH}" height="{height}">'
    return head + '<rect width="100%" height="100%" fill="white"/>' + "".join(cells) + "</svg>\n"


if __name__ == "__main__":
    main()
