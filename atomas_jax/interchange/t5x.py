"""T5X checkpoints, the form in which the originals of T5 v1.1 and MolT5 were released.

A folder with a msgpack file `checkpoint` (the tree; small arrays inside it) and one zarr array a tensor, named by its
path: `target.encoder.layers_0.attention.query.kernel`. Layout after google-research/t5x (`checkpoints.py`) and its
minimal T5 (`examples/t5/network.py`): kernels [in, out], the relative bias [heads, buckets]. Only the parameters
(`target`) are read.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.interchange.weight_files import Tensor

MARKER = "checkpoint"
_ROOT = "target."
_NAMES = (
    (r"token_embedder/embedding", "shared.weight", False),
    (r"decoder/logits_dense/kernel", "lm_head.weight", True),
    (
        r"(encoder|decoder)/relpos_bias/rel_embedding",
        r"\1.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        True,
    ),
    (r"(encoder|decoder)/(?:encoder|decoder)_norm/scale", r"\1.final_layer_norm.weight", False),
    (r"(encoder)/layers_(\d+)/pre_attention_layer_norm/scale", r"\1.block.\2.layer.0.layer_norm.weight", False),
    (r"(decoder)/layers_(\d+)/pre_self_attention_layer_norm/scale", r"\1.block.\2.layer.0.layer_norm.weight", False),
    (r"(decoder)/layers_(\d+)/pre_cross_attention_layer_norm/scale", r"\1.block.\2.layer.1.layer_norm.weight", False),
    (r"(encoder)/layers_(\d+)/pre_mlp_layer_norm/scale", r"\1.block.\2.layer.1.layer_norm.weight", False),
    (r"(decoder)/layers_(\d+)/pre_mlp_layer_norm/scale", r"\1.block.\2.layer.2.layer_norm.weight", False),
    (r"(encoder)/layers_(\d+)/attention/([qkvo])\w+/kernel", r"\1.block.\2.layer.0.SelfAttention.\3.weight", True),
    (r"(decoder)/layers_(\d+)/self_attention/([qkvo])\w+/kernel", r"\1.block.\2.layer.0.SelfAttention.\3.weight", True),
    (
        r"(decoder)/layers_(\d+)/encoder_decoder_attention/([qkvo])\w+/kernel",
        r"\1.block.\2.layer.1.EncDecAttention.\3.weight",
        True,
    ),
    (r"(encoder)/layers_(\d+)/mlp/(wi|wi_0|wi_1|wo)/kernel", r"\1.block.\2.layer.1.DenseReluDense.\3.weight", True),
    (r"(decoder)/layers_(\d+)/mlp/(wi|wi_0|wi_1|wo)/kernel", r"\1.block.\2.layer.2.DenseReluDense.\3.weight", True),
)
"""T5X's path, Hugging Face's name, whether the matrix is transposed between them."""


def is_t5x(folder: Path) -> bool:
    """Whether a folder looks like a T5X checkpoint."""
    return (folder / MARKER).is_file() and not (folder / "config.json").is_file()


def open_t5x(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors under Hugging Face's names, a `config.json` read off their shapes).

    Dropout, the epsilon of norms and the greatest distance of the bias are not in a T5X checkpoint: they are T5's.
    Raises UserError for a damaged checkpoint and for parameters of a model that is no T5.
    """
    tensors, unknown = {}, []
    for path, tensor in _parameters(folder).items():
        for pattern, name, transposed in _NAMES:
            if match := re.fullmatch(pattern, path):
                tensors[match.expand(name)] = _turned(tensor) if transposed else tensor
                break
        else:
            unknown.append(path)
    if unknown or "shared.weight" not in tensors:
        told = f"it also holds {', '.join(sorted(unknown)[:5])}" if unknown else "it has no token embedding"
        raise UserError(f"{folder} is not the T5X checkpoint of a T5: {told}")
    return tensors, _configuration(tensors, folder)


def _configuration(tensors: dict[str, Tensor], folder: Path) -> dict[str, Any]:
    def layers(stack: str) -> int:
        return 1 + max(
            (int(m[1]) for m in (re.match(rf"{stack}\.block\.(\d+)\.", name) for name in tensors) if m), default=-1
        )

    try:
        vocabulary, width = tensors["shared.weight"].shape
        buckets, heads = tensors["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].shape
        inner = tensors["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0]
        forward = tensors["encoder.block.0.layer.1.DenseReluDense.wo.weight"].shape[1]
    except (KeyError, ValueError) as error:
        raise UserError(f"{folder} is not the T5X checkpoint of a T5: {error}") from None
    gated = "encoder.block.0.layer.1.DenseReluDense.wi_0.weight" in tensors
    return {
        "model_type": "t5", "vocab_size": vocabulary, "d_model": width, "num_heads": heads, "d_kv": inner // heads,
        "d_ff": forward, "num_layers": layers("encoder"), "num_decoder_layers": layers("decoder"),
        "relative_attention_num_buckets": buckets, "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": "lm_head.weight" not in tensors,
    }  # fmt: skip


def _parameters(folder: Path) -> dict[str, Tensor]:
    """By path with slashes, from the zarr folders and from the msgpack file."""
    found = {
        entry.name.removeprefix(_ROOT).replace(".", "/"): _zarr(entry)
        for entry in folder.iterdir()
        if entry.name.startswith(_ROOT) and (entry / ".zarray").is_file()
    }
    try:
        tree = msgpack.unpackb((folder / MARKER).read_bytes(), ext_hook=_array, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise UserError(f"{folder / MARKER} cannot be read as a T5X checkpoint: {error}") from None
    missing = []

    def walk(node, path: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{path}/{key}" if path else str(key))
        elif isinstance(node, np.ndarray):
            found[path] = Tensor(node.shape, str(node.dtype), lambda: node)
        elif isinstance(node, str) and path not in found:
            missing.append(path)

    walk((tree.get("target") or tree.get("optimizer", {}).get("target", {})) if isinstance(tree, dict) else {}, "")
    if missing:
        raise UserError(f"{folder} lacks the arrays of {', '.join(sorted(missing)[:5])}: complete the download")
    return found


def _array(code: int, data: bytes) -> np.ndarray:
    """An array as flax writes it into msgpack: shape, type, bytes."""
    shape, dtype, values = msgpack.unpackb(data)
    return np.frombuffer(values, dtype).reshape(shape)


def _zarr(path: Path) -> Tensor:
    import tensorstore

    try:
        store = tensorstore.open(
            {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path.absolute())}}, open=True
        ).result()
    except ValueError as error:
        raise UserError(f"{path} cannot be read as a zarr array: {str(error).splitlines()[0][:120]}") from None
    read: Callable[[], np.ndarray] = lambda: store.read().result()  # noqa: E731
    return Tensor(tuple(store.shape), store.dtype.name, read)


def _turned(tensor: Tensor) -> Tensor:
    return Tensor(tensor.shape[::-1], tensor.dtype, lambda: tensor.read().T)
