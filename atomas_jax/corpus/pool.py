"""Work on chunks in several processes: results in the order of the chunks, few chunks in memory at a time."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from atomas_jax.errors import UserError


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(work: Callable, chunks: Iterable, workers: int) -> Iterator:
    """`work(chunk)` for every chunk, in order. `work` is pickled to each process once.

    At most three chunks a worker are in flight, so memory is bounded and `chunks` is read no faster than it is worked
    off. One worker means this process. Raises `UserError` when a process dies (out of memory).
    """
    if workers == 1:
        yield from map(work, chunks)
        return
    # Not fork: `datasets`, pyarrow and JAX run threads, and a forked copy of a lock held by one is never released.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_receive, initargs=(work,)) as pool:
        flying = deque()
        try:
            for chunk in chunks:
                flying.append(pool.submit(_run, chunk))
                if len(flying) >= 3 * workers:
                    yield flying.popleft().result()
            while flying:
                yield flying.popleft().result()
        except BrokenProcessPool as error:
            raise UserError("a worker process was killed, most likely for memory; try fewer workers") from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


_work: Callable | None = None


def _receive(work):
    global _work
    _work = work


def _run(chunk):
    return _work(chunk)
