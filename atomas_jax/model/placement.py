"""Rows over devices: the one thing the model and its losses say about where their intermediate results live.

What the parameters do is said in `training.partitioning`. Without a mesh (`jax.set_mesh`), and inside a `shard_map`,
all of this does nothing.
"""

import math

import jax
from jax.sharding import AxisType, PartitionSpec

ROW_AXES = ("data", "fsdp")
"""Mesh axes that split the rows of a batch."""


def row_axes() -> dict[str, int]:
    """Those of `ROW_AXES` that the mesh of the moment has and leaves to the compiler, with their sizes."""
    mesh = jax.sharding.get_abstract_mesh()
    sizes = zip(mesh.axis_names, mesh.axis_sizes, mesh.axis_types)
    return {name: size for name, size, kind in sizes if name in ROW_AXES and kind == AxisType.Auto}


def row_shards() -> int:
    """Parts that the mesh of the moment splits a batch into; 1 without a mesh."""
    return math.prod(row_axes().values())


def split_rows(x: jax.Array, axis: int = 0) -> jax.Array:
    """`x` with the rows along `axis` split over the devices and all else whole: states between layers.

    Without it the compiler may split the width of the states like that of the parameters, and send states around where
    parameters are smaller.
    """
    axes = row_axes()
    shards = math.prod(axes.values())
    if shards == 1 or x.shape[axis] % shards:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(*[None] * axis, tuple(axes)))


def whole(x: jax.Array) -> jax.Array:
    """`x` gathered on every device: a table about to be looked up in by rows that live everywhere."""
    return jax.lax.with_sharding_constraint(x, PartitionSpec()) if row_axes() else x
