"""Samples without replacement, min-p, shrinking batches, the Python loop and many devices, on a random tiny model."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from atomas_jax.decoding.generate import generate
from atomas_jax.decoding.sampling import draw
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import EncoderDecoder, shift_right

CONFIG = T5Config(vocab_size=8, d_model=16, d_kv=8, d_ff=24, num_heads=2, encoder_layers=1, decoder_layers=1)
SOURCE = [5, 7, 1]
WAYS = {
    "greedy": DecodingConfig(max_length=6),
    "sample": DecodingConfig(method="sample", results=2, max_length=6, top_k=5, top_p=0.9),
    "distinct": DecodingConfig(method="distinct", results=3, max_length=6, temperature=1.5),
    "beam": DecodingConfig(method="beam", beams=3, results=2, max_length=6),
}


def drawn(seed):
    tokens = jnp.ones((1, 2), jnp.int32)
    return nn.meta.unbox(EncoderDecoder(CONFIG).init(jax.random.key(seed), tokens, tokens > 0, tokens)["params"])


@pytest.fixture(scope="module")
def params():
    return drawn(15)


def write(params, inputs, settings, **options):
    return list(generate(params, CONFIG, inputs, settings, start_id=3, **options))


def every_string(params, allowed, length):
    """The probability of every string of allowed tokens, by a teacher-forced pass; strings are cut at `length`."""
    source = np.asarray([SOURCE])
    strings, unended = {}, [()]
    for _ in range(length):
        longer = []
        for start in unended:
            target = np.zeros((1, length), np.int32)
            target[0, : len(start)] = start
            logits = EncoderDecoder(CONFIG).apply({"params": params}, source, source > 0, shift_right(target, 3))
            logits = np.asarray(logits[0, len(start)], np.float64)
            free = logits - np.log(np.exp(logits).sum())
            cut = logits - np.log(np.exp(logits[allowed]).sum())
            for token in allowed:
                drawn, full = strings.get(start, (0.0, 0.0))
                strings[(*start, token)] = drawn + cut[token], full + free[token]
                longer.append((*start, token))
        unended = [string for string in longer if string[-1] != 1]
    return {s: p for s, p in strings.items() if s[-1] == 1 or len(s) == length}


def chi_square(observed, expected):
    return float((np.square(observed - expected) / expected).sum())


def test_distinct_samples_are_draws_without_replacement(params):
    allowed = [1, 4, 6]
    mask = np.isin(np.arange(8), allowed)
    table = every_string(params, allowed, 2)
    settings = DecodingConfig(method="distinct", results=3, max_length=2)
    count = 4000
    results = write(params, [SOURCE] * count, settings, allowed=mask, batch_size=count)
    first, second = Counter(), Counter()
    for result in results:
        strings = [tuple(tokens) for tokens in result.tokens]
        assert len(set(strings)) == 3
        assert result.score == sorted(result.score, reverse=True)
        np.testing.assert_allclose(result.log_probability, [table[s][1] for s in strings], atol=2e-5)
        first[strings[0]] += 1
        second[strings[1]] += 1
    probability = {string: np.exp(drawn) for string, (drawn, _) in table.items()}
    assert sum(probability.values()) == pytest.approx(1)
    then = {b: sum(p * probability[b] / (1 - p) for a, p in probability.items() if a != b) for b in probability}
    for seen, expected in ((first, probability), (second, then)):
        names = list(expected)
        statistic = chi_square(np.array([seen[n] for n in names]), count * np.array([expected[n] for n in names]))
        assert len(names) == 7 and statistic < 27.9, "beyond the 0.9999 quantile for 6 degrees of freedom"


@pytest.mark.slow
def test_fewer_strings_than_asked_for_are_given_once_each(params):
    for method in ("distinct", "beam"):
        settings = DecodingConfig(method=method, results=9, beams=9, max_length=2)
        (result,) = write(params, [SOURCE], settings, allowed=np.isin(np.arange(8), [1, 4, 6]))
        assert sorted(map(tuple, result.tokens)) == [(1,), *((a, b) for a in (4, 6) for b in (1, 4, 6))]
        assert np.exp(result.log_probability).sum() < 1 and len(result.finished) == 7


def test_plain_samples_follow_the_models_distribution(params):
    allowed = [1, 4, 6]
    table = every_string(params, allowed, 2)
    settings = DecodingConfig(method="sample", results=4, max_length=2)
    written = write(params, [SOURCE] * 1000, settings, allowed=np.isin(np.arange(8), allowed), batch_size=1000)
    seen = Counter(tuple(tokens) for result in written for tokens in result.tokens)
    expected = np.array([4000 * np.exp(drawn) for drawn, _ in table.values()])
    assert chi_square(np.array([seen[string] for string in table]), expected) < 27.9


def test_min_p_cuts_by_the_likeliest():
    probability = np.array([0.5, 0.3, 0.15, 0.05])
    count = 20_000
    keys = jax.random.split(jax.random.key(0), count)
    rows = jnp.broadcast_to(jnp.log(jnp.asarray(probability)), (count, 4))
    for options, kept in (
        ({"min_p": 0.25}, 3),
        ({"min_p": 0.5}, 2),
        ({"min_p": 0.25, "top_p": 0.6}, 2),
        ({"min_p": 1.0}, 1),
    ):
        drawn = Counter(np.asarray(draw(keys, rows, DecodingConfig(method="sample", **options))).tolist())
        expected = count * probability[:kept] / probability[:kept].sum()
        assert set(drawn) == set(range(kept))
        assert chi_square(np.array([drawn[i] for i in range(kept)]), expected) < 21.1


@pytest.mark.slow
@pytest.mark.parametrize("way", ["sample", "beam"])
def test_the_python_loop_writes_what_the_compiled_one_does(params, way):
    inputs = [SOURCE, [6, 1]]
    settings = replace(WAYS[way], max_length=4)
    compiled = write(params, inputs, settings)
    stepped = write(params, inputs, replace(settings, compiled=False))
    for one, other in zip(compiled, stepped, strict=True):
        assert one.tokens == other.tokens and one.finished == other.finished
        np.testing.assert_allclose(one.log_probability, other.log_probability, atol=1e-4)
        np.testing.assert_allclose(one.score, other.score, atol=1e-4)


@pytest.mark.parametrize(
    "way", ["greedy", *(pytest.param(way, marks=pytest.mark.slow) for way in WAYS if way != "greedy")]
)
def test_a_batch_that_shrinks_writes_the_same(params, way):
    """Strings that are done leave the batch while others go on; in batches too small to shrink, all are the same."""
    rng = np.random.default_rng(1)
    inputs = [[*rng.integers(4, 8, rng.integers(1, 20)).tolist(), 1] for _ in range(33)]
    settings = replace(WAYS[way], max_length=70, early_stopping=True, length_penalty=-1.0)
    if way == "greedy":  # sure of itself, differently for different inputs
        params = drawn(8)
        sure = jax.tree.map(lambda leaf: leaf * (3 if leaf.ndim > 2 else 1), params["decoder"])
        params = {**params, "decoder": sure}
    together = write(params, inputs, settings, batch_size=64)
    lengths = np.array([len(result.tokens[0]) for result in together])
    assert (lengths < 64).sum() > 8, "the test wants strings that end early"
    apart = write(params, inputs, settings, batch_size=8)
    for one, other in zip(together, apart, strict=True):
        assert one.tokens == other.tokens
        np.testing.assert_allclose(one.log_probability, other.log_probability, atol=2e-4)
        # the penalty multiplies a beam's by its length: thousands, whose last float32 digit is 5e-4
        np.testing.assert_allclose(one.score, other.score, atol=2e-4, rtol=1e-6)


EIGHT = """
import sys
sys.path[:0] = {path!r}
import jax, numpy as np
from dataclasses import replace
from test_decoding_ways import WAYS, drawn, write
params = drawn(15)
assert len(jax.devices()) == 8
rng = np.random.default_rng(1)
inputs = [[*rng.integers(4, 8, rng.integers(1, 20)).tolist(), 1] for _ in range(90)]
for way in ("sample", "beam"):
    settings = replace(WAYS[way], max_length=40)
    shared = write(params, inputs, settings, batch_size=100)
    alone = write(params, inputs, settings, batch_size=100, devices=jax.devices()[:1])
    assert [r.tokens for r in shared] == [r.tokens for r in alone]
    np.testing.assert_allclose([r.score for r in shared], [r.score for r in alone], atol=2e-4)
