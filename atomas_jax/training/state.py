"""The training state: everything a resumed run needs beside its settings and the corpus."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding

from atomas_jax.model.atomas import initial_parameters, logical_axes
from atomas_jax.model.configuration import ModelConfig
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.objectives.contrast import Queue, start_queue
from atomas_jax.training.partitioning import MeshShape, parameter_specs, state_specs


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class TrainState:
    """A pytree of arrays.

    Attributes:
      step: int32, optimiser steps done (refused ones count: the order of the batches moves on).
      params: the parameters, float32.
      average: their exponential average, float32; the momentum copy of the global alignment and what every other
        command uses.
      optimizer: state of the optax transformation.
      queue: past momentum features, or None where the objective needs none.
      refused: int32, steps in a row that were refused for a non-finite loss or gradient.
    """

    step: jax.Array
    params: dict
    average: dict
    optimizer: optax.OptState
    queue: Queue | None
    refused: jax.Array


def make_state(
    model: ModelConfig, objectives: ObjectiveConfig, optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """The state before the first step: a function of the seed."""
    key = jax.random.key(seed)
    params = initial_parameters(model, jax.random.fold_in(key, 0))
    queue = None
    if objectives.uses_queue:
        queue = start_queue(jax.random.fold_in(key, 1), objectives.queue_size, model.alignment.embedding_dim)
    zero = jnp.zeros((), jnp.int32)
    # the average starts as a copy: with an alias the donated state would hold one buffer twice
    return TrainState(zero, params, jax.tree.map(jnp.copy, params), optimizer.init(params), queue, zero + 0)


def sharded_state(
    mesh: Mesh, model: ModelConfig, make: Callable[[], TrainState]
) -> tuple[TrainState, Callable[[], TrainState]]:
    """(abstract state with shardings, function-made state) of `make()` on a mesh; nothing is made on one device first.

    Raises UserError where the mesh does not fit the model (`partitioning.parameter_specs`).
    """
    abstract = jax.eval_shape(make)
    specs = parameter_specs(abstract.params, logical_axes(model), MeshShape(**mesh.shape))
    abstract = jax.tree.map(
        lambda leaf, spec: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec)),
        abstract,
        state_specs(abstract, specs),
    )
    return abstract, jax.jit(make, out_shardings=shardings(abstract))


def shardings(abstract: TrainState) -> TrainState:
    """Where every array of an abstract state lives."""
    return jax.tree.map(lambda leaf: leaf.sharding, abstract)
