"""What a mesh holds where: every parameter's place and bytes a device, told without any device."""

import jax
import jax.numpy as jnp

from atomas_jax.config import Experiment
from atomas_jax.model.atomas import abstract_parameters, logical_axes
from atomas_jax.training import optimizer
from atomas_jax.training.partitioning import MeshShape, device_bytes, parameter_specs, path_name, state_specs
from atomas_jax.training.state import make_state


def sharding_lines(experiment: Experiment, words: str) -> list[str]:
    """The table as lines of text: name, shape, axes, bytes a device of every parameter; then the whole training state.

    Args:
      words: the mesh, as `training.mesh`; it names its own number of devices.

    Raises:
      UserError: the mesh is none, or a large parameter would be held whole on every device.
    """
    shape = MeshShape.named(words)
    model = experiment.model
    shapes = abstract_parameters(model)
    specs = parameter_specs(shapes, logical_axes(model), shape)
    rows = []
    for (path, leaf), spec in zip(jax.tree_util.tree_flatten_with_path(shapes)[0], jax.tree.leaves(specs)):
        axes = "(" + ", ".join(axis or "-" for axis in spec) + ")"
        size = "x".join(map(str, leaf.shape)) or "scalar"
        rows.append((path_name(path), size, axes, f"{device_bytes(leaf, spec, shape):,}"))
    name, size, axes, held = (max(map(len, column)) for column in zip(*rows))
    lines = [f"{row[0]:<{name}}  {row[1]:<{size}}  {row[2]:<{axes}}  {row[3]:>{held}}" for row in rows]
    build = optimizer.build(experiment.optimizer, experiment.training.steps)
    state = jax.eval_shape(lambda: make_state(model, experiment.objectives, build, 0))
    held_all = _bytes(state, state_specs(state, specs), shape)
    whole = sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(state))
    return [
        f"{experiment.name} on {shape} ({shape.devices} devices): parameters, axes that split them, bytes a device",
        *lines,
        f"training state (parameters, average, {experiment.optimizer.name}, queue): {held_all:,} bytes a device, "
        f"{whole:,} in all; gradients come to {_bytes(shapes, specs, shape):,} more during a step",
    ]


def _bytes(shapes, specs, shape: MeshShape) -> int:
    return sum(jax.tree.leaves(jax.tree.map(lambda leaf, spec: device_bytes(leaf, spec, shape), shapes, specs)))
