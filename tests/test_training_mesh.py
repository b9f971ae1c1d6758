"""Meshes: every shape of eight devices gives what one device gives; where parameters live; what is refused."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from atomas_jax.batching.blocks import check_groups
from atomas_jax.config import find_experiment
from atomas_jax.errors import UserError
from atomas_jax.model.atomas import abstract_parameters, logical_axes
from atomas_jax.model.configuration import preset, with_vocabulary
from atomas_jax.training.partitioning import RULES, MeshShape, device_bytes, parameter_specs

PROGRAM = """
import sys
sys.path[:0] = {path!r}
from dataclasses import replace
import jax, json
import numpy as np
from small_run import SMALL
from atomas_jax.batching.batches import Batch
from atomas_jax.model.atomas import Starts
from atomas_jax.model.configuration import with_vocabulary
from atomas_jax.training import optimizer
from atomas_jax.training.configuration import OptimizerConfig
from atomas_jax.training.partitioning import batch_sharding, make_mesh
from atomas_jax.training.state import make_state, sharded_state, shardings
from atomas_jax.training.step import make_train_step

model = with_vocabulary(replace(SMALL.model, transformer=replace(SMALL.model.transformer, dropout=0.0)), 100)
generator = np.random.default_rng(0)
smiles, text = (generator.integers(3, 100, (8, length)).astype(np.int32) for length in (8, 16))
for row in range(8):
    smiles[row, generator.integers(3, 8) :] = 0
    text[row, generator.integers(3, 16) :] = 0
long_smiles, long_text = (generator.integers(3, 100, (8, length)).astype(np.int32) for length in (12, 24))
blocks = (smiles[:, None], long_smiles[:, None])
texts = (text[:, None], long_text[:, None])
partner = np.array([[0, 1], [1, 0]] * 4, np.int32)  # short ones and long ones are and are not partners
molecule = np.array([[0, 8], [1, 9], [2, 10], [3, 11], [4, 12], [5, 13], [6, 14], [6, 15]], np.int32)
batch = Batch(blocks, blocks, texts, partner, molecule)
out, first = {{}}, {{}}
for words, devices, name in {cases!r}:
    # Adam's first steps are the sign of the gradient, which rounding decides where it is near 0: epsilon evens that out
    build = optimizer.build(OptimizerConfig(name=name, schedule="constant", epsilon=1e-3), 10)
    mesh = make_mesh(words, jax.devices()[:devices])
    abstract, make = sharded_state(mesh, model, lambda: make_state(model, SMALL.objectives, build, 0))
    if name not in first:
        first[name] = jax.device_get(make())  # compiled once
    with jax.set_mesh(mesh):
        state = jax.device_put(first[name], shardings(abstract))
        step = make_train_step(model, SMALL.objectives, build, Starts(1, 2), shardings(abstract), 1, 0)
        losses = []
        for _ in range(2):
            state, metrics = step(state, jax.device_put(batch, batch_sharding(mesh)))
            losses.append(jax.device_get(metrics))
    place = lambda leaf: leaf.sharding.shard_shape(leaf.shape) != leaf.shape
    trees = {{"params": state.params, "average": state.average}}
    if name == "adamw":
        trees |= {{"mu": state.optimizer[1][0].mu, "nu": state.optimizer[1][0].nu}}
    split = {{key: [place(leaf) for leaf in jax.tree.leaves(tree)] for key, tree in trees.items()}}
    arrays = [np.asarray(leaf).astype(float).ravel() for leaf in jax.tree.leaves((losses, state))]
    out[words + name] = (np.concatenate(arrays).tolist(), split, step._cache_size())
print(json.dumps(out))
"""


FAST = [("", 1, "adamw"), ("data=2,fsdp=2,tensor=2", 8, "adamw")]
REST = [("", 1, "adamw"), *((words, 8, "adamw") for words in ("data=8", "fsdp=8", "data=4,tensor=2"))]
FACTORED = [("", 1, "adafactor"), ("data=2,fsdp=2,tensor=2", 8, "adafactor")]


@pytest.mark.multiprocess
@pytest.mark.parametrize("cases", [FAST, pytest.param(REST + FACTORED, marks=pytest.mark.slow)])
def test_meshes_of_eight_devices_agree_with_one_device(cases):
    """Losses, parameters, average, optimiser state and queue after two steps; contrast over the global batch, with a
    duplicate molecule on different devices."""
    path = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(path=path, cases=cases)],
        capture_output=True, text=True, env={**os.environ, "XLA_FLAGS": flags},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for words, _, name in cases:
        ours, split, compiled = found[words + name]
        np.testing.assert_allclose(ours, found[name][0], rtol=1e-5, atol=1e-5, err_msg=f"{words} {name}")
        assert compiled == 1, "the state came back laid out otherwise than it went in"
        for tree in split.values():
            assert tree == split["params"], "something does not live where its parameter lives"
        assert any(split["params"]) == ("fsdp" in words or "tensor" in words)


def base_specs(words: str, model=preset("base")):  # noqa: B008
    shapes = abstract_parameters(model)
    return shapes, parameter_specs(shapes, logical_axes(model), MeshShape.named(words))


def test_without_a_mesh_as_many_devices_work_as_the_batches_split_over():
    program = """
