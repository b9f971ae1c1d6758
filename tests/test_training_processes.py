"""Several processes as one job: they give what one gives, stop together, go on in another number, fail in one line."""

import os
import signal
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from small_run import training_process
from test_training import arrays, emptied, log

from atomas_jax.errors import UserError
from atomas_jax.training import processes

NEAR = {"rtol": 1e-5, "atol": 1e-5}


def job(count: int, corpus: Path, run: Path, last_corpus: Path | None = None, **changes) -> list:
    """The processes of one training job on this machine; the last may look for its corpus elsewhere."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    words = f"coordinator=127.0.0.1:{port},processes={count},process="
    corpora = [corpus] * (count - 1) + [last_corpus or corpus]
    return [training_process(own, run, distributed=f"{words}{i}", **changes) for i, own in enumerate(corpora)]


def ended(started: list, limit: float = 300) -> list[tuple[int, str, str]]:
    """(exit code, output, errors) of each."""
    return [(process.returncode, *said) for process in started for said in [process.communicate(timeout=limit)]]


def wait_for_step(run: Path, step: int, started: list) -> None:
    """Until the log has that step."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and all(process.poll() is None for process in started):
        if (run / "log.jsonl").exists() and f'"step": {step},' in (run / "log.jsonl").read_text():
            return
        time.sleep(0.02)
    raise AssertionError(ended(started))


def assert_same_log(ours: list[dict], theirs: list[dict]) -> None:
    """Every loss to 1e-5 of itself, and nothing logged twice."""
    for one, other in zip(ours, theirs, strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name == "kind":
                assert value == other[name]
            elif not name.endswith(("R1", "MRR", "accuracy")):  # ranks turn on the last bit
                np.testing.assert_allclose(value, other[name], **NEAR, err_msg=f"{name} at {one['step']}")


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Every array of the last checkpoint and every loss."""
    for one, other in zip(arrays(ours, 12), arrays(theirs, 12), strict=True):
        np.testing.assert_allclose(one, other, **NEAR)
    assert_same_log(log(ours), log(theirs))


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_several_processes_agree_with_one(small_corpus, small_run, tmp_path, count):
    run = tmp_path / "several"
    found = ended(job(count, small_corpus, run))
    for i, (code, out, err) in enumerate(found):
        assert code == 0, err
        assert "finished 12" in out
        assert ("steps of 8 pairs an epoch" in err) == (i == 0), "one of them speaks"
    assert_same_run(run, small_run)


def stopped(count: int, corpus: Path, run: Path) -> int:
    """The step after which a job stopped whose last process was sent SIGTERM."""
    started = job(count, corpus, run) if count > 1 else [training_process(corpus, run)]
    wait_for_step(run, 1, started)
    os.kill(started[-1].pid, signal.SIGTERM)
    found = ended(started)
    assert {code for code, _, _ in found} == {0}, found
    (said,) = {out.strip().splitlines()[-1] for _, out, _ in found}
    how, step = said.split()
    assert how == "stopped" and int(step) < 12
    assert (run / "checkpoints" / step).is_dir()
    return int(step)


@pytest.mark.multiprocess
def test_what_one_process_misses_ends_all_at_once(small_corpus, tmp_path):
    first, last = ended(job(2, small_corpus, tmp_path / "run", tmp_path / "nowhere"), limit=50)
    for code, _, err in (first, last):
        assert code == 1
        assert f"no prepared corpus at {tmp_path / 'nowhere'}" in err.strip().splitlines()[-1], err
    assert not (tmp_path / "run").exists()


@pytest.mark.multiprocess
@pytest.mark.slow
def test_a_damaged_checkpoint_is_passed_over_by_all(small_corpus, small_run, tmp_path):
    broken = emptied(small_run, tmp_path / "broken", [12])
    found = ended(job(2, small_corpus, broken, mesh="fsdp=2"))
    assert [code for code, _, _ in found] == [0, 0], found
    assert "checkpoint 12 is damaged: going on from 9" in found[0][2]
    for one, other in zip(arrays(broken, 12), arrays(small_run, 12), strict=True):
        np.testing.assert_allclose(one, other, **NEAR)


@pytest.mark.multiprocess
@pytest.mark.slow
def test_several_start_from_weights_and_write_samples(small_corpus, small_run, tmp_path):
    """In a mesh that splits the parameters over the processes."""
    run = tmp_path / "several"
    found = ended(job(2, small_corpus, run, steps=1, samples=2, mesh="fsdp=2", initial=str(small_run)))
    assert [code for code, _, _ in found] == [0, 0], found
    one = training_process(small_corpus, tmp_path / "one", steps=1, samples=2, initial=str(small_run))
    assert one.wait() == 0
    (ours,), (theirs,) = (list((tmp_path / name / "samples").iterdir()) for name in ("several", "one"))
    assert ours.read_text() == theirs.read_text()
    assert_same_log(log(run), log(tmp_path / "one"))


@pytest.mark.multiprocess
def test_a_signal_to_one_process_stops_all_after_the_same_step(small_corpus, small_run, tmp_path):
    """And until then they lost what one process loses."""
    run = tmp_path / "stopped"
    step = stopped(2, small_corpus, run)
    assert_same_log(log(run), [line for line in log(small_run) if line["step"] <= step])


@pytest.mark.multiprocess
@pytest.mark.slow
@pytest.mark.parametrize(("first", "then", "mesh"), [(2, 1, ""), (1, 4, ""), (4, 2, "fsdp=2"), (2, 4, "data=2,fsdp=2")])
def test_stopped_and_resumed_in_another_number(small_corpus, small_run, tmp_path, first, then, mesh):
    run = tmp_path / "stopped"
    stopped(first, small_corpus, run)
    resumed = job(then, small_corpus, run, mesh=mesh) if then > 1 else [training_process(small_corpus, run)]
    for code, out, err in ended(resumed):
        assert code == 0, err
        assert "finished 12" in out
    assert_same_run(run, small_run)


@pytest.mark.parametrize(
    "words", ["somewhere", "coordinator=a:1,processes=2", "coordinator=a,processes=2,process=0",
              "coordinator=a:1,processes=2,process=2", "coordinator=a:1,processes=two,process=0"],
)  # fmt: skip
def test_words_that_describe_no_job_are_one_line(words):
    with pytest.raises(UserError, match=r"training\.distributed = .*: write auto, or coordinator=HOST:PORT"):
        processes.join(words)


def test_no_cluster_to_be_found_is_one_line(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM", "OMPI", "TPU", "KUBERNETES"))]:
        monkeypatch.delenv(name)
    with pytest.raises(UserError, match="did not find each other"):
        processes.join("auto")
