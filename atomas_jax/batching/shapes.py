"""The few padded shapes batches come in, chosen so that few tokens are padding."""

from typing import NamedTuple

import numpy as np

STEP = 8
"""Padded lengths are multiples of this: what vector units like."""
MOST_CORNERS = 600
"""Shapes the search starts from; a corpus of more has its lengths rounded up further first."""
REACH = 4
"""How many steps of `STEP` a shape may move at once in each direction."""


class Shape(NamedTuple):
    """Padded lengths of one batch, in tokens."""

    smiles: int
    text: int

    def holds(self, other: "Shape") -> bool:
        """Whether strings of the other shape go into this one."""
        return self.smiles >= other.smiles and self.text >= other.text


def choose_shapes(smiles: np.ndarray, text: np.ndarray, count: int) -> tuple[Shape, ...]:
    """At most `count` shapes of which every pair fits one, the smallest first, with little padding.

    Both lengths are looked at together: long texts go with long molecules, and a grid of SMILES lengths times text
    lengths would spend shapes on pairs there are none of. From every shape that occurs, the two whose union pads least
    are joined until `count` are left; then single shapes are moved for as long as that saves padding. Not the best
    there is (that is hard to find), but never worse than one shape for all.

    Args:
      smiles, text: int [N], true lengths in tokens of N >= 1 pairs. count: at least 1.
    """
    corners, pairs = _corners(smiles, text)
    shapes = _moved(_joined(corners, pairs, count), corners, pairs)
    return tuple(sorted((Shape(*map(int, shape)) for shape in shapes), key=lambda shape: (sum(shape), shape)))


def smallest_shape(smiles: np.ndarray, text: np.ndarray, shapes: tuple[Shape, ...]) -> np.ndarray:
    """Index of the first shape that holds each pair: int [N]. `shapes` ascend as `choose_shapes` gives them."""
    lengths = np.stack([smiles, text], 1)
    return (lengths[:, None] <= np.array(shapes)).all(2).argmax(1)


def _corners(smiles: np.ndarray, text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rounded lengths that occur, int64 [M, 2], and how many pairs have each, int64 [M]."""
    lengths, step = np.stack([smiles, text], 1).astype(np.int64), STEP
    while True:
        corners, pairs = np.unique(-(-lengths // step) * step, axis=0, return_counts=True)
        if len(corners) <= MOST_CORNERS:
            return corners, pairs
        step += STEP


def _joined(corners: np.ndarray, pairs: np.ndarray, count: int) -> np.ndarray:
    """At most `count` shapes int64 [count, 2] from joining corners two by two."""
    shapes, held = corners.copy(), pairs.copy()

    def prices(i: int) -> np.ndarray:  # padding added by joining shape i with each other one
        union = np.maximum(shapes[i], shapes).sum(1)
        added = held[i] * (union - shapes[i].sum()) + held * (union - shapes.sum(1))
        return np.where((held > 0) & (np.arange(len(held)) != i), added, np.inf)

    price = np.stack([prices(i) for i in range(len(shapes))])
    for _ in range(len(shapes) - count):
        i, j = np.unravel_index(price.argmin(), price.shape)
        shapes[i] = np.maximum(shapes[i], shapes[j])
        held[i], held[j] = held[i] + held[j], 0
        price[j] = price[:, j] = np.inf
        price[i] = price[:, i] = prices(i)
    return shapes[held > 0]


def _moved(shapes: np.ndarray, corners: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The shapes after every move of one of them that saves padding; each corner takes the cheapest that holds it."""
    far = np.iinfo(np.int32).max

    def padded(shapes: np.ndarray) -> int:
        holds = (corners[:, None] <= shapes).all(2)
        return int((np.where(holds, shapes.sum(1), far).min(1) * pairs).sum())

    reach = range(-REACH, REACH + 1)
    moves = [np.array((a, b)) * STEP for a in reach for b in reach if a or b]
    best, better = padded(shapes), True
    while better:
        better = False
        for i in range(len(shapes)):
            for move in moves:
                moved = shapes.copy()
                moved[i] += move
                if (moved[i] > 0).all() and (found := padded(moved)) < best:
                    best, shapes, better = found, moved, True
    return shapes
