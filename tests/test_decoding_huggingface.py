"""Greedy and beam search beside Hugging Face's `generate`: the same random weights, the same strings and scores."""

import numpy as np
import pytest

from atomas_jax.decoding.generate import generate
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.interchange.huggingface import config_to_huggingface, from_state_dict
from atomas_jax.model import incremental
from atomas_jax.model.configuration import T5Config

pytestmark = pytest.mark.torch
START = 3
SIZES = dict(vocab_size=12, d_model=16, d_kv=8, d_ff=24, num_heads=2, encoder_layers=2, decoder_layers=2)
VERSIONS = {"v1.1": T5Config(**SIZES), "v1.0": T5Config(**SIZES, activation="relu", tied_head=True)}


@pytest.fixture(scope="module", params=VERSIONS)
def witness(request):
    """A Hugging Face model random enough to write strings of many lengths, and the same parameters as ours."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = VERSIONS[request.param]
    torch.manual_seed(2)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**config_to_huggingface(config))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "shared" in name:
                parameter.copy_(torch.randn_like(parameter) * (1.2 if config.tied_head else 1.0))
            elif "norm" not in name:
                parameter.copy_(torch.randn_like(parameter) * 0.5)
        if not config.tied_head:
            model.lm_head.weight = torch.nn.Parameter(torch.randn(config.vocab_size, config.d_model) * 0.3)
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    rng = np.random.default_rng(0)
    inputs = [[*rng.integers(4, 12, length).tolist(), 1] for length in (5, 30, 1, 12, 20, 9, 7, 15)]
    return model, config, from_state_dict(state, config), inputs


def hugging_face(model, inputs, settings):
    """Strings [B][N] without the start token and padding, and their scores [B][N] (beams only)."""
    import torch

    width = max(map(len, inputs))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in inputs])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in inputs])
    beam = settings.method == "beam"
    options = dict(
        num_beams=settings.beams,
        num_return_sequences=settings.results,
        length_penalty=settings.length_penalty,
        early_stopping="never" if settings.exhaustive else settings.early_stopping,
    )
    with torch.no_grad():
        output = model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=settings.max_length,
            decoder_start_token_id=START,
            do_sample=False,
            output_scores=True,
            return_dict_in_generate=True,
            **(options if beam else {}),
        )
    strings = []
    for row in output.sequences[:, 1:].tolist():
        strings.append(row[: row.index(1) + 1] if 1 in row else row)
    count = settings.results
    strings = [strings[i : i + count] for i in range(0, len(strings), count)]
    return strings, output.sequences_scores.reshape(-1, count).numpy() if beam else None


def test_greedy(witness):
    model, config, params, inputs = witness
    settings = DecodingConfig(max_length=40)
    ours = list(generate(params, config, inputs, settings, start_id=START, batch_size=8))
    theirs, _ = hugging_face(model, inputs, settings)
    assert [result.tokens for result in ours] == theirs
    lengths = {len(result.tokens[0]) for result in ours}
    assert config.tied_head or len(lengths) > 2, "the test wants strings of several lengths"


@pytest.mark.parametrize(
    "settings",
    [DecodingConfig(max_length=24), DecodingConfig(method="beam", beams=3, results=3, max_length=24)],
    ids=["greedy", "beam"],
)
def test_many_strings_at_once(witness, settings):
    """From so many on, attention takes another form on CPU."""
    assert incremental._MANY_GROUPS <= 20
    model, config, params, _ = witness
    rng = np.random.default_rng(1)
    inputs = [[*rng.integers(4, 12, length).tolist(), 1] for length in rng.integers(1, 32, 20)]
    ours = list(generate(params, config, inputs, settings, start_id=START, batch_size=20))
    theirs, scores = hugging_face(model, inputs, settings)
    assert [result.tokens for result in ours] == theirs
    if scores is not None:
        np.testing.assert_allclose([result.score for result in ours], scores, atol=1e-4, rtol=5e-6)


@pytest.mark.parametrize(
    ("beams", "length_penalty", "early_stopping"),
    [(2, -0.5, False), (3, 0.0, True), (4, 0.6, False), (5, 1.0, True), (3, 2.0, "never"), (2, -1.0, "never")],
)
def test_beam_search(witness, beams, length_penalty, early_stopping):
    model, config, params, inputs = witness
    settings = DecodingConfig(
        method="beam",
        max_length=24,
        beams=beams,
        results=beams,
        length_penalty=length_penalty,
        early_stopping=early_stopping is True,
        exhaustive=early_stopping == "never",
    )
    ours = list(generate(params, config, inputs, settings, start_id=START, batch_size=8))
    theirs, scores = hugging_face(model, inputs, settings)
    assert [result.tokens for result in ours] == theirs
    np.testing.assert_allclose([result.score for result in ours], scores, atol=1e-4, rtol=5e-6)
    for result in ours:
        lengths = np.array([len(tokens) for tokens in result.tokens])
        np.testing.assert_allclose(result.log_probability, result.score * lengths**length_penalty, rtol=1e-4)
