"""Time and memory of the hierarchical alignment in parts, beside the dense form, as the batch grows.

    python -m benchmarks.alignment [--pairs 16 32 64 128] [--width 768] [--out alignment.json]

Both compute the loss of level 0 (words against atoms) and its gradient by all tokens, of pairs with lengths like
ChEBI-20's. The dense form holds the cosines of all words with all atoms, B x B x T x S, everything padded to the
longest; ours meets the same pairs as a training batch lays them out, and on an accelerator its backward products are of
the default precision, those of the dense form of the highest. Memory is what the compiler sets aside besides
arguments and results.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import tyro

from atomas_jax.batching.batches import Batch, training_batch, training_schedule
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.files import write_json
from atomas_jax.model.heads import Level, unit
from atomas_jax.model.layout import Layout, join
from atomas_jax.objectives.hierarchy import hierarchical_alignment, similarity
from atomas_jax.objectives.pairs import matching_loss
from benchmarks.random_pairs import RandomPairs

KAPPA = 1 / 0.07


@dataclass
class Level0:
    """The only level of a side, with the face of `model.heads.Side`."""

    levels: tuple[Level, ...]


def level(blocks, width: int, seed: int) -> Level:
    """Random tokens where a batch has tokens."""
    layout, mask = Layout.of(blocks), jnp.asarray(join(blocks) != 0)
    tokens = jax.random.normal(jax.random.key(seed), (*mask.shape, width)) * mask[:, :, None]
    weights = [block / jnp.maximum(block.sum(2, keepdims=True), 1) for block in layout.cut(mask.astype(jnp.float32))]
    return Level(tokens, mask, join(weights), None, layout)


def rectangle(level: Level) -> Level:
    """The same strings, each padded to the longest of all."""
    whole = level.layout.coarser(1)
    tokens, mask, omega = (level.layout.padded(x) for x in (level.tokens, level.mask, level.omega))
    flat = (x.reshape(-1, *x.shape[2:]) for x in (tokens, mask, omega))
    return Level(*flat, None, Layout.rectangle(whole.longest))


def dense_similarity(text: Level, smiles: Level) -> jax.Array:
    """`objectives.hierarchy.similarity` of rectangles with the whole tensor of cosines."""
    cosines = jnp.einsum("atd,bsd->abts", unit(text.tokens), unit(smiles.tokens), precision=jax.lax.Precision.HIGHEST)
    words = jnp.where(smiles.mask[None, :, None], cosines, -2.0).max(3)
    atoms = jnp.where(text.mask[:, None, :, None], cosines, -2.0).max(2)
    return 0.5 * (jnp.einsum("at,abt->ab", text.omega, words) + jnp.einsum("bs,abs->ab", smiles.omega, atoms))


def measured(loss, arguments, repeats: int) -> dict[str, float]:
    """Seconds and bytes of a compiled loss with its gradient by both sides' tokens, and the loss."""
    program = jax.jit(jax.value_and_grad(loss, argnums=(0, 1))).lower(*arguments).compile()
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        value, _ = jax.block_until_ready(program(*arguments))
        seconds.append(time.perf_counter() - began)
    return {
        "seconds": min(seconds[1:]), "bytes": program.memory_analysis().temp_size_in_bytes, "loss": float(value)
    }  # fmt: skip


def of_batch(batch: Batch, width: int, dense: bool, repeats: int) -> dict[str, dict[str, float]]:
    """Figures of both forms on one batch."""
    text, smiles = level(batch.text, width, 0), level(batch.smiles, width, 1)
    molecule, partner = jnp.asarray(batch.molecule.reshape(-1)), jnp.asarray(batch.partner)

    def parts(text_tokens, smiles_tokens):
        sides = Level0((text._replace(tokens=text_tokens),)), Level0((smiles._replace(tokens=smiles_tokens),))
        return hierarchical_alignment(*sides, KAPPA, molecule, partner=partner).total

    found = {"in parts": measured(parts, (text.tokens, smiles.tokens), repeats)}
    if dense:
        one, other = rectangle(text), rectangle(smiles)
        columns = partner.reshape(-1)

        def whole(text_tokens, smiles_tokens):
            scores = dense_similarity(one._replace(tokens=text_tokens), other._replace(tokens=smiles_tokens))
            return matching_loss(KAPPA * scores[:, columns], molecule, "mask")

        found["dense"] = measured(whole, (one.tokens, other.tokens), repeats)
        apart = abs(found["dense"]["loss"] - found["in parts"]["loss"])
        found["apart"] = {"loss": apart, "scores": float(
            jnp.abs(similarity(text, smiles) - dense_similarity(one, other)).max()
        )}  # fmt: skip
    return found


def main(
    pairs: tuple[int, ...] = (16, 32, 64, 128), width: int = 768, dense_up_to: int = 64, repeats: int = 2,
    out: Path | None = None,
) -> None:  # fmt: skip
    """Measure batches of so many pairs; the dense form only up to `dense_up_to`."""
    rows = []
    for count in pairs:
        split = RandomPairs(20 * count, 4096)
        config = BatchConfig(pairs=count, random_spelling=0.0)
        batch = training_batch(split, training_schedule(split, config, 0), config, 0, 0)
        found = of_batch(batch, width, count <= dense_up_to, repeats)
        rows.append({"pairs": count, **found})
        for name in ("in parts", "dense"):
            if name in found:
                seconds, size = found[name]["seconds"], found[name]["bytes"] / 2**20
                print(f"{count:>5} pairs  {name:<8} {seconds:8.3f} s  {size:10,.0f} MiB")
        if "apart" in found:
            times, sizes = (found["dense"][key] / found["in parts"][key] for key in ("seconds", "bytes"))
            apart = f"scores {found['apart']['scores']:.1e} and losses {found['apart']['loss']:.1e} apart"
            print(f"{'':>11}  dense / in parts: time {times:.2f}, memory {sizes:.2f}; {apart}")
    if out:
        write_json(out, {"device": jax.devices()[0].device_kind, "width": width, "rows": rows})


if __name__ == "__main__":
    tyro.cli(main)
