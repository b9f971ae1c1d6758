"""Hugging Face T5 as a witness: the same weights give the same states and logits, and go there and back unchanged."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from atomas_jax.errors import UserError
from atomas_jax.interchange.huggingface import (
    config_from_huggingface,
    config_to_huggingface,
    from_state_dict,
    to_state_dict,
)
from atomas_jax.model.attention import relative_buckets
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import EncoderDecoder, shift_right

TINY = T5Config(
    vocab_size=96, d_model=32, d_kv=8, d_ff=48, num_heads=3, encoder_layers=2, decoder_layers=3, activation="gated-gelu"
)
VERSIONS = {"v1.1": TINY, "v1.0": replace(TINY, activation="relu", tied_head=True)}


def random_parameters(config, seed=0):
    """Parameters whose every leaf is random, norms too, so that no tensor can be swapped for another unseen."""
    state = {}
    rng = np.random.default_rng(seed)
    tokens = np.ones((1, 2), np.int32)
    shapes = jax.eval_shape(EncoderDecoder(config).init, jax.random.key(0), tokens, tokens > 0, tokens)["params"]
    shapes = jax.tree.map(lambda leaf: leaf.value.shape, shapes, is_leaf=lambda leaf: hasattr(leaf, "value"))
    state = jax.tree.map(
        lambda shape: rng.normal(1.0 if shape[-1:] == (32,) and len(shape) < 3 else 0.0, 0.3, shape).astype(np.float32),
        shapes,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    return state


@pytest.fixture(scope="module", params=VERSIONS)
def witness(request):
    """A random Hugging Face T5, our configuration of it and its tensors."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = VERSIONS[request.param]
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**config_to_huggingface(config))).eval()
    if not config.tied_head:
        model.lm_head.weight = torch.nn.Parameter(torch.randn(config.vocab_size, config.d_model))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "relative" in name:
                parameter.add_(0.5 * torch.randn_like(parameter))
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    return model, config, state


@pytest.mark.torch
def test_states_and_logits_equal_hugging_face(witness):
    import torch

    model, config, state = witness
    rng = np.random.default_rng(1)
    source = rng.integers(2, config.vocab_size, (3, 150)).astype(np.int32)
    target = rng.integers(2, config.vocab_size, (3, 40)).astype(np.int32)
    mask = np.arange(150)[None] < np.array([150, 7, 61])[:, None]
    with torch.no_grad():
        theirs = model(
            input_ids=torch.tensor(source).long(),
            attention_mask=torch.tensor(mask).long(),
            decoder_input_ids=torch.tensor(np.asarray(shift_right(target, 0))).long(),
        )
    variables = {"params": from_state_dict(state, config)}
    ours = EncoderDecoder(config)
    encoded = ours.apply(variables, source, mask, method="encode")
    logits = ours.apply(variables, shift_right(target, 0), encoded, mask, method="decode")
    np.testing.assert_allclose(encoded[mask], theirs.encoder_last_hidden_state.numpy()[mask], atol=1e-5, rtol=1e-5)
    np.testing.assert_allclose(logits, theirs.logits.numpy(), atol=1e-4, rtol=1e-5)


@pytest.mark.torch
def test_exported_tensors_load_without_complaint(witness):
    import torch

    model, config, state = witness
    exported = to_state_dict(from_state_dict(state, config), config)
    for name, tensor in exported.items():
        np.testing.assert_array_equal(tensor, state[name])
    left = model.load_state_dict({name: torch.tensor(tensor) for name, tensor in exported.items()}, strict=False)
    assert not left.unexpected_keys
    copies = {"encoder.embed_tokens.weight", "decoder.embed_tokens.weight"} | (
        {"lm_head.weight"} if config.tied_head else set()
    )
    assert set(left.missing_keys) <= copies


@pytest.mark.torch
@pytest.mark.parametrize("bidirectional", [True, False])
def test_relative_buckets_equal_hugging_face(bidirectional):
    torch = pytest.importorskip("torch")
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = np.arange(-1100, 1100)
    for buckets, furthest in ((32, 128), (16, 64), (32, 256)):
        theirs = T5Attention._relative_position_bucket(torch.tensor(distances), bidirectional, buckets, furthest)
        ours = relative_buckets(distances, buckets, furthest, bidirectional)
        np.testing.assert_array_equal(ours, theirs.numpy())


@pytest.mark.torch
def test_configuration_survives_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    import json

    for config in VERSIONS.values():
        transformers.T5Config(**config_to_huggingface(config)).save_pretrained(tmp_path)
        written = json.loads((tmp_path / "config.json").read_text())
        assert config_from_huggingface(written) == config


@pytest.mark.parametrize("version", VERSIONS)
def test_round_trip_is_exact(version):
    config = VERSIONS[version]
    params = random_parameters(config)
    back = from_state_dict(to_state_dict(params, config), config)
    assert jax.tree.structure(params) == jax.tree.structure(back)
    jax.tree.map(np.testing.assert_array_equal, params, back)


def test_wrong_tensors_are_named():
    config = VERSIONS["v1.1"]
    state = to_state_dict(random_parameters(config), config)
    state["encoder.block.1.layer.0.SelfAttention.q.weight"] = np.zeros((3, 3), np.float32)
    state["extra.weight"] = state.pop("decoder.final_layer_norm.weight")
    with pytest.raises(UserError) as error:
        from_state_dict(state, config)
    for word in ("missing decoder.final_layer_norm.weight", "unknown extra.weight", "SelfAttention.q.weight has shape"):
        assert word in str(error.value)


def test_an_untied_head_is_not_taken_for_a_tied_one():
    config = VERSIONS["v1.0"]
    state = to_state_dict(random_parameters(config), config)
    state["lm_head.weight"] = state["shared.weight"].copy()
    from_state_dict(state, config)
    state["lm_head.weight"][0, 0] += 1
    with pytest.raises(UserError, match=r"lm_head\.weight differs"):
        from_state_dict(state, config)


def test_parameters_of_another_configuration_are_refused():
    params = random_parameters(VERSIONS["v1.0"])
    with pytest.raises(UserError, match="lack head/kernel"):
        to_state_dict(params, VERSIONS["v1.1"])
    with pytest.raises(UserError, match="has shape"):
        to_state_dict(params, replace(VERSIONS["v1.0"], d_ff=50))


def test_configuration_of_published_models():
    small = config_from_huggingface({"model_type": "t5", "d_model": 512})
    assert small == T5Config(
        d_model=512, d_ff=2048, num_heads=8, encoder_layers=6, decoder_layers=6, activation="relu", tied_head=True
    )
    published = {"d_model": 768, "d_ff": 2048, "num_heads": 12, "num_layers": 12, "num_decoder_layers": 12}
    published |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "vocab_size": 32128}
    assert config_from_huggingface(published) == T5Config()
    with pytest.raises(UserError, match="gated-silu"):
        config_from_huggingface({"feed_forward_proj": "gated-silu"})
    with pytest.raises(UserError, match="bart"):
        config_from_huggingface({"model_type": "bart"})
