"""What must hold of the alignments for any parameters: padding and order say nothing, every parameter learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from atomas_jax.errors import UserError
from atomas_jax.model.configuration import AlignmentConfig
from atomas_jax.model.heads import BLOCKS, AlignmentHeads, bounded, unit
from atomas_jax.model.layout import Layout
from atomas_jax.model.polymerisation import merge
from atomas_jax.objectives.contrast import Queue, momentum_contrast, sigmoid_contrast, softmax_contrast
from atomas_jax.objectives.hierarchy import hierarchical_alignment

WIDTH = 16
HEADS = AlignmentHeads(AlignmentConfig(embedding_dim=8, attention_heads=2))
TERMS = ("momentum", "softmax", "sigmoid", "level 0", "level 1", "level 2")
TEXT_LENGTHS = (13, 1, 9, 5, 12, 2)
SMILES_LENGTHS = (7, 2, 1, 10, 4, 6)
MOLECULE = np.array([3, 8, 1, 8, 4, 0], np.int32)


@pytest.fixture(scope="module")
def parameters():
    """Random and of the size trained ones have, biases and scales included."""
    rng = np.random.default_rng(0)
    x, mask = np.zeros((1, 4, WIDTH), np.float32), np.ones((1, 4), bool)
    shapes = nn.unbox(jax.eval_shape(HEADS.init, jax.random.key(0), x, mask, x, mask))["params"]
    tree = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape, scale=0.3).astype(np.float32), shapes)
    return tree | {name: np.float32(value) for name, value in scalars().items()}


def scalars() -> dict[str, float]:
    return {"log_kappa": 1.5, "tau": 0.2, "sigmoid_log_scale": 1.0, "sigmoid_bias": -2.0}


def strings(lengths, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    made = [rng.normal(size=(n, WIDTH)).astype(np.float32) for n in lengths]
    made[0][2:5] = made[0][2]  # duplicate tokens
    made[4][:] = made[4][0]  # nothing but duplicates
    return made


def batch(text_length: int, smiles_length: int, order=range(6), filler: float = 0.0) -> dict[str, np.ndarray]:
    """The six pairs, padded to these lengths with `filler`, in this order."""
    out = {"molecule": MOLECULE[list(order)]}
    rng = np.random.default_rng(5)
    momentum = {name: np.asarray(unit(rng.normal(size=(6, 8))))[list(order)] for name in ("text", "smiles")}
    for name, lengths, length in (("text", TEXT_LENGTHS, text_length), ("smiles", SMILES_LENGTHS, smiles_length)):
        made = strings(lengths, len(name))
        x, mask = np.full((6, length, WIDTH), filler, np.float32), np.zeros((6, length), bool)
        for row, pair in enumerate(order):
            x[row, : lengths[pair]], mask[row, : lengths[pair]] = made[pair], True
        out |= {name: x, f"{name}_mask": mask, f"momentum_{name}": momentum[name]}
    return out


def terms(parameters, batch) -> jax.Array:
    """All losses, float32 [6], in the order of TERMS."""
    rng = np.random.default_rng(6)
    text, smiles = (unit(rng.normal(size=(10, 8))) for _ in range(2))
    queue = Queue(text, smiles, jnp.array([-1] * 4 + [8, 1, 20, 21, 22, 23]), jnp.int32(0))
    states = batch["text"], batch["text_mask"], batch["smiles"], batch["smiles_mask"]
    aligned = HEADS.apply({"params": parameters}, *states, batch.get("text_layout"), batch.get("smiles_layout"))
    one, other, learned, molecule = aligned.text, aligned.smiles, aligned.scalars, batch["molecule"]
    z = one.embedding, other.embedding
    levels = hierarchical_alignment(one, other, learned.kappa, molecule, block_elements=300).levels
    momentum = batch["momentum_text"], batch["momentum_smiles"]
    return jnp.stack(
        [
            momentum_contrast(*z, *momentum, queue, molecule, learned.tau),
            softmax_contrast(*z, molecule, learned.tau),
            sigmoid_contrast(*z, molecule, learned.sigmoid_scale, learned.sigmoid_bias),
            *levels,
        ]
    )


@jax.jit
def losses_and_gradients(weights, parameters, batch):
    """The terms, and the gradients of their weighted sum by the parameters and the states."""

    def weighted(parameters, text, smiles):
        found = terms(parameters, batch | {"text": text, "smiles": smiles})
        return weights @ found, found

    gradients, found = jax.grad(weighted, argnums=(0, 1, 2), has_aux=True)(parameters, batch["text"], batch["smiles"])
    return found, gradients


ALL = np.ones(len(TERMS), np.float32)


@pytest.fixture(scope="module")
def plain(parameters):
    return losses_and_gradients(ALL, parameters, batch(13, 10))


def test_padding_changes_no_loss_and_no_gradient(parameters, plain):
    found, gradients = losses_and_gradients(ALL, parameters, batch(29, 31, filler=100.0))
    np.testing.assert_allclose(found, plain[0], rtol=1e-5)
    by_parameter, by_text, by_smiles = gradients
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), by_parameter, plain[1][0])
    np.testing.assert_allclose(by_text[:, :13], plain[1][1], rtol=1e-3, atol=1e-5)
    assert not np.any(by_text[:, 13:]) and not np.any(by_smiles[:, 10:])


def in_blocks(padded: dict, text_lengths, smiles_lengths) -> dict:
    """The pairs of a batch one after another in one group, each string a block of its own length."""
    out = padded | {"text_layout": Layout(tuple((1, n) for n in text_lengths))}
    out |= {"smiles_layout": Layout(tuple((1, n) for n in smiles_lengths))}
    for side, lengths in (("text", text_lengths), ("smiles", smiles_lengths)):
        for name in (side, f"{side}_mask"):
            out[name] = np.concatenate([row[:length] for row, length in zip(padded[name], lengths)])[None]
    return out


def test_strings_in_blocks_are_the_same_strings(parameters, plain):
    """More blocks than the heads cluster in, so that they join some and take the result apart again."""
    lengths = tuple(n + 1 for n in TEXT_LENGTHS), SMILES_LENGTHS  # with padding, and one string after another without
    assert len(TEXT_LENGTHS) > max(BLOCKS)
    found, gradients = losses_and_gradients(ALL, parameters, in_blocks(batch(14, 10, filler=100.0), *lengths))
    np.testing.assert_allclose(found, plain[0], rtol=1e-5)
    by_parameter, by_text, by_smiles = gradients
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), by_parameter, plain[1][0])
    for one, apart, cut, full in zip((by_text, by_smiles), plain[1][1:], lengths, (TEXT_LENGTHS, SMILES_LENGTHS)):
        for row, length, part in zip(apart, full, np.split(one[0], np.cumsum(cut)[:-1])):
            np.testing.assert_allclose(part[:length], row[:length], rtol=1e-3, atol=1e-5)
            assert not np.any(part[length:])


def test_the_order_of_the_pairs_changes_no_loss(parameters, plain):
    found, _ = losses_and_gradients(ALL, parameters, batch(13, 10, order=(4, 2, 0, 5, 3, 1)))
    np.testing.assert_allclose(found, plain[0], rtol=1e-5)


def unreached(gradients) -> list[str]:
    """Parameters without a gradient. Scores of tokens count by their differences alone, so that of their bias the
    gradient is rounding: zero on one machine, not on another."""
    paths = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree.leaves_with_path(gradients)}
    return [name for name, leaf in paths.items() if not np.any(leaf) and "['token_score']['bias']" not in name]


def test_gradients_are_finite_and_reach_every_parameter(parameters, plain):
    for leaf in jax.tree.leaves(plain[1]):
        assert np.isfinite(leaf).all()
    assert unreached(plain[1][0]) == []


@pytest.mark.parametrize(
    ("form", "unused"),
    [
        ("momentum", {"sigmoid_log_scale", "sigmoid_bias"}),
        ("softmax", {"sigmoid_log_scale", "sigmoid_bias"}),
        ("sigmoid", {"tau"}),
    ],
)
def test_a_form_leaves_only_the_scalars_of_the_others_alone(parameters, form, unused):
    weights = np.array([term == form or term.startswith("level") for term in TERMS], np.float32)
    _, (gradients, _, _) = losses_and_gradients(weights, parameters, batch(13, 10))
    assert {*unreached(gradients)} == {f"['{name}']" for name in unused}


@pytest.mark.parametrize("level", [1, 2])
def test_the_token_score_learns_at_every_level(parameters, level):
    """It is reached through the merge and the attention's bias alone, never through the clustering."""
    weights = np.array([term == f"level {level}" for term in TERMS], np.float32)
    _, (gradients, _, _) = losses_and_gradients(weights, parameters, batch(13, 10))
    for modality in ("text", "smiles"):
        kernel = gradients[modality][f"polymerisation_{level - 1}"]["token_score"]["kernel"]
        assert np.abs(kernel).max() > 1e-5


