"""Training that starts from the weights of another run."""

import json
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from small_run import SMALL, with_training

import atomas_jax
from atomas_jax.config import find_experiment
from atomas_jax.errors import UserError
from atomas_jax.jobs import train
from atomas_jax.model.configuration import T5Config
from atomas_jax.run_folder import RunFolder
from atomas_jax.training.configuration import OptimizerConfig


def test_training_starts_from_the_weights_of_a_run(small_corpus, small_run, tmp_path):
    still = with_training(initial=str(small_run), steps=1, validate_every=0)
    still = replace(still, optimizer=OptimizerConfig(learning_rate=0.0, warmup_steps=0))
    train(still, small_corpus, tmp_path / "run")
    before, after = atomas_jax.load(small_run), atomas_jax.load(tmp_path / "run", "latest")
    for one, other in zip(jax.tree.leaves(before.params), jax.tree.leaves(after.params), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-7)  # the average of equal parameters is rounded
    assert find_experiment(str(small_run)).model == find_experiment(str(tmp_path / "run")).model


def test_a_run_goes_on_when_the_one_it_started_from_is_gone(small_corpus, small_run, tmp_path):
    initial, run = tmp_path / "initial", tmp_path / "run"
    shutil.copytree(small_run, initial)
    settings = json.loads((initial / "config.json").read_text())
    asked = with_training(initial=str(initial), steps=2, save_every=1, validate_every=0, validation_pairs=0)
    train(asked, small_corpus, run)
    shutil.rmtree(initial)
    shutil.rmtree(run / "checkpoints" / "2")  # as a kill after the first step would leave it
    assert train(asked, small_corpus, run).step == 2
    assert json.loads((run / "config.json").read_text())["model"] == settings["model"]
    with pytest.raises(UserError, match=r"holds a run with other settings \(training\.initial"):
        train(with_training(initial=str(small_run), steps=2, save_every=1, validate_every=0), small_corpus, run)


def test_a_folder_with_settings_says_what_it_runs_on(small_corpus, tmp_path, monkeypatch):
    """Whenever a start is cut short: `atomas info` and `evaluate` want both."""

    def killed(*_):
        raise KeyboardInterrupt

    run = RunFolder(tmp_path / "run")
    monkeypatch.setattr(RunFolder, "write_versions", killed)
    with pytest.raises(KeyboardInterrupt):
        train(with_training(steps=1), small_corpus, run.path)
    assert not run.exists()
    monkeypatch.undo()
    train(with_training(steps=1), small_corpus, run.path)
    assert run.exists() and run.versions.is_file()


def test_weights_of_another_model_are_refused_before_anything_is_written(small_corpus, small_run, tmp_path):
    wider = replace(SMALL.model, transformer=T5Config(d_model=32, d_kv=8, d_ff=24, num_heads=2, encoder_layers=1))
    asked = replace(with_training(initial=str(small_run)), model=wider)
    with pytest.raises(UserError, match="is of another model: name that run folder"):
        train(asked, small_corpus, tmp_path / "run")
    with pytest.raises(UserError, match="no run folder at"):
        train(with_training(initial=str(tmp_path / "none")), small_corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()
