"""Where arrays live: the mesh, and the rules that lay parameters and batches over its axes.

The axes: `data` splits the pairs of a batch; `fsdp` splits them too, and every parameter with what belongs to it
(gradient, average, optimiser state) as well; `tensor` splits the heads, the feed-forward width and the vocabulary.
Nothing else of the project names a mesh axis. A mesh is one setting, `data=4,fsdp=2,tensor=1`.
"""

import math
from dataclasses import dataclass

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from atomas_jax.errors import UserError
from atomas_jax.model.placement import ROW_AXES

MESH_AXES = (*ROW_AXES, "tensor")

RULES: dict[str | None, str | None] = {
    "embed": "fsdp",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "layers": None,
    "relative_buckets": None,
    "attention_heads": None,
    None: None,
}
"""Mesh axis of every logical axis the model names; None is held whole."""

LARGE = 2**20
"""Elements from which a parameter may not be held whole where the mesh could split it: 4 MiB, and five times that
with its average, gradient and moments."""


@dataclass(frozen=True)
class MeshShape:
    """How many devices lie along each axis."""

    data: int = 1
    fsdp: int = 1
    tensor: int = 1

    @classmethod
    def parse(cls, words: str, devices: int) -> "MeshShape":
        """The mesh of a setting such as `data=4,fsdp=2,tensor=1`; an axis not named has 1, `data` all that is left.

        Raises:
          UserError: an axis that is none, a size that is no count, a product that is not `devices`.
        """
        sizes = {}
        for word in filter(None, words.replace(" ", "").split(",")):
            name, _, size = word.partition("=")
            if name not in MESH_AXES or not size.isdecimal() or int(size) < 1 or name in sizes:
                raise UserError(f"training.mesh = {words!r}: write it like data=4,fsdp=2,tensor=1")
            sizes[name] = int(size)
        others = sizes.get("fsdp", 1) * sizes.get("tensor", 1)
        shape = cls(**{"data": max(devices // others, 1), **sizes})
        if shape.devices != devices:
            raise UserError(f"training.mesh = {words!r} is for {shape.devices} devices; there are {devices}")
        return shape

    @classmethod
    def named(cls, words: str) -> "MeshShape":
        """The mesh of a setting, for as many devices as it names."""
        sizes = (word.partition("=")[2] for word in words.replace(" ", "").split(","))
        return cls.parse(words, math.prod(int(size) for size in sizes if size.isdecimal()))

    @property
    def devices(self) -> int:
        return self.data * self.fsdp * self.tensor

    @property
    def rows(self) -> int:
        """Parts a batch is split into."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        return ",".join(f"{name}={getattr(self, name)}" for name in MESH_AXES)


def make_mesh(words: str = "", devices=None) -> Mesh:
    """The mesh of `training.mesh` over all devices, or over the given ones. Raises UserError where they do not fit."""
    devices = jax.devices() if devices is None else devices
    shape = MeshShape.parse(words, len(devices))
    sizes = tuple(getattr(shape, name) for name in MESH_AXES)
    if devices == jax.devices():
        return jax.make_mesh(sizes, MESH_AXES, axis_types=(AxisType.Auto,) * len(sizes))
    return Mesh(np.asarray(devices).reshape(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * len(sizes))


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows split over the devices (not over those along `tensor`, which share a row's work)."""
    return NamedSharding(mesh, PartitionSpec(ROW_AXES))


def rows_here(sharding: NamedSharding, rows: int) -> np.ndarray:
    """Which of so many rows (or groups of a batch) devices of this process hold, ascending: int64 [rows here]."""
    places = sharding.addressable_devices_indices_map((rows,)).values()
    return np.unique(np.concatenate([np.arange(rows)[place] for place in places]))


def place_rows(batch, sharding: NamedSharding, rows: int, held: np.ndarray):
    """Global arrays [rows, ...] from a tree of NumPy arrays [held, ...], the rows `rows_here` of this process."""

    def one(array: np.ndarray) -> jax.Array:
        def part(index) -> np.ndarray:
            start, stop, _ = index[0].indices(rows)
            return array[slice(*np.searchsorted(held, (start, stop)))]

        return jax.make_array_from_callback((rows, *array.shape[1:]), sharding, part)

    return jax.tree.map(one, batch)


def parameter_specs(shapes, logical, shape: MeshShape):
    """Specs of all parameters on a mesh, by the rules.

    A dimension the axis does not divide is held whole if the parameter is small.

    Args:
      shapes: tree of anything with a shape. logical: the same tree of logical axis names (`model.atomas.logical_axes`).

    Raises:
      UserError: a parameter of `LARGE` elements or more would be held whole, or whole along an axis meant to split it.
    """

    def one(path, leaf, names) -> PartitionSpec:
        name = path_name(path)
        spec = []
        for size, logical_name in zip(leaf.shape, names, strict=True):
            axis = RULES[logical_name]
            parts = getattr(shape, axis) if axis else 1
            if size % parts == 0:
                spec.append(axis)
                continue
            if math.prod(leaf.shape) >= LARGE:
                raise UserError(
                    f"{name} {list(leaf.shape)} would be held whole on every device: its dimension {logical_name!r} of "
                    f"{size} is not divisible by {axis}={parts} of training.mesh"
                )
            spec.append(None)
        split = math.prod(getattr(shape, axis) for axis in spec if axis)
        if math.prod(leaf.shape) >= LARGE and split == 1 and shape.fsdp > 1:
            raise UserError(f"{name} {list(leaf.shape)} would be held whole on every device: no rule splits it")
        return PartitionSpec(*spec)

    return jax.tree_util.tree_map_with_path(one, shapes, logical)


def state_specs(state, parameters):
    """Specs of a whole training state: whatever has a parameter's place in its tree is split like that parameter, all
    else is held whole.

    Adafactor keeps of a parameter the means over its largest dimension (`v_row`) and over its second largest
    (`v_col`): they are split like the dimensions that are left.

    Args:
      state: tree of shapes, with trees like the parameters' anywhere inside. parameters: their specs.
    """
    known = {path_keys(path): spec for path, spec in jax.tree_util.tree_flatten_with_path(parameters)[0]}
    sizes = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(state.params)[0]:
        sizes[path_keys(path)] = leaf.shape

    def one(path, leaf) -> PartitionSpec:
        keys = path_keys(path)
        if keys not in known:
            return PartitionSpec()
        spec, shape = tuple(known[keys]), sizes[keys]
        if leaf.shape == shape:
            return PartitionSpec(*spec)
        fields = {getattr(step, "name", None) for step in path}
        for field, rank in (("v_row", -1), ("v_col", -2)):
            if field in fields and len(shape) > 1:
                dropped = np.argsort(shape)[rank]  # optax's own choice of dimension
                if leaf.shape == (*shape[:dropped], *shape[dropped + 1 :]):  # (1,) where it keeps no means
                    return PartitionSpec(*spec[:dropped], *spec[dropped + 1 :])
        return PartitionSpec()

    return jax.tree_util.tree_map_with_path(one, state)


def path_keys(path) -> tuple[str, ...]:
    """The dictionary keys at the end of a path: of a leaf that has a parameter's place, that parameter's path."""
    keys = []
    for step in reversed(path):
        if not isinstance(step, jax.tree_util.DictKey):
            break
        keys.append(step.key)
    return tuple(reversed(keys))


def path_name(path) -> str:
    """A parameter's path as one word."""
    return "/".join(path_keys(path))


def device_bytes(leaf, spec: PartitionSpec, shape: MeshShape) -> int:
    """Bytes of an array on one device."""
    return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize // math.prod(getattr(shape, a) for a in spec if a)
