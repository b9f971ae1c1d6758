"""Fixtures of all tests, and how they compile."""

import atexit
import os
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

import pytest


def _folder() -> str:
    """A folder that goes with this process."""
    folder = tempfile.mkdtemp(prefix="atomas-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


# Compiling is nearly all the time of the tests, and they do not need fast programs. Set before jax is imported, and in
# the environment, so that the processes tests start inherit it; those find each other's programs in the cache.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _folder()
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "")
if metadata.version("jaxlib").startswith("0.10."):  # later ones do not know the flag, and XLA ends a process over that
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

# What somebody has put into their data folder is no part of the tests.
os.environ["ATOMAS_DATA"] = _folder()

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the project; the product stands without it, so tests that want it may skip."""
    folder = PROJECT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("real data not at hand: no folder 'shared' beside the project")
    return folder


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory) -> Path:
    """A prepared corpus of 36 molecules that rhyme with their captions."""
    from small_run import write_corpus

    return write_corpus(tmp_path_factory.mktemp("corpus") / "small")


@pytest.fixture(scope="session")
def small_run(small_corpus, tmp_path_factory) -> Path:
    """A run folder of twelve steps that nothing interrupted. Tests only read it."""
    from small_run import training_process

    run = tmp_path_factory.mktemp("runs") / "undisturbed"
    process = training_process(small_corpus, run)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert "finished 12" in out
    return run
