"""Parameters and configuration of a T5 in Hugging Face's layout, both ways. Pure NumPy: files are read elsewhere.

Hugging Face keeps one tensor a layer, kernels as [out, in]; ours are [in, out], stacked over a leading layer axis.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.model.configuration import T5Config

Progress = Callable[[int], None]


class ArrayLike(Protocol):
    """An array, or something in a file that becomes one when `np.asarray` reads it."""

    @property
    def shape(self) -> tuple[int, ...]: ...


_ATTENTION = {"query": "q", "key": "k", "value": "v", "out": "o"}


@dataclass(frozen=True)
class _Tensor:
    """One leaf of our tree and where its parts are: `name` holds `{layer}` where there is one part a layer."""

    path: tuple[str, ...]
    name: str
    shape: tuple[int, ...]
    """Shape of one part in our layout."""
    layers: int | None = None
    transposed: bool = False

    def names(self) -> list[str]:
        return [self.name] if self.layers is None else [self.name.format(layer=i) for i in range(self.layers)]

    @property
    def foreign_shape(self) -> tuple[int, ...]:
        return self.shape[::-1] if self.transposed else self.shape


def _tensors(config: T5Config) -> Iterator[_Tensor]:
    """The table of correspondence, from which both directions are derived."""
    width, inner = config.d_model, config.num_heads * config.d_kv
    yield _Tensor(("embedding",), "shared.weight", (config.vocab_size, width))
    if not config.tied_head:
        yield _Tensor(("head", "kernel"), "lm_head.weight", (width, config.vocab_size), transposed=True)
    for stack, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        sublayers = ["self_attention", "feed_forward"]
        if stack == "decoder":
            sublayers.insert(1, "cross_attention")
        yield _Tensor(
            (stack, "relative_bias", "embedding"),
            f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
            (config.relative_attention_buckets, config.num_heads),
        )
        yield _Tensor((stack, "final_norm", "scale"), f"{stack}.final_layer_norm.weight", (width,))
        for place, sublayer in enumerate(sublayers):
            at = f"{stack}.block.{{layer}}.layer.{place}"
            norm = (stack, "layers", f"{sublayer}_norm", "scale")
            yield _Tensor(norm, f"{at}.layer_norm.weight", (width,), layers)
            if sublayer == "feed_forward":
                up = "wi_1" if config.activation == "gated-gelu" else "wi"
                kernels = {"up": (up, (width, config.d_ff)), "down": ("wo", (config.d_ff, width))}
                if config.activation == "gated-gelu":
                    kernels["gate"] = ("wi_0", (width, config.d_ff))
                module = "DenseReluDense"
            else:
                kernels = {ours: (theirs, (width, inner)) for ours, theirs in _ATTENTION.items()}
                kernels["out"] = ("o", (inner, width))
                module = "SelfAttention" if sublayer == "self_attention" else "EncDecAttention"
            for ours, (theirs, shape) in kernels.items():
                path = (stack, "layers", sublayer, ours, "kernel")
                yield _Tensor(path, f"{at}.{module}.{theirs}.weight", shape, layers, transposed=True)


def from_state_dict(
    state: Mapping[str, ArrayLike], config: T5Config, dtype: str | None = None, on_progress: Progress | None = None
) -> dict[str, Any]:
    """Parameters of `EncoderDecoder(config)` (a plain nested dict, without the "params" level) from Hugging Face's.

    Entries of `state` need `shape` and are read as arrays one at a time, so they may still be in a file. Types are
    kept where `dtype` is None. `on_progress` is called with the number of tensors read.

    Raises UserError naming every tensor that is missing, misshapen or not known; copies of the embedding under other
    names (`encoder.embed_tokens.weight`, a tied `lm_head.weight`) are accepted where equal to it.
    """
    tensors = list(_tensors(config))
    _check(state, tensors, config)
    params: dict[str, Any] = {}
    for tensor in tensors:
        leaf = None
        for layer, name in enumerate(tensor.names()):
            part = _part(state[name], tensor.transposed)
            if leaf is None:  # filled part by part: no second copy of a stack is ever held
                stack = () if tensor.layers is None else (tensor.layers,)
                leaf = np.empty((*stack, *tensor.shape), dtype or part.dtype)
            leaf[... if tensor.layers is None else layer] = part
            if on_progress:
                on_progress(1)
        node = params
        for key in tensor.path[:-1]:
            node = node.setdefault(key, {})
        node[tensor.path[-1]] = leaf
    return params


def to_state_dict(params: Mapping[str, Any], config: T5Config) -> dict[str, np.ndarray]:
    """Hugging Face's tensors from the (unboxed) parameters of `EncoderDecoder(config)`: inverse of `from_state_dict`.

    The embedding is given once, as `shared.weight`; `transformers` ties its copies on loading. Raises UserError where
    the parameters are not those of `config`.
    """
    return dict(state_items(params, config))


def state_items(params: Mapping[str, Any], config: T5Config) -> Iterator[tuple[str, np.ndarray]]:
    """The entries of `to_state_dict` one by one, each made when it is asked for."""
    for tensor in _tensors(config):
        leaf: Any = params
        for key in tensor.path:
            if not isinstance(leaf, Mapping) or key not in leaf:
                raise UserError(f"the parameters lack {'/'.join(tensor.path)}: they are of another configuration")
            leaf = leaf[key]
        leaf = np.asarray(leaf)
        expected = tensor.shape if tensor.layers is None else (tensor.layers, *tensor.shape)
        if leaf.shape != expected:
            raise UserError(f"parameter {'/'.join(tensor.path)} has shape {leaf.shape}, the configuration {expected}")
        parts = [leaf] if tensor.layers is None else list(leaf)
        for name, part in zip(tensor.names(), parts, strict=True):
            yield name, np.ascontiguousarray(_part(part, tensor.transposed))


def tensor_names(config: T5Config) -> list[str]:
    """Names of all of Hugging Face's tensors of a configuration."""
    return [name for tensor in _tensors(config) for name in tensor.names()]


