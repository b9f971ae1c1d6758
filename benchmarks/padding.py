"""Share of the tokens computed that are real, by the blocks of a batch; and what that does to negatives.

    python -m benchmarks.padding [FILE] [--tokenizer DIR] [--pairs 32] [--out padding.json]

FILE is anything `atomas prepare` reads; without one, lengths are drawn as `random_pairs` draws them. Real batches of
one epoch are counted, empty rows and rounding included. All batches of a run have one shape, so one step is compiled.
The alternatives in the same run are one length for all (one block) and the padding of published Atomas (everything to
512). `spread` is the mean over batches of the lengths' standard deviation within a batch, against that of the whole
file: 1 where negatives are drawn regardless of length.
"""

from pathlib import Path

import numpy as np
import tyro

from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import EMPTY, Lengths, Schedule
from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.readers import Record, read
from atomas_jax.files import write_json
from atomas_jax.tokens.tokenizer import Tokenizer
from benchmarks.random_pairs import RandomPairs

SHIPPED = Path(__file__).parents[1] / "tokenizers" / "atomas-embedded"
PUBLISHED = 512


def measure(lengths: Lengths, config: BatchConfig) -> dict[str, float]:
    """Figures of one epoch."""
    rows = np.flatnonzero(lengths.smiles <= config.max_smiles)
    lengths = Lengths(lengths.smiles, np.minimum(lengths.text, config.max_text))
    schedule = Schedule(rows, lengths, config, seed=0)
    batches = [schedule.batch(step)[0].text for step in range(schedule.steps_per_epoch)]
    batches = [batch[batch != EMPTY] for batch in batches]
    spreads = {
        f"spread_{name}": float(np.mean([side[batch].std() for batch in batches if len(batch) > 1]) / side[rows].std())
        for name, side in zip(("smiles", "text"), lengths)
    }
    return {
        "blocks": config.blocks,
        "steps": len(batches),
        "real": schedule.real_tokens,
        "real_padded_to_512": float(sum(side[rows].sum() for side in lengths) / (len(rows) * 2 * PUBLISHED)),
        **spreads,
    }


def main(
    file: tyro.conf.Positional[Path | None] = None,
    tokenizer: Path = SHIPPED,
    pairs: int = 32,
    max_smiles: int = 256,
    max_text: int = 256,
    out: Path | None = None,
) -> None:
    """Measure the padding of a file of pairs."""
    if file:
        words = Tokenizer.load(tokenizer)
        records = [row for row in read(Source(str(file))) if isinstance(row, Record) and row.text]
        lengths = Lengths(
            np.array([len(words.encode_smiles(row.smiles)) for row in records]),
            np.array([len(words.encode_text(row.text)) for row in records]),
        )
    else:
        drawn = RandomPairs(4000, 4096)
        lengths = Lengths(drawn.smiles_length, drawn.text_length)
    results = []
    for blocks in (1, 2, 4, 6, 8, 12):
        config = BatchConfig(pairs=pairs, max_smiles=max_smiles, max_text=max_text, blocks=blocks)
        found = measure(lengths, config)
        results.append(found)
        print("  ".join(f"{name} {value:.3f}" if value % 1 else f"{name} {value:.0f}" for name, value in found.items()))
    if out:
        name = file.name if file else "random lengths"
        write_json(out, {"file": name, "rows": len(lengths.text), "pairs": pairs, "results": results})


if __name__ == "__main__":
    tyro.cli(main)
