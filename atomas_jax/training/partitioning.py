"""Where arrays live: the mesh, the rules from logical axes to mesh axes, and shardings of whole states."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data",)

RULES: dict[str, str | None] = {"batch": "data"}
"""Mesh axis of each logical axis; a logical axis that is not named here is replicated."""


def make_mesh() -> Mesh:
    """All devices along one data axis."""
    devices = np.asarray(jax.devices())
    return Mesh(devices, MESH_AXES, axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows split over the devices."""
    return NamedSharding(mesh, PartitionSpec(RULES["batch"]))
