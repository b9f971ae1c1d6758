"""Spread one function over the rows of a table, on all cores.

The workers are fresh interpreters that talk through pipes. Unlike `multiprocessing` they neither fork a process in
which JAX runs threads, nor import the caller's main script again, so a plain script or a notebook may call this
without a guard.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

Row = TypeVar("Row")
Found = TypeVar("Found")
Progress = Callable[[int, int], None]
"""Called with (rows done, rows in all) as work proceeds, always from the calling thread."""

POOL_FROM = 500  # rows; below this a worker's start costs more than it saves
_CHUNK = 50
_PACKAGE_PARENT = str(Path(__file__).resolve().parents[2])
_START = "import sys; sys.path.insert(0, sys.argv[1]); from atomas_jax.evaluation.workers import serve; serve()"


def spread(
    function: Callable[[list[Row]], list[Found]],
    rows: Sequence[Row],
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Found]:
    """`function` (rows to results; importable by name, or a partial of such) applied in chunks, order kept.

    `workers=None`: every core this process may use when there are more than 500 rows, else none; 0 or 1: in this
    process.
    """
    chunks = [list(rows[i : i + _CHUNK]) for i in range(0, len(rows), _CHUNK)]
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        workers = workers if len(rows) > POOL_FROM else 1
    report = progress or (lambda done, total: None)
    found: list[list[Found]] = [[] for _ in chunks]
    done = 0
    for index, answer in (_serial if workers < 2 else _parallel)(function, chunks, workers):
        found[index] = answer
        done += len(chunks[index])
        report(done, len(rows))
    return [one for answer in found for one in answer]


def _serial(function, chunks, _):
    for index, chunk in enumerate(chunks):
        yield index, function(chunk)


def _parallel(function, chunks, workers):
    """Each thread feeds one interpreter, chunk by chunk; answers come as they are ready."""
    todo: queue.SimpleQueue = queue.SimpleQueue()
    message = _packed(function)  # packed here, so that what cannot be sent is the caller's error
    for index, chunk in enumerate(chunks):
        todo.put((index, _packed(chunk)))
    answers: queue.SimpleQueue = queue.SimpleQueue()
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _START, _PACKAGE_PARENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        for _ in range(min(workers, len(chunks)))
    ]

    def feed(process):
        try:
            _send(process.stdin, message)
            while True:
                try:
                    index, chunk = todo.get_nowait()
                except queue.Empty:
                    return
                _send(process.stdin, chunk)
                answers.put((index, pickle.load(process.stdout)))
        except (OSError, EOFError, pickle.UnpicklingError):
            answers.put((-1, process.wait()))

    threads = [threading.Thread(target=feed, args=(process,), daemon=True) for process in processes]
    for thread in threads:
        thread.start()
    try:
        for _ in chunks:
            index, answer = answers.get()
            if index < 0:
                raise RuntimeError(f"an evaluation worker ended early (exit code {answer}); its message is above")
            yield index, answer
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()
        for process in processes:
            process.stdout.close()
            with contextlib.suppress(OSError):  # what could not be sent to a worker that ended
                process.stdin.close()


def _packed(thing) -> bytes:
    return pickle.dumps(thing, protocol=pickle.HIGHEST_PROTOCOL)


def _send(pipe, message: bytes) -> None:
    pipe.write(message)
    pipe.flush()


def serve() -> None:
    """What a worker runs: read the function, then answer chunks until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the caller hears the interrupt and ends its workers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    function = pickle.load(sys.stdin.buffer)
    while True:
        try:
            chunk = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        _send(answers, _packed(function(chunk)))  # an error ends the worker, its traceback on stderr
