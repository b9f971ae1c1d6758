"""Work in processes: order, bounded reading ahead, and processes that die."""

import os

import pytest

from atomas_jax.corpus.pool import cores, ordered_map
from atomas_jax.errors import UserError


def square(x):
    return x * x


def die(x):
    os._exit(9)


def refuse(x):
    raise UserError(f"no {x}")


@pytest.mark.multiprocess
def test_results_come_in_order_and_reading_ahead_is_bounded():
    ahead = []

    def chunks():
        for i in range(40):
            ahead.append(i)
            yield i

    for workers in (1, 2):
        ahead.clear()
        for done, result in enumerate(ordered_map(square, chunks(), workers)):
            assert result == done * done and len(ahead) - done <= 3 * workers
        assert done == 39


@pytest.mark.multiprocess
def test_a_process_that_dies_and_one_that_refuses():
    with pytest.raises(UserError, match="worker process was killed"):
        list(ordered_map(die, range(4), 2))
    with pytest.raises(UserError, match="no 0"):
        list(ordered_map(refuse, range(4), 2))


def test_there_is_a_core():
    assert 1 <= cores() <= (os.cpu_count() or 1)