def test_states_of_nothing_but_equal_tokens(parameters):
    """As at a collapsed encoder, and with k larger than the strings."""
    flat = batch(13, 10)
    flat["text"], flat["smiles"] = np.ones_like(flat["text"]), np.ones_like(flat["smiles"])
    found, gradients = losses_and_gradients(ALL, parameters, flat)
    assert np.isfinite(found).all() and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    # Six equal pairs, two of them of one molecule: a guess among 6, or among 5 where the twin is left out.
    np.testing.assert_allclose(found[1], (4 * np.log(6) + 2 * np.log(5)) / 6, rtol=1e-4)


def test_a_row_of_padding_is_no_pair(parameters):
    """A batch filled up with empty rows (molecule -1) has the losses of its real rows."""
    whole, part = batch(13, 10), batch(13, 10)
    whole["molecule"] = np.array([3, 8, 1, 5, -1, -1], np.int32)
    part["molecule"] = whole["molecule"]
    for name in ("text", "smiles"):
        part[f"{name}_mask"][4:] = False
        part[name][4:] = np.nan
    with_content, gradients = losses_and_gradients(ALL, parameters, whole)
    empty, gradients = losses_and_gradients(ALL, parameters, part)
    np.testing.assert_allclose(empty, with_content, rtol=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_the_hierarchy_counts_from_true_lengths(parameters):
    made = batch(29, 31)

    @jax.jit
    def hierarchy(x, mask):
        return HEADS.apply({"params": parameters}, "text", x, mask, method="side")

    side = hierarchy(made["text"], made["text_mask"])
    tokens = np.array(TEXT_LENGTHS)
    fragments = -(-tokens // 4)
    assert [level.mask.sum(1).tolist() for level in side.levels] == [
        tokens.tolist(),
        fragments.tolist(),
        (-(-fragments // 2)).tolist(),
    ]
    for level in side.levels:
        np.testing.assert_allclose(level.omega.sum(1), 1, rtol=1e-5)
        assert not np.any(np.where(level.mask, 0, level.omega))
        assert not np.any(np.where(level.mask[:, :, None], 0, level.tokens))
    assert side.levels[-1].assignment is None


def test_merge_is_the_formula_and_does_not_overflow():
    rng = np.random.default_rng(0)
    x, score = rng.normal(size=(1, 5, 3)).astype(np.float32), rng.normal(size=(1, 5)).astype(np.float32)
    mask, assignment = np.array([[True] * 4 + [False]]), np.array([[1, 0, 1, 1, 0]])

    def expected(score):
        weight = np.exp(score.astype(np.float64))[0]
        rows = [[1], [0, 2, 3], []]
        return [(weight[r] @ x[0, r]) / (weight[r].sum() + 1e-6) for r in rows]

    @jax.jit
    def run(score):
        made, back = jax.vjp(lambda score: merge(x, score, mask, assignment, 3), score)
        return made, back(jnp.ones_like(made))[0]

    for shift in (0.0, -12.0, -14.5, 30.0, 600.0, -90.0):
        moved = (score + np.float32(shift)).astype(np.float32)
        made, slope = run(moved)
        assert np.isfinite(slope).all()
        np.testing.assert_allclose(made[0], expected(moved), rtol=2e-5, atol=1e-7)


def test_bounded_lets_only_the_way_back_through():
    slope = jax.vmap(jax.grad(lambda value, sign: sign * bounded(value, 0.001, 0.5)))
    values, signs = jnp.array([0.1, 0.1, 0.7, 0.7, 0.0, 0.0]), jnp.array([1.0, -1.0] * 3)
    assert slope(values, signs).tolist() == pytest.approx([1, -1, 1, 0, 0, -1])
    assert [bounded(value, 0.001, 0.5).item() for value in (0.1, 0.7, -1.0)] == pytest.approx([0.1, 0.5, 0.001])


def test_wrong_settings_are_named():
    x, mask = np.zeros((1, 4, WIDTH), np.float32), np.ones((1, 4), bool)
    for config, word in (
        (AlignmentConfig(attention_heads=5), "attention_heads"),
        (AlignmentConfig(clustering="k-means"), "k-means"),
    ):
        with pytest.raises(UserError, match=word):
            jax.eval_shape(AlignmentHeads(config).init, jax.random.key(0), x, mask, x, mask)
