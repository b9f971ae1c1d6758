"""`atomas compile`: the training step by the TPU compiler, without a TPU."""

import os
from collections.abc import Callable
from typing import Annotated

from tyro.conf import Positional

from atomas_jax.commands import Unprefixed
from atomas_jax.config import Experiment


def compile_(default: Experiment) -> Callable:
    """The subcommand with the defaults of an experiment."""

    def compile_(
        experiment: Positional[str],
        topology: str = "v5e:2x2",
        smiles_length: int = 64,
        text_length: int = 128,
        settings: Annotated[Experiment, Unprefixed] = default,
    ) -> int:
        """Compile the experiment's training step for TPUs that are not here: memory, arithmetic, does it fit?

        Args:
          experiment: A Python file, a name in experiments/, or a model preset.
          topology: Kind of chip and how many along each side, as in v5e:4x4.
          smiles_length: Padded SMILES of the batch, in tokens.
          text_length: Padded texts of the batch, in tokens.
        """
        os.environ["JAX_PLATFORMS"] = "cpu"  # before jax: no TPU is to be looked for
        from atomas_jax import progress
        from atomas_jax.training.ahead import advice, compile_step

        with progress.bar("compile", 1, "programs") as bar:
            found = compile_step(settings, topology, smiles_length, text_length)
            bar.advance()
        gib = 2**30
        mesh = settings.training.mesh or f"data={found.chips}"
        print(f"{settings.name} on {topology}: {found.chips} devices, mesh {mesh}")
        print(f"batch: {settings.batches.pairs:,} pairs, {smiles_length} SMILES and {text_length} text tokens a pair")
        print(
            f"held: {found.state_bytes / gib:.2f} GiB a device, and {found.temporary_bytes / gib:.2f} GiB during a step"
        )
        print(f"arithmetic: {found.flops:.3g} FLOP a device a step, bodies of loops counted once")
        print(f"compiled in {found.seconds:.0f} s")
        share = f"{found.total_bytes / gib:.2f} of {found.memory / gib:.0f} GiB"
        print(f"fits: {share}" if found.fits else f"does not fit: {share}. {advice(settings)}")
        return 0 if found.fits else 1

    return compile_
