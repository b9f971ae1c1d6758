"""Pairs a second of the joint training step, beside a plain Hugging Face T5 loop on the same pairs in the same run.

    python -m benchmarks.training [--size small] [--pairs 32] [--steps 10] [--out training.json]

Pairs are random tokens with lengths like ChEBI-20's in the shipped tokenizer (SMILES median 49, text 142 tokens). Ours
is the whole joint step: both directions and all alignment terms; `language only` leaves the alignments out, so that
their share can be told. Hugging Face's loop (torch, AdamW, both directions in turn, no alignment) pads to the longest
of its batch. All read the same batches and take turns, a few steps each. Compilation is not counted. FLOPs are 6 x
parameters a token touches x real tokens, both directions, padding and recomputation not counted as work; utilisation is
their rate over that of a plain matrix product of the same type on the same device in the same run.
"""

import statistics
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from atomas_jax.batching.batches import Batch, training_batch, training_schedule
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.files import write_json
from atomas_jax.model.atomas import Starts
from atomas_jax.model.configuration import ModelConfig, preset
from atomas_jax.model.t5 import parameter_count
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.training import optimizer
from atomas_jax.training.configuration import OptimizerConfig
from atomas_jax.training.partitioning import MeshShape, batch_sharding, make_mesh
from atomas_jax.training.state import make_state, sharded_state, shardings
from atomas_jax.training.step import make_train_step
from benchmarks.random_pairs import RandomPairs


def taking_turns(runs: dict, batches: list[Batch], rounds: int = 2) -> dict[str, list[float]]:
    """Seconds of each step of each function of a batch, which returns when its work is done; first steps are not
    counted."""
    seconds = {name: [] for name in runs}
    share = -(-len(batches) // rounds)
    for start in range(0, len(batches), share):
        for name, run in runs.items():
            if not start:
                run(batches[0])
            for batch in batches[start : start + share]:
                began = time.perf_counter()
                run(batch)
                seconds[name].append(time.perf_counter() - began)
    return seconds


def plain_product(dtype: str, size: int = 2048) -> float:
    """FLOP a second of one large matrix product."""
    matrix = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    product(matrix, matrix).block_until_ready()
    times = []
    for _ in range(5):
        began = time.perf_counter()
        product(matrix, matrix).block_until_ready()
        times.append(time.perf_counter() - began)
    return 2 * size**3 / min(times)


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

    def longest(blocks, partner=None):
        strings = [row[row != 0] for group in zip(*blocks) for block in group for row in block]
        if partner is not None:
            strings = [strings[i] for i in partner]
        tokens = np.zeros((len(strings), max(map(len, strings))), np.int64)
        for row, string in enumerate(strings):
            tokens[row, : len(string)] = string
        return torch.from_numpy(tokens).to(device)

    def run(batch: Batch) -> None:
        smiles, text = longest(batch.smiles, partners(batch)), longest(batch.text)
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


def partners(batch: Batch) -> np.ndarray:
    """Place of each text's SMILES among all strings of the batch."""
    groups, strings = batch.partner.shape
    return (np.arange(groups)[:, None] * strings + batch.partner).ravel()


def main(
    size: str = "small",
    pairs: int = 32,
    steps: int = 10,
    dtype: str = "float32",
    remat: str = "none",
    mesh: str = "",
    vocabulary: int = 4096,
    blocks: int = 6,
    huggingface: bool = True,
    out: Path | None = None,
) -> None:
    """Time the step of a preset; `vocabulary` is the rows of its embedding, `steps` how many are timed."""
    model = preset(size)
    model = replace(model, transformer=replace(model.transformer, vocab_size=vocabulary, dtype=dtype, remat=remat))
    split = RandomPairs(max(40 * pairs, 1000), vocabulary)
    groups = MeshShape.parse(mesh, len(jax.devices())).rows
    config = BatchConfig(pairs=pairs, random_spelling=0.0, blocks=blocks, unit=0 if groups == 1 else groups)
    schedule = training_schedule(split, config, seed=0)
    batches = [training_batch(split, schedule, config, 0, step, groups) for step in range(steps)]
    joint = ObjectiveConfig()
    language = replace(joint, global_alignment=0.0, hierarchical=0.0)
    runs = {"joint step": ours(model, joint, mesh), "language only": ours(model, language, mesh)}
    if huggingface:
        runs["hugging face"] = hugging_face(model)
    seconds = taking_turns(runs, batches)
    # every weight but the embedding's rows multiplies each token once: encoder and decoder share the two strings
    weights = parameter_count(model.transformer) - model.transformer.vocab_size * model.transformer.d_model
    tokens = statistics.mean(sum(int((block != 0).sum()) for block in (*b.smiles, *b.text)) for b in batches)
    best = plain_product(dtype)
    began = time.perf_counter()
    for step in range(steps):
        training_batch(split, schedule, config, 0, step, groups)
    figures = {
        "preset": size, "pairs": pairs, "dtype": dtype, "remat": remat, "device": jax.devices()[0].device_kind,
        "real_tokens": schedule.real_tokens, "matrix_product_flops": best,
        "input_pairs_per_second": steps * pairs / (time.perf_counter() - began),
    }  # fmt: skip
    print(f"{size}, {pairs} pairs, {dtype}, {figures['device']}; {schedule.real_tokens:.1%} of the tokens are real")
    for name, of_steps in seconds.items():
        middle = statistics.median(of_steps)
        flops = 6 * weights * tokens / middle
        figures[name] = {
            "pairs_per_second": pairs / middle, "model_flops": flops, "utilisation": flops / best, "seconds": of_steps
        }  # fmt: skip
        print(
            f"{name:<14} {pairs / middle:8.2f} pairs/s  {middle:7.3f} s a step ({min(of_steps):.3f} to "
            f"{max(of_steps):.3f})  {flops / 1e12:8.3f} model TFLOP/s = {flops / best:.0%} of a plain matrix product"
        )
    rate = {name: figures[name]["pairs_per_second"] for name in seconds}
    figures["alignment_share"] = 1 - rate["joint step"] / rate["language only"]
    print(f"alignment takes {figures['alignment_share']:.1%} of the joint step")
    print(f"one thread assembles {figures['input_pairs_per_second']:,.0f} pairs/s")
    if huggingface:
        figures["ratio"] = rate["joint step"] / rate["hugging face"]
        figures["ratio_language_only"] = rate["language only"] / rate["hugging face"]
        print(f"to hugging face: joint step {figures['ratio']:.2f}, language only {figures['ratio_language_only']:.2f}")
    if out:
        write_json(out, figures)


if __name__ == "__main__":
    tyro.cli(main)
