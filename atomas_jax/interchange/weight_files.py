"""Tensors in files, read one at a time and only when asked for; never a pickle that runs code."""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from atomas_jax.errors import UserError
from atomas_jax.files import write_json

SAFETENSORS = "model.safetensors"
TORCH = "pytorch_model.bin"
SHARD_BYTES = 1 << 29
"""Greatest size of one written file: writing holds two such copies beside the model."""


@dataclass(frozen=True)
class Tensor:
    """A tensor still in its file: `np.asarray` reads it."""

    shape: tuple[int, ...]
    dtype: str
    """"float32", "bfloat16", ..."""
    read: Callable[[], np.ndarray]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        array = self.read()
        return array if dtype is None else array.astype(dtype)


_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def open_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a Hugging Face folder by name: safetensors, sharded or not, else `pytorch_model.bin` through
    torch's weights-only loader.

    Raises UserError for a folder without either, a shard that is missing, a file that is damaged or holds more than
    weights, and a `.bin` without torch installed.
    """
    for name, open_one in ((SAFETENSORS, open_safetensors), (TORCH, _open_torch)):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return open_one(folder / name)
        if index.is_file():
            return _open_shards(index, open_one)
    present = sorted(
        path.name for path in folder.iterdir() if path.suffix in (".msgpack", ".h5", ".pt", ".pkl", ".ckpt")
    )
    seen = f"; {', '.join(present)} cannot be read" if present else ""
    raise UserError(
        f"{folder} holds neither {SAFETENSORS} nor {TORCH}, nor an index of shards{seen}: save the model with "
        f"transformers' save_pretrained first"
    )


def _open_shards(index: Path, open_one) -> dict[str, Tensor]:
    try:
        places: dict[str, str] = json.loads(index.read_text("utf-8"))["weight_map"]
    except (ValueError, KeyError) as error:
        raise UserError(f"{index} is no index of shards: {error!r}") from None
    files = sorted(set(places.values()))
    if missing := [name for name in files if not (index.parent / name).is_file()]:
        raise UserError(f"{index.parent} lacks {', '.join(missing)}, which {index.name} names: complete the download")
    tensors = {name: tensor for file in files for name, tensor in open_one(index.parent / file).items()}
    if lost := sorted(places.keys() - tensors.keys()):
        raise UserError(f"{index.parent}: {', '.join(lost[:5])} named by {index.name} are in no shard")
    return tensors


def open_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of one file by name. Raises UserError where it is damaged."""
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            told = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}): fetch it again") from None

    def reader(name: str) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            with safe_open(path, framework="np") as file:
                return file.get_tensor(name)

        return read

    return {name: Tensor(shape, _DTYPES.get(dtype, dtype), reader(name)) for name, (shape, dtype) in told.items()}


def _open_torch(path: Path) -> dict[str, Tensor]:
    try:
        import torch
    except ModuleNotFoundError:
        raise UserError(
            f"reading {path} needs torch, which is not installed: `pip install torch`, or use a safetensors file"
        ) from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} holds pickled code beside weights, which is never run here: convert it to safetensors where you "
            f"trust it"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({str(error).splitlines()[0][:120]}): fetch it again") from None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path} is no table of tensors by name: it is not a model's pytorch_model.bin")

    def reader(tensor) -> Callable[[], np.ndarray]:
        def read() -> np.ndarray:
            if tensor.dtype == torch.bfloat16:
                import ml_dtypes

                return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
            return tensor.numpy()

        return read

    return {
        name: Tensor(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."), reader(tensor))
        for name, tensor in state.items()
    }


def write_tensors(folder: Path, tensors: Iterable[tuple[str, np.ndarray]], shard_bytes: int = SHARD_BYTES) -> None:
    """`model.safetensors` in a folder, or shards of at most `shard_bytes` with their index, as in `transformers`."""
    metadata = {"format": "pt"}
    written: list[tuple[Path, list[str]]] = []
    total = 0
    for number, shard in enumerate(_shards(tensors, shard_bytes)):
        path = folder / f"shard-{number}.safetensors"
        save_file(shard, path, metadata=metadata)
        total += sum(array.nbytes for array in shard.values())
        written.append((path, list(shard)))
    if len(written) == 1:
        written[0][0].rename(folder / SAFETENSORS)
        return
    weight_map = {}
    for number, (path, names) in enumerate(written, 1):
        name = f"model-{number:05d}-of-{len(written):05d}.safetensors"
        path.rename(folder / name)
        weight_map |= dict.fromkeys(names, name)
    write_json(folder / f"{SAFETENSORS}.index.json", {"metadata": {"total_size": total}, "weight_map": weight_map})


def _shards(tensors: Iterable[tuple[str, np.ndarray]], shard_bytes: int) -> Iterator[dict[str, np.ndarray]]:
    shard: dict[str, np.ndarray] = {}
    size = 0
    for name, array in tensors:
        if shard and size + array.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = array
        size += array.nbytes
    yield shard
