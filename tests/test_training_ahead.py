"""`atomas compile` and `atomas info --sharding`: what is told of devices that are not here."""

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from atomas_jax import cli
from atomas_jax.training import ahead


def said(capsys, *arguments: str) -> tuple[int, str]:
    capsys.readouterr()
    try:
        cli.main(list(arguments))
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out + err


def test_the_sharding_table_names_every_parameter_and_its_bytes(capsys):
    code, out = said(capsys, "info", "tiny", "--sharding", "data=2,fsdp=4,tensor=2")
    assert code == 0
    assert "tiny on data=2,fsdp=4,tensor=2 (16 devices)" in out
    (embedding,) = (line.split() for line in out.splitlines() if line.startswith("transformer/embedding"))
    assert embedding[1:] == ["2048x128", "(tensor,", "fsdp)", f"{2048 * 128 * 4 // 8:,}"]
    held, whole = (
        int(n.replace(",", "")) for n in re.search(r"([\d,]+) bytes a device, ([\d,]+) in all", out).groups()
    )
    assert whole / 8 < held < whole / 3, "the queue is whole, all else in eighths"


def test_a_mesh_that_does_not_fit_the_model_is_one_line(capsys):
    code, out = said(capsys, "info", "base", "--sharding", "fsdp=5")
    assert code == 2
    assert "would be held whole on every device" in out and out.count("\n") == 1


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="the TPU compiler is installed")
def test_without_the_compiler_the_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    code, out = said(capsys, "compile", "tiny")
    assert code == 2
    assert "pip install 'atomas_jax[tpu-compile]'" in out


def test_an_unknown_chip_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    code, out = said(capsys, "compile", "tiny", "--topology", "h100:2x2")
    assert code == 2
    assert "it begins with one of v4, v5e, v5p, v6e" in out


def test_batches_that_do_not_split_over_the_topology_do_not_fit(capsys, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setattr(ahead, "_devices", lambda topology: [None] * 4)
    code, out = said(capsys, "compile", "tiny")
    assert code == 2
    assert "begin the run with --batches.unit 4" in out and out.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("libtpu") is None, reason="no TPU compiler: the extra tpu-compile")
def test_the_tiny_preset_compiles_for_a_tpu_topology():
    command = "import sys; from atomas_jax.cli import main; main(sys.argv[1:])"
    asked = ["compile", "tiny", "--topology", "v5e:2x2", "--training.mesh", "fsdp=4", "--batches.unit", "4"]
    done = subprocess.run(
        [sys.executable, "-c", command, *asked],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    assert "tiny on v5e:2x2: 4 devices, mesh fsdp=4" in done.stdout
    assert re.search(r"fits: 0\.\d+ of 16 GiB", done.stdout)
