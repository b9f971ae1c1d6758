"""Share of the tokens computed that are real, by the number of compiled shapes; and what that does to negatives.

    python -m benchmarks.padding FILE [--tokenizer DIR] [--pairs 32] [--out padding.json]

FILE is anything `atomas prepare` reads. Real batches of one epoch are counted, tail batches and rounding included. The
alternative in the same run is one shape for all, and the padding of published Atomas (everything to 512). `spread` is
the mean over batches of the lengths' standard deviation within a batch, against that of the whole file: 1 where
negatives are drawn regardless of length.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import Schedule
from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.readers import Record, read
from atomas_jax.files import write_json
from atomas_jax.tokens.tokenizer import Tokenizer

SHIPPED = Path(__file__).parents[1] / "tokenizers" / "atomas-embedded"
PUBLISHED = 512


@dataclass
class Lengths:
    """Token counts of pairs, with what `Schedule` asks of a split."""

    smiles_length: np.ndarray
    text_length: np.ndarray

    def __len__(self) -> int:
        return len(self.text_length)


def measure(split: Lengths, config: BatchConfig) -> dict[str, float]:
    """Figures of one epoch."""
    schedule = Schedule(split, config, seed=0)
    text = np.minimum(split.text_length, config.max_text)
    batches = [schedule.batch_rows(step) for step in range(schedule.steps_per_epoch)]
    real = sum(int(split.smiles_length[rows].sum() + text[rows].sum()) for rows, _ in batches)
    usable = schedule.rows
    spreads = {
        name: float(np.mean([lengths[rows].std() for rows, _ in batches if len(rows) > 1]) / lengths[usable].std())
        for name, lengths in (("spread_smiles", split.smiles_length), ("spread_text", text))
    }
    return {
        "shapes": len(schedule.shapes),
        "steps": len(batches),
        "short_batches": sum(len(rows) < config.pairs for rows, _ in batches),
        "real": real / sum(sum(shape) * config.pairs for _, shape in batches),
        "real_padded_to_512": real / (len(usable) * 2 * PUBLISHED),
        **spreads,
    }


def main(
    file: tyro.conf.Positional[Path],
    tokenizer: Path = SHIPPED,
    pairs: int = 32,
    max_smiles: int = 256,
    max_text: int = 256,
    out: Path | None = None,
) -> None:
    """Measure the padding of a file of pairs."""
    words = Tokenizer.load(tokenizer)
    rows = [row for row in read(Source(str(file))) if isinstance(row, Record) and row.text]
    split = Lengths(
        np.array([len(words.encode_smiles(row.smiles)) for row in rows]),
        np.array([len(words.encode_text(row.text)) for row in rows]),
    )
    results = []
    for shapes in (1, 4, 6, 8, 10, 16):
        config = BatchConfig(pairs=pairs, max_smiles=max_smiles, max_text=max_text, shapes=shapes)
        found = measure(split, config)
        results.append(found)
        print("  ".join(f"{name} {value:.3f}" if value % 1 else f"{name} {value:.0f}" for name, value in found.items()))
    if out:
        write_json(out, {"file": file.name, "rows": len(rows), "pairs": pairs, "results": results})


if __name__ == "__main__":
    tyro.cli(main)