import jax
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.training.configuration import TrainingConfig
from atomas_jax.training.loop import mesh_of
for unit, accumulate in ((0, 1), (4, 1), (6, 1), (8, 1), (16, 1), (8, 4), (1, 2)):
    mesh = mesh_of(BatchConfig(pairs=48, unit=unit), TrainingConfig(accumulate=accumulate))
    print(mesh.shape["data"], mesh.size)
    """
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={**os.environ, "XLA_FLAGS": flags},
        cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert [int(line.split()[0]) for line in run.stdout.splitlines()] == [1, 4, 6, 8, 8, 2, 1]
    assert all(len({*line.split()}) == 1 for line in run.stdout.splitlines()), "all of them along `data`"


@pytest.mark.parametrize("name", ["base", "t5-base", "xl"])
def test_parameters_shrink_with_the_devices_that_split_them(name):
    shapes, specs = base_specs("fsdp=8,tensor=4", preset(name))
    whole = sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes))
    held = jax.tree.map(lambda leaf, spec: device_bytes(leaf, spec, MeshShape(fsdp=8, tensor=4)), shapes, specs)
    assert whole / 32 <= sum(jax.tree.leaves(held)) < 1.02 * whole / 32
    data_only = base_specs("data=32", preset(name))
    held = jax.tree.map(lambda leaf, spec: device_bytes(leaf, spec, MeshShape(data=32)), *data_only)
    assert sum(jax.tree.leaves(held)) == whole


def test_every_kernel_of_the_model_has_named_axes_with_rules():
    names = logical_axes(preset("tiny"))
    shapes = abstract_parameters(preset("tiny"))
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        axes = names
        for step in path:
            axes = axes[step.key]
        assert len(axes) == leaf.ndim
        assert set(axes) <= set(RULES)
        if leaf.ndim > 1 and leaf.size > 10_000:
            assert any(RULES[axis] for axis in axes), path


def test_a_large_parameter_that_would_be_held_whole_is_refused():
    with pytest.raises(UserError, match=r"768\] would be held whole .* not divisible by fsdp=5"):
        base_specs("fsdp=5")
    _, specs = base_specs("tensor=8")  # 12 heads, but H * K columns: what is split is the width
    assert any(specs["transformer"]["head"]["kernel"])


def test_a_mesh_is_words():
    assert MeshShape.parse("", 8) == MeshShape(data=8)
    assert MeshShape.parse("fsdp=2, tensor=2", 8) == MeshShape(2, 2, 2)
    assert str(MeshShape.named("fsdp=4,tensor=2")) == "data=1,fsdp=4,tensor=2"
    for words in ("rows=2", "data=0", "data", "data=2,data=4", "data=-1"):
        with pytest.raises(UserError, match="write it like data=4,fsdp=2,tensor=1"):
            MeshShape.parse(words, 8)
    with pytest.raises(UserError, match="is for 6 devices; there are 8"):
        MeshShape.parse("data=3,fsdp=2", 8)


@pytest.mark.parametrize("script", ["", "slurm_gpus.sh", "tpu_pod.sh"])
def test_the_published_recipe_splits_over_the_devices_it_is_launched_on(script):
    """8 by itself, as published, and the 16 of either launch file."""
    experiments = Path(__file__).parents[1] / "experiments"
    experiment = find_experiment(str(experiments / "chebi20_base.py"))
    words = experiment.training.mesh
    if script:
        (words,) = re.findall(r"^MESH=\$\{MESH:-(.*)\}", (experiments / "launch" / script).read_text(), re.MULTILINE)
    shape = MeshShape.parse(words, 16 if script else 8)
    assert check_groups(experiment.batches, shape.rows, experiment.training.accumulate) == 8
    base_specs(str(shape), with_vocabulary(experiment.model, 32_106))  # raises where it cannot be split
