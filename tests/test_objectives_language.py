"""The language loss, the settings of the objective, and the sum of its terms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atomas_jax.errors import UserError
from atomas_jax.model.heads import Aligned, Level, Scalars, Side
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.objectives.contrast import softmax_contrast
from atomas_jax.objectives.language import TokenLoss, token_loss, token_loss_of_states
from atomas_jax.objectives.total import joint_loss


@pytest.fixture(scope="module")
def made():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 5, 11)).astype(np.float32)
    targets = rng.integers(0, 11, size=(3, 5)).astype(np.int32)
    mask = np.arange(5) < np.array([5, 2, 0])[:, None]
    return logits, targets, mask


def test_token_loss_is_the_formula_over_real_tokens(made):
    logits, targets, mask = made
    exact = logits.astype(np.float64)
    log_z = np.log(np.exp(exact).sum(-1))
    log_p = exact - log_z[..., None]
    entropy = -np.take_along_axis(log_p, targets[..., None], -1)[..., 0]

    found = token_loss(logits, targets, mask)
    assert found.count == 7
    np.testing.assert_allclose(found.mean, entropy[mask].mean(), rtol=1e-6)
    np.testing.assert_allclose(found.total, found.cross_entropy, rtol=1e-6)
    assert found.correct == (exact.argmax(-1) == targets)[mask].sum()

    smoothed = token_loss(logits, targets, mask, label_smoothing=0.1, z_loss=0.01)
    expected = 0.9 * entropy - 0.1 * log_p.mean(-1) + 0.01 * log_z**2
    np.testing.assert_allclose(smoothed.mean, expected[mask].mean(), rtol=1e-6)
    np.testing.assert_allclose(smoothed.cross_entropy, found.cross_entropy, rtol=1e-6)


def test_token_loss_of_micro_batches_adds_up(made):
    logits, targets, mask = made
    whole = token_loss(logits, targets, mask)
    parts = [token_loss(logits[i : i + 1], targets[i : i + 1], mask[i : i + 1]) for i in range(3)]
    summed = TokenLoss(*(sum(values) for values in zip(*parts)))
    np.testing.assert_allclose(summed.mean, whole.mean, rtol=1e-6)
    assert parts[2].mean == 0


def test_padding_may_hold_anything(made):
    logits, targets, mask = made
    other = np.where(mask[..., None], logits, 1e4).astype(np.float32)
    assert token_loss(other, np.where(mask, targets, 0), mask).total == token_loss(logits, targets, mask).total


@pytest.mark.parametrize("block_elements", [3 * 11, 3 * 11 * 2, 3 * 11 * 6])
def test_in_blocks_is_the_dense_form(block_elements):
    """Values to 1e-6, gradients by states, kernel and whatever weighs the loss to 1e-5; one, two and all positions a
    block."""
    rng = np.random.default_rng(2)
    kernel, states = rng.normal(size=(4, 11)).astype(np.float32), rng.normal(size=(3, 6, 4)).astype(np.float32)
    targets = rng.integers(0, 11, size=(3, 6)).astype(np.int32)
    mask = np.arange(6) < np.array([6, 2, 0])[:, None]
    head = lambda kernel, states: states @ kernel  # noqa: E731

    def dense(kernel, states, weight):
        return weighed(token_loss(head(kernel, states), targets, mask, 0.1, 0.01), weight)

    def blocks(kernel, states, weight):
        return weighed(token_loss_of_states(head, kernel, states, targets, mask, 0.1, 0.01, block_elements), weight)

    def weighed(loss, weight):
        return weight * loss.mean, loss

    results = [
        jax.jit(jax.value_and_grad(form, argnums=(0, 1, 2), has_aux=True))(kernel, states, 3.0)
        for form in (dense, blocks)
    ]
    (expected, slopes), (found, found_slopes) = results
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found_slopes, slopes)
    without_gradient = token_loss_of_states(head, kernel, states, targets, mask, 0.1, 0.01, block_elements)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), without_gradient, expected[1])


def test_in_blocks_holds_no_logits_of_the_whole_batch():
    """The program's own account of its memory: far below one [B, L, V] of float32."""
    kernel, states = jnp.ones((8, 4096)), jnp.ones((8, 64, 8))
    targets = jnp.ones((8, 64), jnp.int32)

    def loss(kernel, states):
        head = lambda kernel, states: states @ kernel  # noqa: E731
        return token_loss_of_states(head, kernel, states, targets, targets > 0, block_elements=8 * 4096).mean

    memory = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(kernel, states).compile().memory_analysis()
    assert memory.temp_size_in_bytes < 8 * 64 * 4096 * 4 / 4


def aligned() -> tuple[Aligned, np.ndarray]:
    rng = np.random.default_rng(1)

    def side():
        z = rng.normal(size=(3, 4)).astype(np.float32)
        shapes = ((3, 4), (3, 2))
        levels = (Level(rng.normal(size=(*s, 4)), np.ones(s, bool), np.full(s, 1 / s[1]), None) for s in shapes)
        return Side(z / np.linalg.norm(z, axis=1, keepdims=True), tuple(levels))

    return Aligned(side(), side(), Scalars(5.0, 0.2, 10.0, -10.0)), np.arange(3, dtype=np.int32)


def test_the_sum_is_weighted_and_every_term_shows():
    given, molecule = aligned()
    config = ObjectiveConfig(global_form="softmax", caption=2.0, generation=0.5)
    caption, generation = TokenLoss(6.0, 6.0, 0.0, 3.0), TokenLoss(8.0, 8.0, 1.0, 2.0)
    total, terms = joint_loss(config, molecule, given, caption=caption, generation=generation)
    assert set(terms) == {"global", "caption", "generation", "hierarchical", "hierarchical_0", "hierarchical_1"}
    assert terms["caption"] == 2 and terms["generation"] == 4
    expected_global = softmax_contrast(given.text.embedding, given.smiles.embedding, molecule, 0.2)
    np.testing.assert_allclose(terms["global"], expected_global, rtol=1e-6)
    levels = terms["hierarchical_0"] + terms["hierarchical_1"]
    np.testing.assert_allclose(total, terms["global"] + 10 * (2 * 2 + 0.5 * 4) + levels, rtol=1e-6)


def test_a_term_of_weight_zero_is_not_computed():
    molecule = np.arange(3, dtype=np.int32)
    config = ObjectiveConfig(global_alignment=0, hierarchical=0, generation=0)
    total, terms = joint_loss(config, molecule, caption=TokenLoss(6.0, 6.0, 0.0, 3.0))
    assert set(terms) == {"caption"} and total == 20
    assert not config.uses_queue and ObjectiveConfig().uses_queue
    _, terms = joint_loss(ObjectiveConfig(language=0, global_form="sigmoid"), molecule, aligned()[0])
    assert "caption" not in terms and "global" in terms


@pytest.mark.parametrize(
    ("setting", "value"), [("language", -1), ("momentum", 1.5), ("soft_target", -0.1), ("queue_size", 0)]
)
def test_settings_out_of_range_are_named(setting, value):
    with pytest.raises(UserError, match=setting):
        ObjectiveConfig(**{setting: value})
