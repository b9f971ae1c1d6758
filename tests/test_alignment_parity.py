"""The hierarchical alignment against the numbers of the released code, on input without padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from atomas_jax.model.configuration import AlignmentConfig
from atomas_jax.model.heads import AlignmentHeads
from atomas_jax.objectives.hierarchy import hierarchical_alignment, similarity

TOLERANCE = {"rtol": 0, "atol": 1e-4}


def place(parameters: dict, reference: dict[str, np.ndarray]) -> dict:
    """The reference's weights in our tree. Its `level` is the one made; ours name a step after the level it starts
    from."""
    for name, value in reference.items():
        if not name.startswith("params/"):
            continue
        _, modality, level, module, leaf = name.split("/")
        number = int(level.removeprefix("level"))
        if (module, leaf) == ("weight_out", "bias"):
            continue  # a constant inside a softmax
        if module.startswith("weight_"):
            target = parameters[modality][f"weight_{number}"][module.removeprefix("weight_")]
        else:
            target = parameters[modality][f"polymerisation_{number - 1}"][module]
        assert target[leaf].shape == value.shape, name
        target[leaf] = value
    return parameters | {"log_kappa": np.log(reference["logit_scale"])}


@pytest.fixture(scope="module", params=["small", "uneven"])
def case(request, shared):
    """(the reference's arrays; the levels, the similarities and the losses our heads make of the same input)."""
    reference = dict(np.load(shared / "fixtures" / "atomas_reference" / f"{request.param}.npz"))
    heads = AlignmentHeads(AlignmentConfig(embedding_dim=8, attention_heads=4, neighbours=3, ratios=(0.25, 0.5)))
    text, smiles = reference["input/text"], reference["input/smiles"]
    inputs = text, np.ones(text.shape[:2], bool), smiles, np.ones(smiles.shape[:2], bool)
    shapes = nn.unbox(jax.eval_shape(heads.init, jax.random.key(0), *inputs))["params"]
    parameters = place(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes), reference)

    @jax.jit
    def run(parameters):
        aligned = heads.apply({"params": parameters}, *inputs)
        scores = [similarity(one, other) for one, other in zip(aligned.text.levels, aligned.smiles.levels)]
        pairs = jnp.arange(len(text), dtype=jnp.int32)
        return aligned, scores, hierarchical_alignment(aligned.text, aligned.smiles, aligned.scalars.kappa, pairs)

    with jax.default_matmul_precision("highest"):
        return reference, run(parameters)


@pytest.mark.parametrize("modality", ["text", "smiles"])
@pytest.mark.parametrize("level", [1, 2])
def test_clusters_and_tokens(case, modality, level):
    reference, (aligned, _, _) = case
    levels = getattr(aligned, modality).levels
    expected = f"expected/{modality}/level{level}"
    np.testing.assert_array_equal(levels[level - 1].assignment, reference[f"{expected}/assignment"])
    np.testing.assert_allclose(levels[level].tokens, reference[f"{expected}/tokens"], **TOLERANCE)


def test_similarities_and_losses(case):
    reference, (_, scores, losses) = case
    for level in range(3):
        np.testing.assert_allclose(scores[level], reference[f"expected/level{level}/similarity"], **TOLERANCE)
        np.testing.assert_allclose(losses.levels[level], reference[f"expected/level{level}/loss"], **TOLERANCE)
    np.testing.assert_allclose(losses.total, reference["expected/loss"], **TOLERANCE)
