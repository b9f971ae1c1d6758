"""The T5 encoder-decoder by itself: padding, precision, rematerialisation, logical axes, published sizes."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax.sharding import PartitionSpec as P

from atomas_jax.model import incremental
from atomas_jax.model.configuration import PRESETS, T5Config
from atomas_jax.model.incremental import decode_step, init_cache, step_weights
from atomas_jax.model.t5 import EncoderDecoder, parameter_count, shift_right

TINY = T5Config(
    vocab_size=40, d_model=16, d_kv=4, d_ff=24, num_heads=3, encoder_layers=2, decoder_layers=2, dropout=0.3
)
VERSIONS = {"v1.1": TINY, "v1.0": replace(TINY, activation="relu", tied_head=True)}


def boxed_parameters(config):
    tokens = jnp.ones((1, 2), jnp.int32)
    return jax.jit(EncoderDecoder(config).init)(jax.random.key(0), tokens, tokens > 0, tokens)["params"]


@pytest.fixture(scope="module", params=VERSIONS)
def model(request):
    """Module, configuration and parameters, the relative biases made large enough to matter."""
    config = VERSIONS[request.param]
    params = nn.meta.unbox(boxed_parameters(config))
    for stack in ("encoder", "decoder"):
        params[stack]["relative_bias"]["embedding"] *= 8
    return EncoderDecoder(config), config, params


def strings(rows, length, config=TINY, seed=0):
    return np.random.default_rng(seed).integers(2, config.vocab_size, (rows, length)).astype(np.int32)


def test_parameter_counts_of_published_models():
    expected = {"small": 76_961_152, "base": 247_577_856, "large": 783_150_080, "t5-small": 60_506_624}
    assert {name: parameter_count(PRESETS[name].transformer) for name in expected} == expected


def test_padding_changes_neither_states_nor_gradients(model):
    module, config, params = model
    lengths = np.array([9, 4])
    source, target = strings(2, 9), strings(2, 5, seed=1)
    weight = jnp.asarray(np.random.default_rng(2).normal(size=(2, 5, config.vocab_size)), jnp.float32)

    def run(params, pad, filler):
        padded = np.full((2, 9 + pad), filler, np.int32)
        padded[:, :9] = source
        mask = np.arange(9 + pad)[None] < lengths[:, None]
        late = np.pad(target, ((0, 0), (0, pad)), constant_values=filler)
        encoded = module.apply({"params": params}, padded, mask, method="encode")
        logits = module.apply({"params": params}, shift_right(late, 0), encoded, mask, method="decode")[:, :5]
        return jnp.sum(logits * weight), (encoded[:, :9] * mask[:, :9, None], logits)

    compiled = jax.jit(jax.value_and_grad(run, has_aux=True), static_argnums=(1, 2))
    (_, plain), gradient = compiled(params, 0, 0)
    (_, padded), padded_gradient = compiled(params, 6, 7)
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-5, rtol=1e-5), plain, padded)
    jax.tree.map(partial(np.testing.assert_allclose, atol=2e-4, rtol=1e-4), gradient, padded_gradient)
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(gradient)), "every parameter takes part"


def test_a_decoder_mask_hides_keys(model):
    module, _, params = model
    source, target = strings(2, 4), strings(2, 6, seed=3)
    mask = np.ones((2, 6), bool)
    mask[:, 2] = False
    changed = target.copy()
    changed[:, 2] = 5
    encoded = module.apply({"params": params}, source, source > 0, method="encode")
    run = jax.jit(
        lambda tokens, mask: module.apply({"params": params}, tokens, encoded, source > 0, mask, method="decode")
    )
    np.testing.assert_allclose(run(target, mask)[:, 3:], run(changed, mask)[:, 3:], atol=1e-6)
    assert np.abs(run(target, mask | True)[:, 3:] - run(changed, mask | True)[:, 3:]).max() > 1e-3


def test_a_string_of_nothing_but_padding_gives_numbers(model):
    module, _, params = model
    source = np.zeros((2, 3), np.int32)

    def loss(params):
        return module.apply({"params": params}, source, source > 0, source).sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(params)
    assert np.isfinite(value) and all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize("groups", [1, 1000], ids=["by sums", "by products"])
@pytest.mark.parametrize(
    ("width", "length", "branching"), [(7, 21, False), (8, 24, False), (8, 24, True), (5, 19, True)]
)
def test_one_token_at_a_time_equals_teacher_forcing(model, monkeypatch, groups, width, length, branching):
    monkeypatch.setattr(incremental, "_MANY_GROUPS", groups)
    module, config, params = model
    count, continuations = 2, 3
    source = strings(count, width)
    mask = np.arange(width)[None] < np.resize([width, 3], count)[:, None]
    target = strings(count * continuations, length, seed=4)
    encoded = module.apply({"params": params}, source, mask, method="encode")
    weights = step_weights(params, config)
    cache = init_cache(weights, config, encoded, mask, length, continuations, branching=branching)
    assert cache.cross_keys[0].shape[0] == count, "cross-attention is not repeated for every continuation"
    step = jax.jit(lambda tokens, cache: decode_step(weights, config, tokens, cache))
    stepped = []
    for position in range(length):
        logits, cache = step(target[:, position], cache)
        stepped.append(logits)
    repeated = [jnp.repeat(jnp.asarray(array), continuations, axis=0) for array in (encoded, mask)]
    forced = module.apply({"params": params}, target, *repeated, method="decode")
    np.testing.assert_allclose(np.stack(stepped, axis=1), forced, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_finite_and_close(model):
    module, config, params = model
    half = EncoderDecoder(replace(config, dtype="bfloat16"))
    source, target = strings(3, 12), strings(3, 8, seed=5)
    exact = jax.jit(module.apply)({"params": params}, source, source > 0, target)
    rough = jax.jit(half.apply)({"params": params}, source, source > 0, target)
    states = jax.jit(partial(half.apply, method="encode"))({"params": params}, source, source > 0)
    assert rough.dtype == jnp.float32 and states.dtype == jnp.bfloat16
    np.testing.assert_allclose(rough, exact, atol=0.05 * float(jnp.std(exact)) + 0.05)


def test_rematerialisation_changes_no_gradient():
    config = TINY
    params = nn.meta.unbox(boxed_parameters(config))
    source, target = strings(2, 6), strings(2, 5, seed=6)

    def gradient(remat):
        module = EncoderDecoder(replace(config, remat=remat))
        rngs = {"dropout": jax.random.key(3)}

        def loss(params):
            return jnp.square(module.apply({"params": params}, source, source > 0, target, False, rngs=rngs)).mean()

        return jax.jit(jax.grad(loss))(params)

    plain = gradient("none")
    for remat in ("dots", "full"):
        jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6, rtol=1e-4), plain, gradient(remat))


def test_dropout_follows_its_key_and_only_when_asked(model):
    module, _, params = model
    source = strings(2, 6)

    @partial(jax.jit, static_argnums=1)
    def states(seed, deterministic):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply({"params": params}, source, source > 0, deterministic, rngs=rngs, method="encode")

    np.testing.assert_array_equal(states(0, False), states(0, False))
    np.testing.assert_array_equal(states(0, True), states(1, True))
    assert np.abs(states(0, False) - states(1, False)).max() > 1e-2


def test_logical_axes_name_every_dimension():
    specs = nn.get_partition_spec(boxed_parameters(TINY))
    shapes = nn.meta.unbox(jax.eval_shape(lambda: boxed_parameters(TINY)))
    flat = jax.tree.leaves_with_path(specs, is_leaf=lambda leaf: isinstance(leaf, P))
    for (path, spec), shape in zip(flat, jax.tree.leaves(shapes), strict=True):
        assert len(spec) == shape.ndim and None not in spec, jax.tree_util.keystr(path)
    assert specs["decoder"]["layers"]["cross_attention"]["query"]["kernel"] == P("layers", "embed", "heads")
    assert specs["encoder"]["layers"]["feed_forward"]["down"]["kernel"] == P("layers", "mlp", "embed")
    assert specs["embedding"] == P("vocab", "embed") and specs["head"]["kernel"] == P("embed", "vocab")


def test_initial_deviations_are_those_of_t5():
    config = replace(TINY, d_model=96, d_kv=16, d_ff=160, num_heads=4, vocab_size=300)
    params = nn.meta.unbox(boxed_parameters(config))
    layer = params["decoder"]["layers"]
    expected = {
        "embedding": (params["embedding"], 1.0),
        "query": (layer["self_attention"]["query"]["kernel"], (96 * 16) ** -0.5),
        "key": (layer["self_attention"]["key"]["kernel"], 96**-0.5),
        "value": (layer["cross_attention"]["value"]["kernel"], 96**-0.5),
        "out": (layer["self_attention"]["out"]["kernel"], 64**-0.5),
        "up": (layer["feed_forward"]["up"]["kernel"], 96**-0.5),
        "down": (layer["feed_forward"]["down"]["kernel"], 160**-0.5),
        "head": (params["head"]["kernel"], 96**-0.5),
    }
    for name, (leaf, deviation) in expected.items():
        assert float(jnp.std(leaf)) == pytest.approx(deviation, rel=0.05), name
    first, second = layer["self_attention"]["query"]["kernel"]
    assert not np.allclose(first, second), "layers start different"


def test_shift_right_takes_a_start_for_each_row():
    tokens = np.array([[5, 6, 1], [7, 1, 0]], np.int32)
    np.testing.assert_array_equal(shift_right(tokens, 3), [[3, 5, 6], [3, 7, 1]])
    np.testing.assert_array_equal(shift_right(tokens, np.array([3, 4])), [[3, 5, 6], [4, 7, 1]])