def _part(array: np.ndarray, transposed: bool) -> np.ndarray:
    array = np.asarray(array)
    return array.T if transposed else array


def _check(state: Mapping[str, ArrayLike], tensors: list[_Tensor], config: T5Config) -> None:
    expected = {name: tensor.foreign_shape for tensor in tensors for name in tensor.names()}
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [
        f"{name} has shape {tuple(state[name].shape)}, not {shape}"
        for name, shape in expected.items()
        if name in state and tuple(state[name].shape) != shape
    ]
    # Older releases wrote a bias for cross-attention that no code ever read.
    ignored = {"decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"}
    copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} | (
        {"lm_head.weight"} if config.tied_head else set()
    )
    for name in state:
        if name in expected or name in ignored:
            continue
        if name not in copies:
            problems.append(f"unknown {name}")
        elif "shared.weight" in state and not np.array_equal(
            np.asarray(state[name]), np.asarray(state["shared.weight"])
        ):
            problems.append(f"{name} differs from shared.weight, which it should copy")
    if problems:
        raise UserError(f"the tensors do not fit the configuration ({len(problems)} problems): {'; '.join(problems)}")


_FIELDS = {
    "vocab_size": "vocab_size",
    "d_model": "d_model",
    "d_kv": "d_kv",
    "d_ff": "d_ff",
    "num_heads": "num_heads",
    "encoder_layers": "num_layers",
    "decoder_layers": "num_decoder_layers",
    "relative_attention_buckets": "relative_attention_num_buckets",
    "relative_attention_max_distance": "relative_attention_max_distance",
    "dropout": "dropout_rate",
    "layer_norm_epsilon": "layer_norm_epsilon",
    "activation": "feed_forward_proj",
}


def config_from_huggingface(config: Mapping[str, Any]) -> T5Config:
    """Our configuration from the content of a T5's `config.json`; absent fields at Hugging Face's defaults, t5-small's.

    Raises UserError on a model that is no T5 and on a feed-forward this project does not have.
    """
    kind = config.get("model_type", "t5")
    if kind not in ("t5", "mt5"):
        raise UserError(f"config.json is of a {kind!r} model: only T5 (t5, mt5) weights can be read")
    # transformers 5 writes tie_word_embeddings=True for every T5, and whether the head is scaled beside it.
    tied = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", kind == "t5"))
    defaults = {"vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_heads": 8, "num_layers": 6}
    defaults |= {"feed_forward_proj": "relu" if kind == "t5" else "gated-gelu"}
    given = {name: value for name, value in config.items() if value is not None}
    given = {**defaults, **given}
    given.setdefault("num_decoder_layers", given["num_layers"])
    if given["feed_forward_proj"] not in ("relu", "gated-gelu"):
        raise UserError(f"config.json has feed_forward_proj {given['feed_forward_proj']!r}: want relu or gated-gelu")
    values = {ours: given[theirs] for ours, theirs in _FIELDS.items() if theirs in given}
    return T5Config(**values, tied_head=bool(tied))


def config_to_huggingface(config: T5Config) -> dict[str, Any]:
    """Content of a `config.json` that `transformers` reads as this model."""
    values = {theirs: getattr(config, ours) for ours, theirs in _FIELDS.items()}
    return {
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        **values,
        "tie_word_embeddings": config.tied_head,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }
