"""The devices searching and embedding use: all of this process, side by side."""

from functools import lru_cache

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "rows"


@lru_cache(maxsize=1)
def rows_mesh() -> Mesh:
    """All devices of this process along one axis."""
    return Mesh(np.asarray(jax.local_devices()), (AXIS,), axis_types=(AxisType.Auto,))


def by_rows() -> NamedSharding:
    """Rows split over the devices."""
    return NamedSharding(rows_mesh(), PartitionSpec(AXIS))


def whole() -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(rows_mesh(), PartitionSpec())
