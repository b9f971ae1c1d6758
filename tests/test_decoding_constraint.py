"""Constraints and prefixes in the compiled loop, on a random tiny model."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from atomas_jax.decoding.generate import generate
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.model.configuration import T5Config
from atomas_jax.model.t5 import EncoderDecoder

CONFIG = T5Config(vocab_size=16, d_model=16, d_kv=8, d_ff=24, num_heads=2, encoder_layers=1, decoder_layers=1)
INPUTS = [[5, 6, 1], [9, 4, 11, 13, 1], [7, 1]]
WAYS = {
    "greedy": DecodingConfig(max_length=12),
    "sample": DecodingConfig(method="sample", max_length=12, results=4),
    "beam": DecodingConfig(method="beam", max_length=12, beams=4, results=4),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Steps:
    """Every token differs from the one before by at most `reach`; the end comes after a token of at least `last`."""

    reach: jax.Array
    last: jax.Array

    def start(self, rows):
        return jnp.full((rows,), 8, jnp.int32)

    def allowed(self, state, remaining):
        tokens = jnp.arange(CONFIG.vocab_size)
        near = (jnp.abs(tokens - state[:, None]) <= self.reach) & (tokens >= 3)
        ends = (tokens == 1) & (state[:, None] >= self.last)
        return near | ends | ((remaining == 1) & (tokens == 1))

    def advance(self, state, tokens):
        return jnp.where(tokens >= 3, tokens, state)


@pytest.fixture(scope="module")
def params():
    tokens = jnp.ones((1, 2), jnp.int32)
    return nn.meta.unbox(jax.jit(EncoderDecoder(CONFIG).init)(jax.random.key(1), tokens, tokens > 0, tokens)["params"])


@pytest.mark.parametrize("way", WAYS)
def test_every_string_obeys_the_constraint(params, way):
    constraint = Steps(jnp.array(2), jnp.array(9))
    results = list(generate(params, CONFIG, INPUTS, WAYS[way], start_id=3, constraint=constraint, batch_size=4))
    for strings in (result.tokens for result in results):
        assert len({tuple(tokens) for tokens in strings}) == len(strings) or way == "sample"
        for tokens in strings:
            body = [8, *(tokens[:-1] if tokens[-1] == 1 else tokens)]
            assert np.abs(np.diff(body)).max(initial=0) <= 2
            assert tokens[-1] == 1 or len(tokens) == 12
            assert tokens[-1] != 1 or body[-1] >= 9 or len(tokens) == 12


@pytest.mark.parametrize("way", WAYS)
def test_a_prefix_is_written_first_and_counted_in_the_probability(params, way):
    settings = WAYS[way]
    free = list(generate(params, CONFIG, INPUTS, settings, start_id=3, batch_size=4))
    forced = list(generate(params, CONFIG, INPUTS, settings, start_id=3, prefix=[7, 7, 10], batch_size=4))
    for result in forced:
        assert all(tokens[:3] == [7, 7, 10] for tokens in result.tokens)
        assert len({tuple(tokens) for tokens in result.tokens}) == settings.results or way == "sample"
    assert [r.tokens for r in forced] != [r.tokens for r in free]
    if way == "greedy":  # what greedy decoding writes by itself is no other string when it is demanded
        for source, result in zip(INPUTS, free, strict=True):
            (again,) = generate(params, CONFIG, [source], settings, start_id=3, prefix=result.tokens[0][:3])
            assert again.tokens == result.tokens
            assert again.log_probability == pytest.approx(result.log_probability, abs=1e-4)


def test_a_prefix_without_room_or_with_unknown_tokens_is_refused(params):
    for prefix, told in (([5] * 12, "max_length is 12"), ([99], "holds token 99")):
        with pytest.raises(UserError, match=told):
            list(generate(params, CONFIG, INPUTS, WAYS["greedy"], start_id=3, prefix=prefix))
