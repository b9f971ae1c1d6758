"""The alignments' share of the joint step, put together from programs timed apart: for batches whose joint step the
machine cannot hold.

    python -m benchmarks.share [--size base] [--pairs 256] [--part 32] [--out share.json]

Pairs are random tokens with lengths like ChEBI-20's (see `benchmarks.training`). Three programs are timed, each the
best of `--repeats` runs after one that compiles, on one device:

- the alignments: heads and all terms of the whole batch, forward and backward, from random encoder states, the global
  term in its "softmax" form; a queue of 13,200 vectors would add less than a hundredth of the hierarchy's products;
- the momentum copy: its embeddings of the whole batch, which only the "momentum" form of the global term needs;
- the language step of `--part` pairs, both directions, backward and update, times as many parts as the batch has: an
  extrapolation. The update, once a step in truth, is counted with every part, so the share comes out a little small.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro

from atomas_jax.batching.batches import Batch, training_batch, training_schedule
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.files import write_json
from atomas_jax.model.atomas import Atomas, beside_texts, initial_parameters
from atomas_jax.model.configuration import ModelConfig, preset
from atomas_jax.model.heads import AlignmentHeads
from atomas_jax.model.layout import Layout, join
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.objectives.total import joint_loss
from benchmarks.random_pairs import RandomPairs
from benchmarks.training import ours


def alignments(model: ModelConfig, batch: Batch) -> Callable[[], Any]:
    """Gradients of all alignment terms by heads and states."""
    smiles, text = Layout.of(batch.smiles), Layout.of(batch.text)
    masks = text_mask, smiles_mask = [jnp.asarray(join(blocks) != 0) for blocks in (batch.text, batch.smiles)]
    dtype = model.transformer.dtype
    states = [
        jax.random.normal(jax.random.key(at), (*mask.shape, model.transformer.d_model), dtype)
        for at, mask in enumerate(masks)
    ]
    heads = AlignmentHeads(model.alignment, dtype)
    few_tokens = [array[:, :8] for pair in zip(states, masks) for array in pair]  # shapes of parameters need no more
    parameters = jax.jit(heads.init)(jax.random.key(2), *few_tokens)
    objectives = ObjectiveConfig(global_form="softmax", language=0.0)

    def loss(parameters, text_states, smiles_states, text_mask, smiles_mask, partner, molecule):
        sides = heads.apply(parameters, text_states, text_mask, smiles_states, smiles_mask, text, smiles)
        moved = sides.smiles._replace(embedding=beside_texts(sides.smiles.embedding, partner))
        return joint_loss(objectives, molecule.reshape(-1), sides._replace(smiles=moved), partner=partner)[0]

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
    return lambda: gradient(parameters, *states, text_mask, smiles_mask, batch.partner, batch.molecule)


def momentum_copy(model: ModelConfig, batch: Batch) -> Callable[[], Any]:
    """Embeddings of all texts and SMILES."""
    parameters = initial_parameters(model, jax.random.key(0))

    @jax.jit
    def embeddings(parameters, text, smiles):
        sides = (("text", text), ("smiles", smiles))
        return [Atomas(model).apply({"params": parameters}, *side, method="embed_blocks") for side in sides]

    return lambda: embeddings(parameters, batch.text, batch.smiles)


def language(model: ModelConfig, batch: Batch) -> Callable[[], None]:
    """The training step without alignments."""
    step = ours(model, ObjectiveConfig(global_alignment=0.0, hierarchical=0.0), "data=1")
    return lambda: step(batch)


def best(run: Callable, repeats: int) -> float:
    """Seconds."""
    jax.block_until_ready(run())
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def main(
    size: str = "base",
    pairs: int = 256,
    part: int = 32,
    dtype: str = "float32",
    remat: str = "dots",
    vocabulary: int = 32128,
    repeats: int = 2,
    out: Path | None = None,
) -> None:
    """Time the three programs of a preset and print the shares; `part` must divide `pairs`."""
    if pairs % part:
        sys.exit(f"--part {part} does not divide --pairs {pairs}")
    model = preset(size)
    model = replace(model, transformer=replace(model.transformer, vocab_size=vocabulary, dtype=dtype, remat=remat))

    split = RandomPairs(20 * pairs, vocabulary)

    def batch(pairs: int) -> Batch:
        config = BatchConfig(pairs=pairs, random_spelling=0.0)
        return training_batch(split, training_schedule(split, config, seed=0), config, 0, 0)

    programs = {
        "alignments": (alignments, pairs),
        "momentum copy": (momentum_copy, pairs),
        "language": (language, part),
    }
    seconds = {}
    for name, (program, rows) in programs.items():
        seconds[name] = best(program(model, batch(rows)), repeats) * (pairs / rows)
        times = f" ({pairs // rows} times {rows} pairs)" if rows < pairs else ""
        print(f"{name:<14} {seconds[name]:8.2f} s for {pairs} pairs{times}", flush=True)
    terms, copy, rest = seconds.values()
    shares = {"softmax": terms / (terms + rest), "momentum": (terms + copy) / (terms + copy + rest)}
    for form, share in shares.items():
        print(f"alignments of the joint step, global form {form}: {share:.1%}")
    if out:
        write_json(out, {"preset": size, "pairs": pairs, "part": part, "dtype": dtype, "remat": remat,
                         "device": jax.devices()[0].device_kind, "seconds": seconds, "shares": shares})  # fmt: skip


if __name__ == "__main__":
    tyro.cli(main)
