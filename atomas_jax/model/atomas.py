"""The whole model: one encoder for SMILES and text, one decoder for both directions, and the alignment heads."""

from typing import NamedTuple

import jax
from flax import linen as nn
from jaxtyping import Array, Float, Int

from atomas_jax.model.configuration import ModelConfig
from atomas_jax.model.heads import Aligned, AlignmentHeads, Modality
from atomas_jax.model.t5 import EncoderDecoder, output_logits, shift_right


class Starts(NamedTuple):
    """First decoder token of each direction: it tells the decoder what to write."""

    text: int
    smiles: int


class Outputs(NamedTuple):
    """What one pass over a batch gives; a part nobody asked for is None."""

    caption: jax.Array | None
    """[B, T, D]: the decoder's state before each text token, from the molecule's states; `head_logits` reads it."""
    generation: jax.Array | None
    """[B, S, D]: likewise before each target SMILES token, from the text's states."""
    aligned: Aligned | None


class Atomas(nn.Module):
    """Atomas (ICLR 2025): each string is encoded once, and those states feed both directions and every alignment.

    Parameters: `transformer` (see `t5`) and `alignment` (see `heads`). Call through `apply(variables, ...,
    method=...)`; dropout needs `rngs={"dropout": key}` wherever `deterministic` is False.
    """

    config: ModelConfig

    def setup(self):
        self.transformer = EncoderDecoder(self.config.transformer)
        self.alignment = AlignmentHeads(self.config.alignment, self.config.transformer.dtype)

    def __call__(
        self,
        smiles: Int[Array, "B S"],
        target_smiles: Int[Array, "B S"],
        text: Int[Array, "B T"],
        starts: Starts,
        deterministic: bool = True,
        caption: bool = True,
        generation: bool = True,
        aligned: bool = True,
    ) -> Outputs:
        """Everything the objectives need of a batch, in one pass; 0 is padding. The last three say which parts."""
        smiles_mask, text_mask = smiles != 0, text != 0
        smiles_states = self.transformer.encode(smiles, smiles_mask, deterministic)
        text_states = self.transformer.encode(text, text_mask, deterministic)

        def decoded(target, start, encoded, encoded_mask):
            shifted = shift_right(target, start)
            states = self.transformer.decode_states(shifted, encoded, encoded_mask, deterministic=deterministic)
            if self.is_initializing():
                self.transformer.logits(states)  # the head has parameters too
            return states

        return Outputs(
            decoded(text, starts.text, smiles_states, smiles_mask) if caption else None,
            decoded(target_smiles, starts.smiles, text_states, text_mask) if generation else None,
            self.alignment(text_states, text_mask, smiles_states, smiles_mask) if aligned else None,
        )

    def embed(self, modality: Modality, tokens: Int[Array, "B L"]) -> Float[Array, "B E"]:
        """Unit vectors of whole strings in the shared space, float32."""
        mask = tokens != 0
        return self.alignment.embed(modality, self.transformer.encode(tokens, mask), mask)


def head_kernel(params: dict, config: ModelConfig) -> Float[Array, "D V"]:
    """The parameter of the output head, by itself: what a loss in blocks differentiates by."""
    transformer = params["transformer"]
    return transformer["embedding"].T if config.transformer.tied_head else transformer["head"]["kernel"]


def head_logits(kernel: Float[Array, "D V"], states: Float[Array, "*B D"], config: ModelConfig) -> Float[Array, "*B V"]:
    """Logits of the next token, float32, of decoder states (`Outputs`)."""
    return output_logits(states, kernel, config.transformer)


def abstract_parameters(config: ModelConfig) -> dict:
    """Shapes of all parameters, a nested dict of `jax.ShapeDtypeStruct`, without making any of them."""
    return nn.meta.unbox(jax.eval_shape(lambda: _init(config, jax.random.key(0))))


def logical_axes(config: ModelConfig) -> dict:
    """Names of the logical axes of all parameters, a nested dict of tuples; None is a dimension without a name."""
    boxed = jax.eval_shape(lambda: _init(config, jax.random.key(0)))

    def names(leaf) -> tuple[str | None, ...]:
        return tuple(leaf.names) if isinstance(leaf, nn.meta.AxisMetadata) else (None,) * leaf.ndim

    return jax.tree.map(names, boxed, is_leaf=lambda leaf: isinstance(leaf, nn.meta.AxisMetadata))


def initial_parameters(config: ModelConfig, key: jax.Array):
    """Fresh parameters, a plain nested dict of float32 arrays."""
    return nn.meta.unbox(_init(config, key))


def _init(config: ModelConfig, key: jax.Array):
    tokens = jax.numpy.ones((1, 2), jax.numpy.int32)
    return Atomas(config).init(key, tokens, tokens, tokens, Starts(0, 0))["params"]
