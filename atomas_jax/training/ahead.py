"""A training step compiled ahead of time for TPUs that are not there: does it fit, what does it cost?

The compiler is the real one: `libtpu` (the extra `tpu-compile`) compiles for a topology it is only told about.
"""

import importlib.util
import math
import os
import re
import time
from dataclasses import dataclass

import jax
import numpy as np
from jax.errors import JaxRuntimeError

from atomas_jax.batching.batches import Batch
from atomas_jax.batching.blocks import check_groups
from atomas_jax.config import Experiment
from atomas_jax.errors import UserError
from atomas_jax.model.atomas import Starts
from atomas_jax.training import optimizer
from atomas_jax.training.partitioning import batch_sharding, make_mesh
from atomas_jax.training.state import make_state, sharded_state, shardings
from atomas_jax.training.step import make_train_step

CHIPS = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
"""Memory of a chip in GiB, by the first part of a topology's name (Google's published figures)."""
SURROUNDINGS = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of one step."""

    chips: int
    state_bytes: int
    """Arguments a chip holds all the time: parameters, average, optimiser state, queue, its part of the batch."""
    temporary_bytes: int
    """The most it holds besides during a step."""
    flops: float
    """Of one chip in one step, by the compiler's own count; a loop's body is counted once."""
    seconds: float
    """The compilation took, on this machine."""
    memory: int
    """Bytes of a chip."""

    @property
    def total_bytes(self) -> int:
        return self.state_bytes + self.temporary_bytes

    @property
    def fits(self) -> bool:
        return self.total_bytes <= self.memory


def compile_step(experiment: Experiment, topology: str, smiles: int, text: int) -> Compiled:
    """Compile the experiment's training step, of its own pairs and mesh, for a topology.

    Args:
      topology: a kind of chip and how many along each side, such as v5e:4x4. smiles, text: padded lengths in tokens.

    Raises:
      UserError: libtpu is missing or does not know the topology; the mesh, the batches and the model do not go
        together, as a job of the whole topology would say; the program does not fit a chip (with the compiler's own
        figures).
    """
    kind = topology.partition(":")[0]
    if kind not in CHIPS:
        raise UserError(f"--topology {topology}: it begins with one of {', '.join(CHIPS)}, as in v5e:4x4")
    memory = CHIPS[kind] * 2**30
    mesh = make_mesh(experiment.training.mesh, _devices(topology))
    pairs, accumulate = experiment.batches.pairs, experiment.training.accumulate
    groups = check_groups(experiment.batches, mesh.shape["data"] * mesh.shape["fsdp"], accumulate)
    build = optimizer.build(experiment.optimizer, experiment.training.steps)
    make = lambda: make_state(experiment.model, experiment.objectives, build, 0)  # noqa: E731
    state, _ = sharded_state(mesh, experiment.model, make)

    def array(*shape: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, np.int32, sharding=batch_sharding(mesh))

    blocks = [(array(groups, pairs // groups, length),) for length in (smiles, smiles, text)]
    batch = Batch(*blocks, array(groups, pairs // groups), array(groups, pairs // groups))
    step = make_train_step(
        experiment.model, experiment.objectives, build, Starts(1, 2), shardings(state), accumulate, seed=0
    )
    began = time.monotonic()
    try:
        with jax.set_mesh(mesh):
            program = step.lower(state, batch).compile()
    except JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used ([\d.]+\w) of ([\d.]+\w) hbm", str(error))
        told = f"{used[1]} of {used[2]} of a chip's memory" if used else "more memory than a chip has"
        raise UserError(
            f"{experiment.name} on {topology} does not fit: it needs {told}. {advice(experiment)}"
        ) from None
    seconds = time.monotonic() - began
    held = program.memory_analysis()
    return Compiled(
        chips=math.prod(mesh.shape.values()),
        state_bytes=held.argument_size_in_bytes,
        temporary_bytes=held.temp_size_in_bytes + held.output_size_in_bytes - held.alias_size_in_bytes,
        flops=program.cost_analysis().get("flops", math.nan),
        seconds=seconds,
        memory=memory,
    )


def advice(experiment: Experiment) -> str:
    """What to change of an experiment that does not fit, cheapest first."""
    changes = []
    if experiment.model.transformer.dtype != "bfloat16":
        changes.append("--model.transformer.dtype bfloat16")
    if experiment.model.transformer.remat != "full":
        changes.append("--model.transformer.remat full")
    if "fsdp" not in experiment.training.mesh:
        changes.append("--training.mesh fsdp=N (parameters and optimiser state split N ways)")
    changes.append(f"--training.accumulate {2 * experiment.training.accumulate}")
    return "Try, in this order: " + "; ".join(changes)


def _devices(topology: str):
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("compiling for TPUs needs their compiler: pip install 'atomas_jax[tpu-compile]'")
    from jax.experimental import topologies

    # outside a TPU machine the library asks its surroundings what it is part of; this answers
    for name, value in SURROUNDINGS.items():
        os.environ.setdefault(name, value)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except (JaxRuntimeError, ValueError, NotImplementedError) as error:
        line = str(error).strip().splitlines()[0][:200]
        raise UserError(f"--topology {topology}: the TPU compiler refuses it ({line})") from None
