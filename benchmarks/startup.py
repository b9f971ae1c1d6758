"""Seconds from the start of a process to a training step ready to run, without and with a compilation cache.

    python -m benchmarks.startup [--size base] [--pairs 32] [--out startup.json]

Each start is a process of its own: libraries imported, parameters and optimiser state made, meanwhile the joint step
traced and compiled, or read from the cache (`training.programs`). No step is run.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import tyro

from atomas_jax.files import write_json

BEGAN = "ATOMAS_BENCHMARK_BEGAN"


def start(size: str, pairs: int) -> None:
    """Get ready in this process and say how long each part took."""
    began, said = float(os.environ[BEGAN]), []

    def done(what: str) -> None:
        said.append(f"{what}={time.time() - began:.3f}")

    import jax

    from atomas_jax.batching.batches import training_batch, training_schedule
    from atomas_jax.batching.configuration import BatchConfig
    from atomas_jax.model.atomas import Starts
    from atomas_jax.model.configuration import preset
    from atomas_jax.objectives.configuration import ObjectiveConfig
    from atomas_jax.training import optimizer
    from atomas_jax.training.configuration import OptimizerConfig
    from atomas_jax.training.partitioning import batch_sharding, make_mesh
    from atomas_jax.training.programs import Kept
    from atomas_jax.training.state import make_state, sharded_state, shardings
    from atomas_jax.training.step import make_train_step
    from benchmarks.random_pairs import RandomPairs

    done("imported")
    model, objectives = preset(size), ObjectiveConfig()
    model = replace(model, transformer=replace(model.transformer, vocab_size=4096))
    build, mesh = optimizer.build(OptimizerConfig(), 1000), make_mesh()
    places, make = sharded_state(mesh, model, lambda: make_state(model, objectives, build, 0))
    split = RandomPairs(20 * pairs, 4096)
    config = BatchConfig(pairs=pairs, random_spelling=0.0)
    batch = training_batch(split, training_schedule(split, config, 0), config, 0, 0)
    facts = (model, objectives, "as benchmarked")
    with jax.set_mesh(mesh):
        state = Kept(make, "first state", *facts).load()()  # as in training, nobody waits for it
        done("first state begun")
        step = make_train_step(model, objectives, build, Starts(1, 2), shardings(places), 1, 0)
        Kept(step, "step", *facts).load(state, jax.device_put(batch, batch_sharding(mesh)))
        done("step read or compiled")
        jax.block_until_ready(state)
        done("ready")
    print("\n".join(said))


def main(size: str = "base", pairs: int = 32, inside: bool = False, out: Path | None = None) -> None:
    """Start twice, the second time with what the first compiled."""
    if inside:
        return start(size, pairs)
    found = {"preset": size, "pairs": pairs}
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "warm"):
            environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache, BEGAN: str(time.time())}
            command = [sys.executable, "-m", "benchmarks.startup", "--size", size, "--pairs", str(pairs), "--inside"]
            said = subprocess.run(
                command, env=environment, check=True, capture_output=True, text=True
            ).stdout.splitlines()
            found[name] = {word.partition("=")[0]: float(word.partition("=")[2]) for word in said}
            print(f"{name}: " + ", ".join(f"{what} after {seconds:.1f} s" for what, seconds in found[name].items()))
    if out:
        write_json(out, found)


if __name__ == "__main__":
    tyro.cli(main)
