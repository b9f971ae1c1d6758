"""Pairs a second of the joint training step, beside a plain Hugging Face T5 loop on the same pairs in the same run.

    python -m benchmarks.training [--size small] [--pairs 32] [--steps 10] [--out training.json]

Pairs are random tokens with lengths like ChEBI-20's in the shipped tokenizer (SMILES median 49, text 142 tokens). Ours
is the whole joint step: both directions and all alignment terms, in the shapes `batching` chooses; `language only`
leaves the alignments out, so that their share can be told. Hugging Face's loop (torch, AdamW, both directions in turn)
pads to the longest of its batch. Both read the same batches. Compilation is not counted: every shape is met once before
the clock runs. FLOPs are 6 x parameters a token touches x real tokens, both directions, padding not counted as work.
"""

import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import tyro

from atomas_jax.batching.batches import Batch, training_batch
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import Schedule
from atomas_jax.files import write_json
from atomas_jax.model.atomas import Starts
from atomas_jax.model.configuration import ModelConfig, preset
from atomas_jax.model.t5 import parameter_count
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.training import optimizer
from atomas_jax.training.configuration import OptimizerConfig
from atomas_jax.training.partitioning import batch_sharding, make_mesh
from atomas_jax.training.state import make_state, sharded_state, shardings
from atomas_jax.training.step import make_train_step


class RandomPairs:
    """Pairs of random tokens with the face of `corpus.prepared.Split`."""

    def __init__(self, rows: int, vocabulary: int, seed: int = 0):
        generator = np.random.default_rng(seed)
        smiles = np.clip(generator.lognormal(np.log(49), 0.62, rows), 5, 256).astype(int)
        text = np.clip(generator.lognormal(np.log(142), 0.43, rows), 20, 256).astype(int)
        self._smiles = [generator.integers(3, vocabulary, length).astype(np.int32) for length in smiles]
        self._text = [generator.integers(3, vocabulary, length).astype(np.int32) for length in text]
        self.smiles_length, self.text_length = smiles.astype(np.int32), text.astype(np.int32)
        self.molecule, self.spellings = np.arange(rows, dtype=np.int32), np.ones(rows, np.int32)

    def __len__(self) -> int:
        return len(self._text)

    def smiles_tokens(self, row: int, spelling: int = 0) -> np.ndarray:
        return self._smiles[row]

    def text_tokens(self, row: int) -> np.ndarray:
        return self._text[row]


@dataclass
class Speed:
    """Medians over the timed steps."""

    pairs_per_second: float
    real_tokens_per_second: float


def timed(step, batches: list[Batch]) -> Speed:
    """Speed of `step(batch)`, which returns when its work is done; each shape is met once before."""
    for batch in {(batch.smiles.shape, batch.text.shape): batch for batch in batches}.values():
        step(batch)
    pairs, tokens, seconds = [], [], []
    for batch in batches:
        began = time.perf_counter()
        step(batch)
        seconds.append(time.perf_counter() - began)
        pairs.append(int((batch.molecule >= 0).sum()))
        tokens.append(int((batch.smiles != 0).sum() + (batch.text != 0).sum()))
    return Speed(sum(pairs) / sum(seconds), statistics.median(np.array(tokens) / seconds))


def ours(model: ModelConfig, objectives: ObjectiveConfig, words: str):
    """The joint step on the mesh of `words`, as a function of a batch."""
    build = optimizer.build(OptimizerConfig(schedule="constant"), 1000)
    mesh = make_mesh(words)
    places, make = sharded_state(mesh, model, lambda: make_state(model, objectives, build, 0))
    step = make_train_step(model, objectives, build, Starts(1, 2), shardings(places), 1, seed=0)
    state = make()

    def run(batch: Batch) -> None:
        nonlocal state
        with jax.set_mesh(mesh):
            state, metrics = step(state, jax.device_put(batch, batch_sharding(mesh)))
        jax.block_until_ready(metrics)

    return run


