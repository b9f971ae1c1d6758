"""Sizes and choices of the model, as frozen dataclasses; the presets with the dimensions their papers published."""

from dataclasses import dataclass, replace
from typing import Literal

from atomas_jax.errors import UserError


@dataclass(frozen=True)
class T5Config:
    """The T5 encoder-decoder (Raffel et al. 2020; v1.1: Shazeer 2020). Layer counts are blocks; widths are elements."""

    vocab_size: int = 32128
    """Rows of the embedding; at least the tokenizer's ids. `with_vocabulary` sizes it for a tokenizer."""
    d_model: int = 768
    """Width D of the residual stream."""
    d_kv: int = 64
    """Width K of one attention head."""
    d_ff: int = 2048
    """Width F of the feed-forward layer."""
    num_heads: int = 12
    encoder_layers: int = 12
    decoder_layers: int = 12
    relative_attention_buckets: int = 32
    relative_attention_max_distance: int = 128
    """Distance in tokens from which all positions share the last bucket."""
    dropout: float = 0.1
    """Probability of dropping, at the places T5 drops."""
    activation: Literal["gated-gelu", "relu"] = "gated-gelu"
    """`gated-gelu` is v1.1, `relu` v1.0."""
    tied_head: bool = False
    """v1.0 shares the embedding with the output head and scales its input by d_model ** -0.5."""
    layer_norm_epsilon: float = 1e-6
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the activations. Parameters, norms, softmax and logits are float32 whatever it is."""
    remat: Literal["none", "dots", "full"] = "none"
    """What the backward pass recomputes: nothing, all but matrix products without batch dimensions, or every layer."""


@dataclass(frozen=True)
class AlignmentConfig:
    """The heads that put molecules and text into one space (Atomas, ICLR 2025, section 3)."""

    embedding_dim: int = 256
    """Width of the global embedding z."""
    ratios: tuple[float, ...] = (0.25, 0.5)
    """Clusters of a level per token of the level below: a string of L tokens has ceil(ratio * L) of them."""
    clustering: Literal["density-peaks", "spans"] = "density-peaks"
    """Which tokens merge: neighbours in the space of states (published), or equal spans of the string (an ablation)."""
    neighbours: int = 3
    """k of the density-peak clustering; the token itself is one of them."""
    attention_heads: int = 8
    """Heads of the attention block after each merge; must divide d_model."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides the shapes of the parameters."""

    transformer: T5Config = T5Config()
    alignment: AlignmentConfig = AlignmentConfig()


def _v1_1(d_model: int, d_ff: int, heads: int, layers: int) -> T5Config:
    return T5Config(d_model=d_model, d_ff=d_ff, num_heads=heads, encoder_layers=layers, decoder_layers=layers)


def _v1_0(d_model: int, d_ff: int, heads: int, layers: int) -> T5Config:
    return replace(_v1_1(d_model, d_ff, heads, layers), activation="relu", tied_head=True)


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        T5Config(vocab_size=2048, d_model=128, d_kv=32, d_ff=384, num_heads=4, encoder_layers=4, decoder_layers=4),
        AlignmentConfig(embedding_dim=128, attention_heads=4),
    ),
    "small": ModelConfig(_v1_1(512, 1024, 6, 8)),
    "base": ModelConfig(_v1_1(768, 2048, 12, 12)),
    "large": ModelConfig(_v1_1(1024, 2816, 16, 24)),
    "xl": ModelConfig(_v1_1(2048, 5120, 32, 24)),
    "t5-small": ModelConfig(_v1_0(512, 2048, 8, 6)),
    "t5-base": ModelConfig(_v1_0(768, 3072, 12, 12)),
    "t5-large": ModelConfig(_v1_0(1024, 4096, 16, 24)),
}
"""`small` to `xl` are T5 v1.1 (base: 247 M parameters), `t5-*` v1.0; `tiny` (about 3 M) is ours, for two CPU cores."""


def preset(name: str) -> ModelConfig:
    """The preset of that name. Raises UserError on a name that is none."""
    if name not in PRESETS:
        raise UserError(f"no model preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def with_vocabulary(config: ModelConfig, tokenizer_ids: int) -> ModelConfig:
    """The configuration with the embedding sized for a tokenizer: its ids rounded up to a multiple of 128 rows."""
    rows = -(-tokenizer_ids // 128) * 128
    return replace(config, transformer=replace(config.transformer, vocab_size=rows))
