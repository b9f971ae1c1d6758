"""Where arrays live: batches split over the devices, everything else on each of them."""

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MESH_AXES = ("data",)


def make_mesh() -> Mesh:
    """All devices along one data axis."""
    devices = np.asarray(jax.devices())
    return Mesh(devices, MESH_AXES, axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows split over the devices."""
    return NamedSharding(mesh, PartitionSpec("data"))
