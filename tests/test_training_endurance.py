"""What jobs meet: kills at any moment, full disks, damaged files, days of steps."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_run import SMALL, training_process
from test_training import arrays, log

from atomas_jax import jobs
from atomas_jax.errors import UserError
from atomas_jax.run_folder import RunFolder
from atomas_jax.training.checkpoints import Checkpoints


def tree(value: int) -> dict:
    return {"table": jnp.full((50, 30), value, jnp.float32) * jnp.arange(30), "count": jnp.int32(value)}


def saved(folder: Path) -> RunFolder:
    """A run folder with checkpoints of steps 1 and 2."""
    run = RunFolder(folder)
    with Checkpoints(run, 2, "language") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, tree(step), tree(10 + step))
    return run


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of coroutines Orbax leaves behind
def test_whatever_file_of_a_checkpoint_is_damaged_good_values_come_back(tmp_path):
    """Cut in half, emptied or lost: it is read right, or found out and the one before is read."""
    whole = saved(tmp_path / "whole").path
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree(0))
    found_out = 0
    files = [path.relative_to(whole) for path in (whole / "checkpoints" / "2").rglob("*") if path.is_file()]
    for i, name in enumerate(sorted(files)):
        broken = shutil.copytree(whole, tmp_path / f"broken{i}")
        path = broken / name
        match i % 3:
            case 0:
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            case 1:
                path.write_bytes(b"")
            case 2:
                path.unlink()
        with Checkpoints(RunFolder(broken), 2, "language") as checkpoints:
            step, weights, state, damaged = checkpoints.restore_newest(like, like)
        assert (step, damaged) in ((2, []), (1, [2]))
        for ours, theirs in zip(jax.tree.leaves((weights, state)), jax.tree.leaves((tree(step), tree(10 + step)))):
            np.testing.assert_array_equal(ours, theirs)
        found_out += step == 1
    assert found_out >= 4


def test_the_best_with_damaged_metrics_is_replaced(tmp_path):
    run = RunFolder(tmp_path)
    with Checkpoints(run, 2, "language") as checkpoints:
        assert checkpoints.save_if_best(3, tree(3), {"language": 1.0})
    for path in (run.best / "3" / "metrics").rglob("*"):
        path.write_bytes(b'{"st')
    with Checkpoints(run, 2, "language") as checkpoints:
        assert checkpoints.best_metrics() is None
        assert checkpoints.save_if_best(5, tree(5), {"language": 2.0})
        assert checkpoints.best_metrics()["step"] == 5


LIMITED = """
import resource, sys
sys.path[:0] = {path!r}
import jax.numpy as jnp
from atomas_jax.run_folder import RunFolder
from atomas_jax.training.checkpoints import Checkpoints
try:
    with Checkpoints(RunFolder({run!r}), 2, "language") as checkpoints:
        checkpoints.save(1, {{"x": jnp.zeros(10)}}, {{"x": jnp.zeros(10)}})
        checkpoints._latest.wait_until_finished()
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))  # a file's, as under a quota
        import numpy as np
        noise = jnp.asarray(np.random.default_rng(0).random(100_000))
        checkpoints.save(2, {{"x": noise}}, {{"x": noise}})
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_disk_that_takes_no_more_is_one_line_and_keeps_the_last_checkpoint(tmp_path):
    program = LIMITED.format(path=[str(Path(__file__).parents[1])], run=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert re.fullmatch(
        r"UserError cannot save a checkpoint in .*checkpoints \(File too large\): put that right, and the same command "
        r"goes on from the last one\n",
        done.stdout,
    ), done
    assert not done.stderr
    with Checkpoints(RunFolder(tmp_path), 2, "language") as checkpoints:
        like = {"x": jax.ShapeDtypeStruct((10,), jnp.float32, sharding=jnp.zeros(1).sharding)}
        assert checkpoints.restore_newest(like, like)[0] == 1
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"], "what was half written is cleared"


def test_a_folder_that_cannot_be_made_is_one_line(small_corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the run folder .*: Not a directory"):
        jobs.train(SMALL, small_corpus, tmp_path / "file" / "run")


def test_a_kill_before_the_first_setting_was_written_is_no_obstacle(small_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(small_run / "tokenizer", run / "tokenizer")
    shutil.copy(small_run / "corpus.json", run)
    shutil.copy(small_run / "versions.json", run)
    (run / "config.json1a2b.part").write_text("{")
    RunFolder(run).claim()
    (run / "thesis.tex").write_text("")
    with pytest.raises(UserError, match=r"holds thesis\.tex but no run"):
        RunFolder(run).claim()


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for one checkpoint or so."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip("file systems cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.multiprocess
@pytest.mark.slow
def test_a_full_disk_stops_a_run_in_one_line_and_room_lets_it_go_on(small_corpus, small_run, small_disk):
    run = small_disk / "run"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * 350_000)
    full = training_process(small_corpus, run)
    _, err = full.communicate()
    assert full.returncode == 1
    last = err.strip().splitlines()[-1]
    assert re.match(
        r"atomas_jax\.errors\.UserError: cannot (save a checkpoint|write) .*No space left on device", last
    ), err
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    resumed = training_process(small_corpus, run)
    out, err = resumed.communicate()
    assert "finished 12" in out, err
    for ours, theirs in zip(arrays(run, 12), arrays(small_run, 12), strict=True):
        np.testing.assert_array_equal(ours, theirs)


KILLS = 20
LONG = {"steps": 160, "save_every": 3, "validate_every": 25, "log_every": 1}


@pytest.mark.multiprocess
@pytest.mark.slow
def test_killed_twenty_times_at_random_moments_and_equal_to_the_undisturbed(small_corpus, tmp_path):
    """Every other kill comes while a checkpoint is being written, the others anywhere, start and restore included."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    undisturbed, run = tmp_path / "undisturbed", tmp_path / "killed"
    process = training_process(small_corpus, undisturbed, **LONG)
    assert "finished 160" in process.communicate()[0]
    saving = kills = 0
    while kills < KILLS:
        process = training_process(small_corpus, run, **LONG)
        before, wanted = last_step(run), chance.randrange(0, 9)
        started, patience = time.monotonic(), chance.uniform(1, 20)
        while process.poll() is None:
            time.sleep(0.003)
            moved = last_step(run) >= before + wanted and last_step(run) > 0
            if kills % 2 and moved and list(run.glob("checkpoints/*tmp*")):
                saving += 1
                break
            if not kills % 2 and (moved or time.monotonic() - started > patience):
                time.sleep(chance.uniform(0, 0.2))
                break
        if process.poll() is None:
            process.kill()
            kills += 1
        _, err = process.communicate()
        assert process.returncode == -9, f"ended by itself after {kills} kills, seed {seed}: {err}"
    assert saving >= 5, f"seed {seed}"
    process = training_process(small_corpus, run, **LONG)
    out, err = process.communicate()
    assert "finished 160" in out, err
    for ours, theirs in zip(arrays(run, 160), arrays(undisturbed, 160), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert log(run) == log(undisturbed), f"seed {seed}"


def last_step(run: Path) -> int:
    found = (
        re.findall(r'"step": (\d+), "kind": "train"', (run / "log.jsonl").read_text())
        if (run / "log.jsonl").exists()
        else []
    )
    return int(found[-1]) if found else 0


@pytest.mark.multiprocess
@pytest.mark.slow
def test_two_thousand_steps_take_no_more_memory_than_five_hundred(small_corpus, tmp_path):
    run = tmp_path / "run"
    process = training_process(
        small_corpus, run, steps=2000, save_every=50, validate_every=100, log_every=10, samples=0, tensorboard=True
    )
    resident = {}
    while process.poll() is None:
        if (run / "log.jsonl").exists() and (step := last_step(run)):
            pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
            resident[step] = max(resident.get(step, 0), pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        time.sleep(0.05)
    out, err = process.communicate()
    assert "finished 2000" in out, err
    early = max(size for step, size in resident.items() if 250 <= step <= 500)
    late = max(size for step, size in resident.items() if step > 1500)
    print(f"MiB resident: {early:.0f} between steps 250 and 500, {late:.0f} after step 1,500")
    assert late < early + 10, resident