print("equal")
"""


TWO = """
import sys
sys.path[:0] = {path!r}
import jax
from jax.sharding import AxisType
from test_decoding_ways import drawn, write
from atomas_jax.decoding.generate import DecoderWeights
from atomas_jax.decoding.settings import DecodingConfig
held, settings, inputs = DecoderWeights(drawn(15)), DecodingConfig(max_length=8), [[4, 1], [5, 6, 1], [7, 1], [4, 4, 1]]
alone = write(held, inputs, settings, devices=jax.devices()[:1])
shared = write(held, inputs, settings)
assert [r.tokens for r in shared] == [r.tokens for r in alone]
with jax.set_mesh(jax.make_mesh((2,), ("job",), axis_types=(AxisType.Auto,))):  # as while a model is trained
    within = write(held, inputs, settings)
assert [r.tokens for r in within] == [r.tokens for r in alone]
print("equal")
"""


@pytest.mark.multiprocess
@pytest.mark.parametrize("devices", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_several_devices_write_what_one_does(devices):
    here = Path(__file__).resolve().parent
    program = {2: TWO, 8: EIGHT}[devices].format(path=[str(here), str(here.parent)])
    flags = os.environ["XLA_FLAGS"] + f" --xla_force_host_platform_device_count={devices}"
    process = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.strip() == "equal"