def hugging_face(model: ModelConfig):
    """A plain torch loop over both directions with a T5 of the same sizes, as a function of a batch."""
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = model.transformer
    network = T5ForConditionalGeneration(
        T5Config(
            vocab_size=sizes.vocab_size, d_model=sizes.d_model, d_kv=sizes.d_kv, d_ff=sizes.d_ff,
            num_heads=sizes.num_heads, num_layers=sizes.encoder_layers, num_decoder_layers=sizes.decoder_layers,
            feed_forward_proj=sizes.activation, tie_word_embeddings=sizes.tied_head, dropout_rate=sizes.dropout,
            decoder_start_token_id=0,
        )
    )  # fmt: skip
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network.to(device).train()
    update = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def longest(tokens: np.ndarray):
        real = tokens[(tokens != 0).any(1)]
        return torch.from_numpy(real[:, : (real != 0).sum(1).max()].astype(np.int64)).to(device)

    def run(batch: Batch) -> None:
        smiles, text = longest(batch.smiles), longest(batch.text)
        with torch.autocast(device, torch.bfloat16, enabled=sizes.dtype == "bfloat16"):
            for source, target in ((smiles, text), (text, smiles)):
                labels = target.masked_fill(target == 0, -100)
                network(input_ids=source, attention_mask=source != 0, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        update.step()
        update.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def main(
    size: str = "small",
    pairs: int = 32,
    steps: int = 10,
    dtype: str = "float32",
    remat: str = "none",
    mesh: str = "",
    vocabulary: int = 4096,
    shapes: int = 10,
    huggingface: bool = True,
    out: Path | None = None,
) -> None:
    """Time the step of a preset; `vocabulary` is the rows of its embedding, `steps` how many are timed."""
    model = preset(size)
    model = replace(model, transformer=replace(model.transformer, vocab_size=vocabulary, dtype=dtype, remat=remat))
    split = RandomPairs(max(40 * pairs, 1000), vocabulary)
    config = BatchConfig(pairs=pairs, random_spelling=0.0, shapes=shapes)
    schedule = Schedule(split, config, seed=0)
    batches = [training_batch(split, schedule, config, 0, step) for step in range(steps)]
    joint = ObjectiveConfig()
    language = replace(joint, global_alignment=0.0, hierarchical=0.0)
    speeds = {"joint step": timed(ours(model, joint, mesh), batches)}
    speeds["language only"] = timed(ours(model, language, mesh), batches)
    if huggingface:
        speeds["hugging face"] = timed(hugging_face(model), batches)
    # every weight but the embedding's rows multiplies each token once: encoder and decoder share the two strings
    weights = parameter_count(model.transformer) - model.transformer.vocab_size * model.transformer.d_model
    began = time.perf_counter()
    for step in range(steps):
        training_batch(split, schedule, config, 0, step)
    input_rate = steps * pairs / (time.perf_counter() - began)

    for name, speed in speeds.items():
        flops = 6 * weights * speed.real_tokens_per_second / 1e12
        print(f"{name:<14} {speed.pairs_per_second:8.2f} pairs/s  {flops:8.3f} model TFLOP/s")
    share = 1 - speeds["joint step"].pairs_per_second / speeds["language only"].pairs_per_second
    print(f"alignment takes {share:.1%} of the joint step; padding: {schedule.real_tokens:.1%} of the tokens are real")
    print(f"one thread assembles {input_rate:,.0f} pairs/s")
    if huggingface:
        ratio = speeds["joint step"].pairs_per_second / speeds["hugging face"].pairs_per_second
        print(f"ratio of the joint step to hugging face: {ratio:.2f}")
    if out:
        figures = {name: vars(speed) for name, speed in speeds.items()}
        setting = {"preset": size, "pairs": pairs, "dtype": dtype, "device": jax.devices()[0].device_kind}
        write_json(out, {**setting, "alignment_share": share, "input_pairs_per_second": input_rate, **figures})


if __name__ == "__main__":
    tyro.cli(main)
