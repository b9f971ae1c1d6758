"""Several processes as one job: how they find each other, what only the first does, how they agree, how they stop."""

import atexit
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import jax
import numpy as np
from jax._src import distributed as jax_distributed
from jax.experimental import multihost_utils

from atomas_jax.errors import UserError

STOPPED = 143
"""Exit code of every process of a job that was asked to stop and saved: that of a program ended by SIGTERM, so that a
scheduler's rule for preempted jobs (`--requeue` scripts, podFailurePolicy) holds for both."""

LEAVING_SECONDS = 60
"""How long a process that ends waits for the others: they end at one step, or something is wrong with them."""

_MESSAGE_BYTES = 1000

Result = TypeVar("Result")


def join(words: str) -> None:
    """Make this process one of the job that `training.distributed` describes; nothing where it is empty.

    Must come before anything asks jax for its devices.

    Raises:
      UserError: words that are none; no cluster to be found; processes that do not find each other in five minutes.
    """
    if not words or jax.distributed.is_initialized():
        return
    given = {} if words == "auto" else _address(words)
    try:
        jax.distributed.initialize(**given, shutdown_timeout_seconds=LEAVING_SECONDS)
    except (ValueError, RuntimeError) as error:
        told = str(error).strip().splitlines()[0][:200]
        raise UserError(
            f"training.distributed = {words!r}: the processes did not find each other ({told}); without a TPU pod, "
            f"SLURM, Open MPI or Kubernetes write coordinator=HOST:PORT,processes=N,process=I"
        ) from None
    atexit.register(_leave)  # runs before jax's own


def _leave() -> None:
    """End this process's part in the job: when all have come here, the coordinator last.

    jax ends the server at once, and a request still on its way then aborts the process: it is given a second.
    """
    service, jax_distributed.global_state.service = jax_distributed.global_state.service, None
    jax.distributed.shutdown()
    if service:
        time.sleep(1)
        service.shutdown()


def _address(words: str) -> dict:
    wanted = UserError(f"training.distributed = {words!r}: write auto, or coordinator=HOST:PORT,processes=N,process=I")
    fields = dict(word.partition("=")[::2] for word in words.replace(" ", "").split(","))
    if fields.keys() != {"coordinator", "processes", "process"}:
        raise wanted
    host, _, port = fields["coordinator"].rpartition(":")
    if not (host and port.isdecimal() and fields["processes"].isdecimal() and fields["process"].isdecimal()):
        raise wanted
    if int(fields["process"]) >= int(fields["processes"]):
        raise wanted
    return {
        "coordinator_address": fields["coordinator"],
        "num_processes": int(fields["processes"]),
        "process_id": int(fields["process"]),
        "cluster_detection_method": "deactivate",
    }


def several() -> bool:
    """Whether the job has more than one process."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this is the process that writes the log, the settings and the progress bar."""
    return jax.process_index() == 0


def first_decides(value: bool) -> bool:
    """The value the first process gave, in all of them. Every process must call it."""
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(value))) if several() else value


def all_agree(value: bool) -> bool:
    """Whether every process gave True. Every process must call it."""
    return bool(multihost_utils.process_allgather(np.asarray(value)).all()) if several() else value


def together(work: Callable[[], Result]) -> Result:
    """`work()` in every process: where one fails, all do, and none waits for it. Every process must call it.

    Raises:
      UserError: where `work` raised one, or the disk refused, in any process.
    """
    if not several():
        return work()
    result, told, failure = None, b"", None
    try:
        result = work()
    except (UserError, OSError) as error:
        told, failure = str(error).encode()[:_MESSAGE_BYTES] or b"failed", error
    message = np.zeros(_MESSAGE_BYTES, np.uint8)
    message[: len(told)] = np.frombuffer(told, np.uint8)
    for process, said in enumerate(np.asarray(multihost_utils.process_allgather(message), np.uint8)):
        if said[0]:
            raise failure or UserError(f"process {process}: {bytes(said).rstrip(bytes(1)).decode(errors='replace')}")
    return result


def first_does(work: Callable[[], None]) -> None:
    """`work()` in the first process alone; all go on when it is done, or fail with it. Every process must call it."""
    together(work if is_first() else lambda: None)


@contextmanager
def here(params) -> Iterator:
    """Global arrays as arrays that this process can use alone, on its first device; as they are in a job of one
    process. Every process must enter; what runs inside must not need the others."""
    if not several():
        yield params
        return
    params = multihost_utils.process_allgather(params, tiled=True)
    with jax.set_mesh(jax.sharding.Mesh(np.asarray(jax.local_devices()[:1]), ("alone",))):
        yield params


@contextmanager
def stop_requests() -> Iterator[Callable[[int], bool]]:
    """Yields a function of the steps done, to be called after each: does the job stop here?

    True once a process of the job was sent SIGTERM or SIGINT, for all of them after the same step, which may be a few
    after the signal. In a job of several processes jax's coordination service finds that step in the background; no
    device is waited for. A second SIGINT acts at once.
    """
    received = []

    def note(number, frame):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if several():
            os.kill(os.getpid(), signal.SIGTERM)  # which jax has listened to since `join`
        received.append(number)

    listened = (signal.SIGINT,) if several() else (signal.SIGINT, signal.SIGTERM)
    try:
        before = {number: signal.signal(number, note) for number in listened}
    except ValueError:  # not the main thread: whoever runs this one handles signals
        before = {}
    try:
        yield multihost_utils.reached_preemption_sync_point if several() else lambda step: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
