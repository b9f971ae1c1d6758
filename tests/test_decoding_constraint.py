"""A constraint and a forced prefix inside the compiled loop, for every way of decoding."""

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
METHODS = {
    "greedy": DecodingConfig(max_length=12),
    "sample": DecodingConfig(method="sample", results=3, max_length=12),
    "beam": DecodingConfig(method="beam", beams=3, results=3, max_length=12),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Balanced:
    """Token 4 opens, token 5 closes; what is open must be closed before the end, which is possible to the last."""

    changes: jax.Array

    def start(self, rows):
        return jnp.zeros(rows, jnp.int32)

    def allowed(self, state, remaining):
        after = state[:, None] + self.changes
        token = jnp.arange(len(self.changes))
        return (after >= 0) & (after + 2 <= remaining) & (token > 1) | (token == 1) & (state == 0)[:, None]

    def advance(self, state, tokens):
        return state + self.changes[tokens]


@pytest.fixture(scope="module")
def params():
    tokens = jnp.ones((1, 2), jnp.int32)
    return nn.meta.unbox(EncoderDecoder(CONFIG).init(jax.random.key(3), tokens, tokens > 0, tokens)["params"])


def write(params, settings, **options):
    inputs = [[5, 9, 1], [7, 1], [11, 12, 4, 1]]
    return list(generate(params, CONFIG, inputs, settings, start_id=3, batch_size=4, **options))


@pytest.mark.parametrize("method", METHODS)
def test_a_constraint_holds_to_the_end_and_a_prefix_comes_first(params, method):
    changes = np.zeros(16, np.int32)
    changes[[4, 5]] = 1, -1
    free = write(params, METHODS[method])
    assert any(result.tokens[0].count(4) != result.tokens[0].count(5) for result in free), "the test needs a reason"
    prefix = [4, 4, 9, 5, 4]
    written = write(params, METHODS[method], constraint=Balanced(jnp.asarray(changes)), prefix=prefix)
    for result in written:
        assert result.finished == [True] * METHODS[method].results
        for tokens in result.tokens:
            assert tokens[:5] == prefix
            depth = np.cumsum(changes[tokens])
            assert depth.min() >= 0 and depth[-1] == 0
        assert method != "beam" or len({tuple(tokens) for tokens in result.tokens}) == 3


def test_a_prefix_longer_than_the_string_is_refused(params):
    with pytest.raises(UserError, match="prefix has 12 tokens, max_length is 12"):
        write(params, METHODS["greedy"], prefix=[4] * 12)
