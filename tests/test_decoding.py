"""Greedy decoding, sampling and the driver over lists, on a random tiny model."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from atomas_jax.decoding.generate import DecoderWeights, generate, typed
from atomas_jax.decoding.sampling import draw
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import EncoderDecoder, shift_right

CONFIG = T5Config(vocab_size=24, d_model=16, d_kv=8, d_ff=24, num_heads=2, encoder_layers=1, decoder_layers=2)
START = 3
FORCED = jax.jit(EncoderDecoder(CONFIG).apply)
GREEDY = DecodingConfig(max_length=70)
"""Longer than the first cache, so that caches grow while strings are written."""
SAMPLE = DecodingConfig(method="sample", max_length=40, results=2)


@pytest.fixture(scope="module")
def params():
    tokens = jnp.ones((1, 2), jnp.int32)
    drawn = nn.meta.unbox(jax.jit(EncoderDecoder(CONFIG).init)(jax.random.key(1), tokens, tokens > 0, tokens)["params"])
    return drawn


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    return [[*rng.integers(4, 24, length).tolist(), 1] for length in (5, 30, 3, 12, 20, 9, 7)]


def write(params, inputs, settings, **options):
    return list(generate(params, CONFIG, inputs, settings, start_id=START, **{"batch_size": 8, **options}))


def teacher_forced(params, source, written):
    """Log-probabilities [L, V] of every token at every place of one written string."""
    padded = np.zeros((1, 32), np.int32)
    padded[0, : len(source)] = source
    target = np.zeros((1, 70), np.int32)
    target[0, : len(written)] = written
    logits = FORCED({"params": params}, padded, padded > 0, shift_right(target, START))
    return np.asarray(jax.nn.log_softmax(logits[0, : len(written)], axis=-1))


def test_weights_that_are_kept_write_the_same_and_are_laid_out_once(params, inputs):
    held = DecoderWeights(params)
    assert write(held, inputs, SAMPLE) == write(params, inputs, SAMPLE)
    assert held.on(CONFIG, None) is held.on(CONFIG, None)


def test_strings_are_written_in_the_type_that_is_asked_for(params, inputs):
    half = replace(CONFIG, dtype="bfloat16")
    asked = write(params, inputs, replace(SAMPLE, dtype="bfloat16"))
    trained = list(generate(params, half, inputs, SAMPLE, start_id=START, batch_size=8))
    assert asked == trained != write(params, inputs, SAMPLE)
    # no accelerator is at hand where tests run
    assert typed(CONFIG, SAMPLE, [SimpleNamespace(platform="gpu")]) == half
    assert typed(half, replace(SAMPLE, dtype="float32"), [SimpleNamespace(platform="tpu")]) == CONFIG
    with pytest.raises(UserError, match="dtype 'int8' is not known"):
        replace(SAMPLE, dtype="int8")


def test_greedy_takes_the_likeliest_token_and_knows_its_probability(params, inputs):
    results = write(params, inputs, GREEDY)
    for source, result in zip(inputs, results, strict=True):
        (written,) = result.tokens
        table = teacher_forced(params, source, written)
        np.testing.assert_array_equal(table.argmax(-1), written)
        assert result.log_probability[0] == pytest.approx(table.max(-1).sum(), abs=2e-4)
        assert result.finished[0] == (written[-1] == 1) and 1 not in written[:-1]
        assert len(written) == GREEDY.max_length or result.finished[0]
    assert max(len(result.tokens[0]) for result in results) > 64, "a cache has grown"


def test_a_row_does_not_depend_on_its_neighbours(params, inputs):
    for settings in (GREEDY, SAMPLE):
        together = write(params, inputs, settings)
        apart = write(params, inputs, settings, batch_size=4)
        for one, other in zip(together, apart, strict=True):
            assert one.tokens == other.tokens
            np.testing.assert_allclose(one.log_probability, other.log_probability, atol=1e-4)


def test_samples_repeat_for_a_seed_and_know_their_probability(params, inputs):
    first, again = write(params, inputs, SAMPLE), write(params, inputs, SAMPLE)
    other = write(params, inputs, replace(SAMPLE, seed=1))
    assert first == again
    assert [result.tokens for result in first] != [result.tokens for result in other]
    assert first[0].tokens[0] != first[0].tokens[1], "the samples of an input are independent"
    for number in range(2):
        written = first[3].tokens[number]
        table = teacher_forced(params, inputs[3], written)
        expected = table[np.arange(len(written)), written].sum()
        assert first[3].log_probability[number] == pytest.approx(expected, abs=2e-4)
    assert len({len(tokens) for result in first for tokens in result.tokens}) > 3, "samples end at various lengths"


def test_only_allowed_tokens_are_written(params, inputs):
    allowed = np.zeros(20, bool)
    allowed[[1, 5, 7, 11]] = True
    for settings in (SAMPLE, DecodingConfig(method="beam", beams=3, results=3, max_length=20)):
        written = write(params, inputs[:3], settings, allowed=allowed)
        used = {token for result in written for tokens in result.tokens for token in tokens}
        assert used <= {1, 5, 7, 11} and len(used) > 1
    with pytest.raises(UserError, match="do not belong together"):
        write(params, inputs, GREEDY, allowed=np.ones(25, bool))


def test_results_stream_in_input_order_and_progress_counts_them(params, inputs):
    many = [inputs[i % 7] for i in range(21)]
    counts, read = [], []

    def source():
        for item in many:
            read.append(item)
            yield item

    stream = generate(params, CONFIG, source(), GREEDY, start_id=START, batch_size=4, on_progress=counts.append)
    first = next(stream)
    assert len(read) == 4, "the first batch gives results before the rest is read"
    results = [first, *stream]
    assert sum(counts) == 21
    for i, result in enumerate(results):
        assert result.tokens == results[i % 7].tokens


def test_draw_follows_the_cut_distribution():
    logits = jnp.log(jnp.array([0.4, 0.25, 0.2, 0.1, 0.05]))
    count = 20_000
    keys = jax.random.split(jax.random.key(0), count)
    rows = jnp.broadcast_to(logits, (count, 5))
    cases = {
        (1.0, 0, 1.0): [0.4, 0.25, 0.2, 0.1, 0.05],
        (0.5, 0, 1.0): np.square([0.4, 0.25, 0.2, 0.1, 0.05]) / np.square([0.4, 0.25, 0.2, 0.1, 0.05]).sum(),
        (1.0, 2, 1.0): [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0],
        (1.0, 0, 0.7): [0.4 / 0.85, 0.25 / 0.85, 0.2 / 0.85, 0, 0],
        (1.0, 3, 0.6): [0.4 / 0.65, 0.25 / 0.65, 0, 0, 0],
    }
    for (temperature, top_k, top_p), expected in cases.items():
        settings = DecodingConfig(method="sample", temperature=temperature, top_k=top_k, top_p=top_p)
        drawn = Counter(np.asarray(draw(keys, rows, settings)).tolist())
        observed = np.array([drawn[token] for token in range(5)], float)
        expected = np.asarray(expected) * count
        assert observed[expected == 0].sum() == 0
        chi_square = (np.square(observed - expected)[expected > 0] / expected[expected > 0]).sum()
        assert chi_square < 25, "beyond the 0.9999 quantile for 4 degrees of freedom"


@pytest.mark.parametrize(
    "wrong",
    [{"method": "guess"}, {"results": 2}, {"method": "beam", "results": 9}, {"temperature": 0.0}, {"top_p": 0.0}],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UserError):
        DecodingConfig(**wrong)


def test_wrong_inputs_are_named(params):
    with pytest.raises(UserError, match="input 1 has no tokens"):
        write(params, [[5, 1], []], GREEDY)
    with pytest.raises(UserError, match="input 0 holds token 24"):
        write(params, [[24, 1]], GREEDY)
