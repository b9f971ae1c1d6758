"""Training: resumed equals undisturbed, refused steps change nothing, parts add up to the whole, devices agree."""

import json
import random
import shutil
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import SMALL, training_process, with_training

from atomas_jax import jobs
from atomas_jax.batching.batches import Batch
from atomas_jax.errors import UserError
from atomas_jax.model.atomas import Starts
from atomas_jax.model.configuration import with_vocabulary
from atomas_jax.training import optimizer as optimizers
from atomas_jax.training.configuration import OptimizerConfig
from atomas_jax.training.partitioning import make_mesh
from atomas_jax.training.state import make_state, sharded_state, shardings
from atomas_jax.training.step import make_train_step


def arrays(run: Path, step: int) -> list[np.ndarray]:
    """Every array of a checkpoint, in a fixed order, whatever the tree."""
    import orbax.checkpoint as ocp

    folder = run.absolute() / "checkpoints" / str(step)
    leaves = []
    for item in ("weights", "state"):
        reader = ocp.PyTreeCheckpointer()
        kinds = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), reader.metadata(folder / item).item_metadata.tree
        )
        leaves += jax.tree.leaves(reader.restore(folder / item, restore_args=kinds))
    return leaves


def log(run: Path) -> list[dict]:
    """Log lines less what depends on the clock."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("time", "pairs_per_second")} for line in lines]


@pytest.mark.multiprocess
@pytest.mark.parametrize("after", [4, 7])
def test_killed_and_resumed_equals_undisturbed(small_corpus, small_run, tmp_path, after):
    """SIGKILL at a random moment after a step: within a step, a validation or a save."""
    run = tmp_path / "killed"
    process = training_process(small_corpus, run)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        written = (run / "log.jsonl").read_text() if (run / "log.jsonl").exists() else ""
        if any(f'"step": {step},' in written for step in range(after, 13)):
            break
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.2))
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was over before it could be killed"
    resumed = training_process(small_corpus, run)
    out, err = resumed.communicate()
    assert resumed.returncode == 0, err
    assert "finished 12" in out
    for ours, theirs in zip(arrays(run, 12), arrays(small_run, 12), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert log(run) == log(small_run)
    assert [entry.name for entry in (run / "best").iterdir()] == [
        entry.name for entry in (small_run / "best").iterdir()
    ]


@pytest.mark.multiprocess
def test_a_polite_stop_saves_and_the_same_call_goes_on(small_corpus, small_run, tmp_path):
    run = tmp_path / "stopped"
    # the signal comes from inside, right after a batch was made: no race with the end of so short a run
    before = (
        "import os, signal, atomas_jax.batching.batches as b\n"
        "make = b.training_batch\n"
        "def stop_at_five(split, schedule, config, seed, step, groups, part):\n"
        "    if step == 9: os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return make(split, schedule, config, seed, step, groups, part)\n"
        "b.training_batch = stop_at_five\n"
    )
    stopped = training_process(small_corpus, run, before)
    out, err = stopped.communicate()
    assert stopped.returncode == 0, err
    assert out.split()[0] == "stopped" and int(out.split()[1]) < 12
    assert (run / "checkpoints" / out.split()[1]).is_dir()
    resumed = training_process(small_corpus, run)
    assert "finished 12" in resumed.communicate()[0]
    for ours, theirs in zip(arrays(run, 12), arrays(small_run, 12), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.multiprocess
def test_training_needs_neither_rdkit_nor_datasets(small_corpus, tmp_path):
    """With both unimportable the whole of training runs: batches, steps, validation, samples, checkpoints."""
    block = (
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('rdkit', 'datasets'): raise ModuleNotFoundError(name)\n"
        "import sys; sys.meta_path.insert(0, Blocked())\n"
    )
    process = training_process(small_corpus, tmp_path / "bare", block, steps=2, samples=1)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "finished 2" in out
    assert list((tmp_path / "bare" / "samples").glob("*.jsonl"))


def test_the_run_folder_explains_itself(small_run):
    for name in (
        "config.json",
        "versions.json",
        "corpus.json",
        "log.jsonl",
        "tokenizer",
        "checkpoints",
        "best",
    ):
        assert (small_run / name).exists(), name
    lines = log(small_run)
    assert [line["step"] for line in lines if line["kind"] == "train"] == list(range(1, 13))
    for name in ("loss", "caption", "generation", "global", "hierarchical", "hierarchical_2", "gradient_norm"):
        assert np.isfinite(lines[0][name]), name
    validations = [line for line in lines if line["kind"] == "validation"]
    assert [line["step"] for line in validations] == [6, 12]
    assert validations[1]["language"] < validations[0]["language"], "it learned nothing"
    assert json.loads((small_run / "versions.json").read_text())["jax"] == jax.__version__


def test_another_experiment_in_the_same_folder_is_refused(small_corpus, small_run):
    with pytest.raises(UserError, match=r"training\.steps: 12, 13.*name another --run"):
        jobs.train(with_training(steps=13), small_corpus, small_run)


def test_a_second_call_on_a_finished_run_changes_nothing(small_corpus, small_run):
    before = log(small_run)
    outcome = jobs.train(SMALL, small_corpus, small_run)
    assert (outcome.step, outcome.finished) == (12, True)
    assert log(small_run) == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"accumulate": 3}, "batches.pairs = 8 is not divisible by training.accumulate"),
        ({"best": "langauge"}, "training.best = 'langauge' is no validation metric: choose one of caption"),
        ({"steps": 0}, "training.steps = 0: it must be at least 1"),
        ({"validation_pairs": -1}, "training.validation_pairs = -1: it must not be negative"),
    ],
)
def test_settings_that_cannot_be_leave_no_run_behind(small_corpus, tmp_path, changes, told):
    with pytest.raises(UserError) as refused:
        jobs.train(with_training(**changes), small_corpus, tmp_path / "run")
    assert told in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_batches_that_do_not_split_leave_no_run_behind(small_corpus, tmp_path):
    asked = replace(with_training(accumulate=2), batches=replace(SMALL.batches, unit=0))
    with pytest.raises(UserError, match=r"begin the run with --batches\.unit 2"):
        jobs.train(asked, small_corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_no_validation_pairs_are_no_validation(small_corpus, tmp_path):
    run = tmp_path / "run"
    assert jobs.train(with_training(steps=1, validation_pairs=0, samples=2), small_corpus, run).finished
    assert {line["kind"] for line in log(run)} == {"train"}
    assert not list((run / "best").iterdir()) and not (run / "samples").exists()


def test_dropout_of_everything_is_refused(small_corpus, tmp_path):
    transformer = replace(SMALL.model.transformer, dropout=1.0)
    wrong = replace(SMALL, model=replace(SMALL.model, transformer=transformer))
    with pytest.raises(UserError, match=r"model\.transformer\.dropout = 1\.0: it must be"):
        jobs.train(wrong, small_corpus, tmp_path / "run")


def emptied(small_run: Path, broken: Path, steps: list[int]) -> Path:
    """A copy of the run with nothing left in the files of some checkpoints."""
    shutil.copytree(small_run, broken)
    for step in steps:
        for path in (broken / "checkpoints" / str(step) / "state").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    return broken


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(small_corpus, small_run, tmp_path, capsys):
    broken = emptied(small_run, tmp_path / "broken", [12])
    outcome = jobs.train(with_training(), small_corpus, broken)
    assert (outcome.step, outcome.finished) == (12, True)
    assert "checkpoint 12 is damaged: going on from 9" in "".join(capsys.readouterr())
    assert {"step": 9, "kind": "event", "damaged_checkpoints": "12"} in log(broken)
    for ours, theirs in zip(arrays(broken, 12), arrays(small_run, 12), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_when_every_checkpoint_is_damaged_one_line_says_so(small_corpus, small_run, tmp_path):
    broken = emptied(small_run, tmp_path / "broken", [9, 12])
    with pytest.raises(UserError, match=r"checkpoint 12 cannot be restored .* nor any before it"):
        jobs.train(with_training(), small_corpus, broken)
    assert (broken / "checkpoints" / "12").is_dir(), "nothing is removed before something better was found"


MODEL = with_vocabulary(replace(SMALL.model, transformer=replace(SMALL.model.transformer, dropout=0.0)), 100)
LANGUAGE_ONLY = replace(SMALL.objectives, global_alignment=0.0, hierarchical=0.0)
# epsilon: Adam's first step is the sign of the gradient, which rounding decides where it is near 0
OPTIMIZER = optimizers.build(OptimizerConfig(name="adamw", schedule="constant", warmup_steps=1, epsilon=1e-3), 10)


def random_batch(seed: int = 0, pairs: int = 8) -> Batch:
    """Pairs of one length, each a group of its own."""
    generator = np.random.default_rng(seed)
    smiles, text = (generator.integers(3, 100, (pairs, 1, length)).astype(np.int32) for length in (12, 16))
    for row in range(pairs):
        smiles[row, 0, generator.integers(3, 12) :] = 0
        text[row, 0, generator.integers(3, 16) :] = 0
    partner, molecule = np.zeros((pairs, 1), np.int32), np.arange(pairs, dtype=np.int32)[:, None]
    return Batch((smiles,), (smiles,), (text,), partner, molecule)


def in_blocks(batch: Batch, groups: int) -> Batch:
    """The same pairs, the SMILES and the texts of each group sorted by length and cut where two blocks meet."""
    smiles, text = (side[0].reshape(groups, -1, side[0].shape[2]) for side in (batch.smiles, batch.text))
    molecule = batch.molecule.reshape(groups, -1)
    half = molecule.shape[1] // 2
    orders = [np.argsort((side != 0).sum(2), axis=1, kind="stable") for side in (smiles, text)]

    def cut(side, order):
        side = np.take_along_axis(side, order[:, :, None], 1)
        blocks = side[:, :half], side[:, half:]
        return tuple(block[:, :, : (block != 0).sum(2).max()] for block in blocks)

    place = np.argsort(orders[0], axis=1)  # of each row, where its SMILES went
    partner = np.take_along_axis(place, orders[1], 1).astype(np.int32)
    blocks = cut(smiles, orders[0])
    return Batch(blocks, blocks, cut(text, orders[1]), partner, np.take_along_axis(molecule, orders[1], 1))


@partial(jax.jit, static_argnums=0)
def fresh_state(objectives):
    return make_state(MODEL, objectives, OPTIMIZER, 0)


def places(objectives, transformation=OPTIMIZER, mesh=None):
    return shardings(
        sharded_state(mesh or make_mesh(), MODEL, lambda: make_state(MODEL, objectives, transformation, 0))[0]
    )


def one_step(objectives, batch: Batch, accumulate: int = 1, state=None, model=MODEL):
    with jax.set_mesh(make_mesh()):
        step = make_train_step(model, objectives, OPTIMIZER, Starts(1, 2), places(objectives), accumulate, seed=0)
        return step(fresh_state(objectives) if state is None else state, batch)


def test_parts_of_a_batch_make_the_whole():
    """The language loss of unequal strings, accumulated over parts, is that of the whole batch, gradients included."""
    _, whole_metrics = one_step(LANGUAGE_ONLY, random_batch())
    _, parts_metrics = one_step(LANGUAGE_ONLY, random_batch(), accumulate=4)
    np.testing.assert_allclose(parts_metrics["loss"], whole_metrics["loss"], rtol=1e-6)
    np.testing.assert_allclose(parts_metrics["gradient_norm"], whole_metrics["gradient_norm"], rtol=1e-5)
    assert set(parts_metrics) == {"loss", "caption", "generation", "gradient_norm", "refused"}


@pytest.mark.parametrize(("groups", "form"), [(1, "momentum"), (2, "softmax")])
def test_strings_in_blocks_of_their_lengths_are_the_same_pairs(groups, form):
    """Every term and the gradient, with a second caption of a molecule and an empty row in the batch."""
    batch = random_batch()
    batch.molecule[5], batch.molecule[3] = batch.molecule[2], -1
    for side in (batch.smiles, batch.text):
        side[0][3] = 0
    objectives = replace(SMALL.objectives, global_form=form)
    plain, expected = one_step(objectives, batch)
    cut, found = one_step(objectives, in_blocks(batch, groups))
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6, err_msg=name)
    for one, other in zip(jax.tree.leaves(cut.params), jax.tree.leaves(plain.params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_bfloat16_recomputed_and_in_parts_is_near_float32():
    """Half-width activations, every layer recomputed, the batch in two parts, all terms on."""
    half = replace(MODEL, transformer=replace(MODEL.transformer, dtype="bfloat16", remat="full"))
    state, metrics = one_step(SMALL.objectives, random_batch(), accumulate=2, model=half)
    _, exact = one_step(LANGUAGE_ONLY, random_batch())
    assert metrics["refused"] == 0
    np.testing.assert_allclose(metrics["caption"], exact["caption"], rtol=2e-2)
    np.testing.assert_allclose(metrics["generation"], exact["generation"], rtol=2e-2)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))


def test_a_non_finite_step_changes_nothing_but_the_counters():
    objectives = SMALL.objectives
    state = fresh_state(objectives)
    broken = jax.tree.map(jnp.copy, state)
    broken.params["alignment"]["log_kappa"] = jnp.float32(np.nan)
    before = jax.tree.map(np.asarray, broken)
    after, metrics = one_step(objectives, random_batch(), state=broken)
    assert metrics["refused"] == 1
    assert (int(after.step), int(after.refused)) == (1, 1)
    for name in ("params", "average", "optimizer", "queue"):
        jax.tree.map(
            np.testing.assert_array_equal, getattr(before, name), jax.tree.map(np.asarray, getattr(after, name))
        )
    sound, metrics = one_step(objectives, random_batch())
    assert metrics["refused"] == 0
    assert not np.array_equal(sound.params["transformer"]["embedding"], before.params["transformer"]["embedding"])


@pytest.mark.parametrize("form", ["momentum", "softmax", "sigmoid"])
def test_every_form_of_the_global_alignment_trains_alone(form):
    state, metrics = one_step(
        replace(SMALL.objectives, global_form=form, language=0.0, hierarchical=0.0), random_batch()
    )
    assert np.isfinite(metrics["global"])
    assert set(metrics) == {"loss", "global", "gradient_norm", "refused"}
    assert (state.queue is not None) == (form == "momentum")


@pytest.mark.multiprocess
@pytest.mark.slow
def test_eight_devices_agree_with_one(small_corpus, small_run, tmp_path):
    """The same run on eight simulated devices, data parallel, contrastive terms over the global batch."""
    flag = "import os; os.environ['XLA_FLAGS'] += ' --xla_force_host_platform_device_count=8'\n"
    process = training_process(small_corpus, tmp_path / "eight", flag)
    _, err = process.communicate()
    assert process.returncode == 0, err
    # beyond the first validation Adam has blown float noise up
    ours, theirs = ([line for line in log(run) if line["step"] <= 6] for run in (tmp_path / "eight", small_run))
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name in ("loss", "caption", "generation", "global", "hierarchical"):
            if name in other:
                np.testing.assert_allclose(one[name], other[name], rtol=2e-5, err_msg=f"{name} at {other['step']}")


def test_schedules_rise_then_follow_their_name():
    rate = lambda name: optimizers.schedule(OptimizerConfig(schedule=name, learning_rate=1.0, warmup_steps=10), 110)  # noqa: E731
    for name in ("constant", "linear", "cosine", "rsqrt"):
        warm = [float(rate(name)(step)) for step in range(10)]
        np.testing.assert_allclose(warm, np.arange(1, 11) / 10, rtol=1e-6)
    assert float(rate("constant")(100)) == 1.0
    assert float(rate("linear")(59)) == pytest.approx(0.5)
    assert float(rate("cosine")(59)) == pytest.approx(0.5)
    assert float(rate("rsqrt")(39)) == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_both_optimisers_lower_the_loss(name):
    config = OptimizerConfig(name=name, learning_rate=1e-2, schedule="constant", warmup_steps=1, weight_decay=1e-3)
    transformation = optimizers.build(config, 10)
    with jax.set_mesh(make_mesh()):
        where = places(LANGUAGE_ONLY, transformation)
        step = make_train_step(MODEL, LANGUAGE_ONLY, transformation, Starts(1, 2), where, 1, seed=0)
        state = make_state(MODEL, LANGUAGE_ONLY, transformation, 0)
        losses = []
        for _ in range(8):
            state, metrics = step(state, random_batch())
            losses.append(float(metrics["loss"]))
    assert losses[-1] < losses[0] - 1


def test_weight_decay_leaves_scales_and_temperatures_alone():
    params = fresh_state(SMALL.objectives).params
    mask = optimizers.decay_mask(params)
    assert mask["transformer"]["embedding"] is True
    assert mask["alignment"]["log_kappa"] is False
    assert mask["transformer"]["encoder"]["final_norm"]["scale"] is False
