"""The weighted token interaction in blocks, against the dense tensor it avoids."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from atomas_jax.model.heads import Level, Side
from atomas_jax.objectives.hierarchy import hierarchical_alignment, similarity

ROWS, WORDS, ATOMS, WIDTH = 6, 9, 7, 8
DISTINCT = np.arange(ROWS, dtype=np.int32)


def level(rng, length: int) -> Level:
    mask = np.arange(length) < rng.integers(1, length + 1, size=ROWS)[:, None]
    omega = rng.uniform(size=mask.shape) * mask
    omega = (omega / omega.sum(1, keepdims=True)).astype(np.float32)
    return Level(rng.normal(size=(ROWS, length, WIDTH)).astype(np.float32), mask, omega, None)


@pytest.fixture(scope="module")
def sides():
    rng = np.random.default_rng(0)
    return level(rng, WORDS), level(rng, ATOMS)


def dense(text: Level, smiles: Level):
    """S with the whole B x B x T x S tensor, in whatever precision it is given."""
    one, other = (side.tokens / jnp.linalg.norm(side.tokens, axis=-1, keepdims=True) for side in (text, smiles))
    cosines = jnp.einsum("atd,bsd->abts", one, other)
    words = jnp.where(smiles.mask[None, :, None], cosines, -jnp.inf).max(3)
    atoms = jnp.where(text.mask[:, None, :, None], cosines, -jnp.inf).max(2)
    return 0.5 * (jnp.einsum("at,abt->ab", text.omega, words) + jnp.einsum("bs,abs->ab", smiles.omega, atoms))


def loss_and_gradients(score):
    """The level's loss with S from `score`, its gradients by tokens and omegas, and S itself."""

    @jax.jit
    def run(text, smiles):
        def loss(text_tokens, smiles_tokens, text_omega, smiles_omega):
            one = text._replace(tokens=text_tokens, omega=text_omega)
            other = smiles._replace(tokens=smiles_tokens, omega=smiles_omega)
            s = score(one, other)
            logits = 10 * s
            forward = -jnp.diagonal(jax.nn.log_softmax(logits, axis=1)).mean()
            backward = -jnp.diagonal(jax.nn.log_softmax(logits, axis=0)).mean()
            return 0.5 * (forward + backward), s

        arguments = text.tokens, smiles.tokens, text.omega, smiles.omega
        return jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True)(*arguments)

    return run


@pytest.mark.parametrize("rows_at_once", [1, 3, 6])
def test_blocks_equal_the_dense_form(sides, rows_at_once):
    room = rows_at_once * WORDS * ROWS * ATOMS
    (expected, dense_scores), dense_slopes = loss_and_gradients(dense)(*sides)
    (found, scores), slopes = loss_and_gradients(lambda *pair: similarity(*pair, block_elements=room))(*sides)
    np.testing.assert_allclose(scores, dense_scores, atol=1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    for one, other in zip(slopes, dense_slopes):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_blocks_hold_no_more_than_they_may(sides):
    """No array of the forward and backward pass is larger than a block (or than the tokens themselves)."""
    text, smiles = sides

    def loss(text_tokens, smiles_tokens, room):
        return similarity(text._replace(tokens=text_tokens), smiles._replace(tokens=smiles_tokens), room).sum()

    def largest(jaxpr) -> int:
        inner = []
        sizes = [variable.aval.size for equation in jaxpr.eqns for variable in equation.outvars]
        for equation in jaxpr.eqns:
            for value in equation.params.values():
                sub = getattr(value, "jaxpr", value)
                if hasattr(sub, "eqns"):
                    inner.append(largest(sub))
        return max(sizes + inner)

    for rows_at_once in (1, 3):
        room = rows_at_once * WORDS * ROWS * ATOMS
        slopes = jax.make_jaxpr(jax.grad(partial(loss, room=room), argnums=(0, 1)))(text.tokens, smiles.tokens)
        assert largest(slopes.jaxpr) == max(room, text.tokens.size) < ROWS * WORDS * ROWS * ATOMS


def test_the_loss_is_the_formula_in_float64(sides):
    text, smiles = sides
    other = tuple(reversed(sides))
    kappa = 7.0
    found = jax.jit(hierarchical_alignment, static_argnums=4)(
        Side(None, (text, other[1])), Side(None, (smiles, other[0])), kappa, DISTINCT, "mask"
    )
    expected = []
    for one, two in ((text, smiles), (smiles, text)):
        s = np.zeros((ROWS, ROWS))
        for a in range(ROWS):
            for b in range(ROWS):
                words = one.tokens[a][one.mask[a]].astype(np.float64)
                atoms = two.tokens[b][two.mask[b]].astype(np.float64)
                words /= np.linalg.norm(words, axis=1, keepdims=True)
                atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
                r = words @ atoms.T
                s[a, b] += 0.5 * one.omega[a][one.mask[a]] @ r.max(1) + 0.5 * two.omega[b][two.mask[b]] @ r.max(0)
        rows = [np.log(np.exp(kappa * row).sum()) - kappa * row[i] for x in (s, s.T) for i, row in enumerate(x)]
        expected.append(sum(rows) / ROWS / 2)
    np.testing.assert_allclose(found.levels, expected, rtol=1e-5)
    np.testing.assert_allclose(found.total, sum(expected), rtol=1e-5)


def test_a_second_caption_is_no_negative(sides):
    text, smiles = sides
    ids = np.array([0, 1, 2, 1, 4, 5], np.int32)
    twice = jax.tree.map(lambda x: x[ids], smiles)
    loss = jax.jit(hierarchical_alignment, static_argnums=4)

    def of(rule):
        return loss(Side(None, (text,)), Side(None, (twice,)), 5.0, ids, rule).total

    assert of("mask") < of("negatives")
