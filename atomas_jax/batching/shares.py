"""Fair shares: a table of counts dealt out into parts, so that every part has the same sums of rows and of columns.

The counts are pairs by the block of their SMILES and the block of their text; a part is a batch of an epoch, or a group
of a batch. That a table whose sums divide by the number of parts can always be dealt out so is König's theorem on
colouring the edges of bipartite graphs. Parts are reached by halving, so the share of one part takes logarithmically
many steps and no other part's.
"""

from collections.abc import Callable

import numpy as np


def share(
    counts: np.ndarray, parts: int, part: int, half: Callable[[np.ndarray, int, int, int], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """What comes before a part, and the part: int [A, B] each.

    Args:
      counts: int [A, B], sums of rows and columns divisible by `parts`.
      half: `halving(...)` of these counts.
    """
    before, first = np.zeros_like(counts), 0
    while parts > 1:
        taken = half(counts, first, parts, parts // 2)
        if part - first < parts // 2:
            counts, parts = taken, parts // 2
        else:
            before, counts = before + taken, counts - taken
            first, parts = first + parts // 2, parts - parts // 2
    return before, counts


def halving(*seed: int) -> Callable[[np.ndarray, int, int, int], np.ndarray]:
    """A function (counts, first part, parts, so many of them) -> their counts, the same whenever it is asked.

    It remembers what it was asked: the parts of one table come in any order.
    """
    known: dict[tuple[int, int], np.ndarray] = {}

    def half(counts: np.ndarray, first: int, parts: int, taken: int) -> np.ndarray:
        if (first, parts) not in known:
            known[first, parts] = fraction(counts, taken, parts, np.random.default_rng([*seed, first, parts]))
        return known[first, parts]

    return half


def fraction(counts: np.ndarray, taken: int, parts: int, generator: np.random.Generator) -> np.ndarray:
    """`counts * taken / parts` rounded to whole numbers, up or down each, sums of rows and columns exact.

    Which are rounded up is drawn so that each count has its fraction as its mean (dependent rounding: Gandhi et al.
    2006): along a cycle of unfinished counts, odd ones grow by what even ones shrink until one is whole.

    Args:
      counts: int [A, B], sums of rows and columns divisible by `parts`.
    """
    whole, rest = np.divmod(counts * taken, parts)
    rest = rest.tolist()
    while (cycle := _cycle(rest)) is not None:
        up = min(min(parts - rest[i][j] for i, j in cycle[::2]), min(rest[i][j] for i, j in cycle[1::2]))
        down = min(min(rest[i][j] for i, j in cycle[::2]), min(parts - rest[i][j] for i, j in cycle[1::2]))
        step = up if generator.integers(up + down) < down else -down
        for at, (i, j) in enumerate(cycle):
            value = rest[i][j] + (-step if at % 2 else step)
            if value == parts:
                whole[i, j] += 1
                value = 0
            rest[i][j] = value
    return whole


def _cycle(rest: list[list[int]]) -> list[tuple[int, int]] | None:
    """A closed way over cells with a rest, in turn along a row and along a column; None where there is no rest.

    A row or a column with one such cell has another, for its sum is whole.
    """
    start = next(((i, j) for i, row in enumerate(rest) for j, value in enumerate(row) if value), None)
    if start is None:
        return None
    row, column = start
    path, rows, columns = [start], {}, {}  # where in the path each row and each column was left
    while True:
        if row in rows:  # back by another column than it was left by: that corner closes the way
            return path[rows[row] :]
        rows[row] = len(path)
        column = next(j for j, value in enumerate(rest[row]) if value and j != column)
        path.append((row, column))
        if column in columns:
            return path[columns[column] :]
        columns[column] = len(path)
        row = next(i for i, values in enumerate(rest) if values[column] and i != row)
        path.append((row, column))
