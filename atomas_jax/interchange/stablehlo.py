"""The embedding of strings as StableHLO programs: served by jax alone, without this package, flax or a tokenizer.

`jax.export` keeps a program readable by later jax releases (six months by its promise) and by other runtimes that read
StableHLO. The batch is symbolic, the length is not (the relative bias is a table per length), so there is one program
a length. Weights are arguments, stored once.

ONNX is not offered. jax2onnx 0.17.1, which is maintained, requires an older Orbax than ours and does not trace flax's
scanned layers. Installed without its requirements and given the traced program (`jaxpr_as_fun(jax.make_jaxpr(embed)
(tokens))`), it wrote one that onnxruntime 1.31 ran to 1e-7 of the model, the batch free: a way for who needs it.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from safetensors.numpy import save_file

from atomas_jax.interchange.folder import flatten, unflatten
from atomas_jax.model.atomas import Atomas
from atomas_jax.trained import TrainedModel

FOLDER = "stablehlo"
WEIGHTS = "weights.safetensors"
PLATFORMS = ("cpu", "cuda", "tpu")


def write_programs(model: TrainedModel, folder: Path, lengths: tuple[int, ...]) -> None:
    """Write `stablehlo/{smiles,text}_{length}.bin` and their weights under `folder`.

    A program maps (weights by name, int32 tokens [batch, length], 0 where padded) to unit float32 [batch, E].
    """
    beside = folder / FOLDER
    beside.mkdir()
    heads = model.params["alignment"]
    alignment = {name: leaf for name, leaf in heads.items() if name not in ("text", "smiles")}
    alignment |= {side: {"global_head": heads[side]["global_head"]} for side in ("text", "smiles")}
    transformer = {name: model.params["transformer"][name] for name in ("embedding", "encoder")}
    flat = {
        name: np.asarray(leaf, order="C")
        for name, leaf in flatten({"transformer": transformer, "alignment": alignment})
    }
    save_file(flat, beside / WEIGHTS)
    shapes = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in flat.items()}
    (batch,) = export.symbolic_shape("batch")
    for modality in ("smiles", "text"):

        def embed(weights, tokens, modality=modality):
            return Atomas(model.config).apply({"params": unflatten(weights)}, modality, tokens, method="embed")

        for length in lengths:
            tokens = jax.ShapeDtypeStruct((batch, length), jnp.int32)
            program = export.export(jax.jit(embed), platforms=PLATFORMS)(shapes, tokens)
            (beside / f"{modality}_{length}.bin").write_bytes(program.serialize())
