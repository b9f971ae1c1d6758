"""The whole model: one encoder for SMILES and text, one decoder for both directions, and the alignment heads."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from atomas_jax.model.attention import encoded
from atomas_jax.model.configuration import ModelConfig
from atomas_jax.model.heads import Aligned, AlignmentHeads, Modality
from atomas_jax.model.layout import Layout, join, permuted
from atomas_jax.model.t5 import EncoderDecoder, output_logits, shift_right


class Starts(NamedTuple):
    """First decoder token of each direction: it tells the decoder what to write."""

    text: int
    smiles: int


class Outputs(NamedTuple):
    """What one pass over a batch gives; a part nobody asked for is None."""

    caption: jax.Array | None
    """[G, N, D] for the texts' N: the decoder's state before each token, from the molecule's states; `head_logits`
    reads it."""
    generation: jax.Array | None
    """[G, N, D] for the target SMILES' N: likewise, from the text's states."""
    aligned: Aligned | None
    """The texts' side as the texts lie, the SMILES' side as the SMILES lie, but for its embeddings: they lie like the
    texts."""


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
        smiles: Sequence[Int[Array, "G n S"]],
        target_smiles: Sequence[Int[Array, "G n S"]],
        text: Sequence[Int[Array, "G n T"]],
        partner: Int[Array, "G R"],
        starts: Starts,
        deterministic: bool = True,
        caption: bool = True,
        generation: bool = True,
        aligned: bool = True,
    ) -> Outputs:
        """Everything the objectives need of a batch, in one pass; 0 is padding. The last three say which parts.

        Args:
          smiles, target_smiles, text: blocks of tokens (see `layout`), target SMILES as their SMILES lie.
          partner: of each text of a group, the place of its SMILES in the group.
        """
        smiles_layout, text_layout = Layout.of(smiles), Layout.of(text)
        smiles_tokens, text_tokens = join(smiles), join(text)
        smiles_mask, text_mask = smiles_tokens != 0, text_tokens != 0
        smiles_states = self.transformer.encode(smiles_tokens, smiles_mask, deterministic, smiles_layout)
        text_states = self.transformer.encode(text_tokens, text_mask, deterministic, text_layout)

        def decoded(target, start, source):
            shifted = join([shift_right(block, start) for block in target])
            states = self.transformer.decode_blocks(shifted, source, Layout.of(target), deterministic=deterministic)
            if self.is_initializing():
                self.transformer.logits(states)  # the head has parameters too
            return states

        molecules = encoded(smiles_states, smiles_mask, smiles_layout, partner)
        texts = encoded(text_states, text_mask, text_layout, jnp.argsort(partner, axis=1))
        sides = None
        if aligned:
            sides = self.alignment(text_states, text_mask, smiles_states, smiles_mask, text_layout, smiles_layout)
            moved = beside_texts(sides.smiles.embedding, partner)
            sides = sides._replace(smiles=sides.smiles._replace(embedding=moved))
        return Outputs(
            decoded(text, starts.text, molecules) if caption else None,
            decoded(target_smiles, starts.smiles, texts) if generation else None,
            sides,
        )

    def embed(self, modality: Modality, tokens: Int[Array, "B L"]) -> Float[Array, "B E"]:
        """Unit vectors of whole strings in the shared space, float32."""
        return self.embed_blocks(modality, (tokens[:, None],))

    def embed_blocks(self, modality: Modality, blocks: Sequence[Int[Array, "G n L"]]) -> Float[Array, "GR E"]:
        """`embed` of strings in blocks, in the order they lie."""
        tokens, layout = join(blocks), Layout.of(blocks)
        mask = tokens != 0
        return self.alignment.embed(modality, self.transformer.encode(tokens, mask, layout=layout), mask, layout)


def beside_texts(embeddings: Float[Array, "GR E"], partner: Int[Array, "G R"]) -> Float[Array, "GR E"]:
    """What lies like the SMILES of a batch, laid like its texts."""
    groups, strings = partner.shape
    return permuted(embeddings.reshape(groups, strings, -1), partner).reshape(groups * strings, -1)


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


@partial(jax.jit, static_argnums=0)  # traced once, whoever asks: for shapes, names or values
def _init(config: ModelConfig, key: jax.Array):
    blocks, partner = (jnp.ones((1, 1, 2), jnp.int32),), jnp.zeros((1, 1), jnp.int32)
    return Atomas(config).init(key, blocks, blocks, blocks, partner, Starts(0, 0))["params"]
