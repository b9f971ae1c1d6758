"""How the strings of a batch lie in its arrays: groups of blocks, each block of strings padded to a length of its own.

A group is what one device, or one part of an accumulated step, works on. All groups are laid out alike: some strings of
one length, some of the next, and so on, one after another along one axis of tokens. Layers that treat each token by
itself see one matrix without knowing of strings; attention and clustering take block by block. So a batch may hold a
fair draw of all lengths while little of it is padding. Where all strings have one length, every string is a group.

Letters: G groups, R strings of a group, N padded tokens of a group, n strings of a block, L their padded length.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import jax
import jax.numpy as jnp


@jax.tree_util.register_static
@dataclass(frozen=True)
class Layout:
    """Where the strings of every group lie: known when a step is compiled, and part of the structure of what holds
    it."""

    blocks: tuple[tuple[int, int], ...]
    """(n, L) of each block, in order."""

    @classmethod
    def rectangle(cls, length: int) -> "Layout":
        """Of arrays [B, L]: each string is a group."""
        return cls(((1, length),))

    @classmethod
    def of(cls, blocks: Sequence[jax.Array]) -> "Layout":
        """Of arrays [G, n, L, ...], one a block."""
        return cls(tuple(block.shape[1:3] for block in blocks))

    @property
    def strings(self) -> int:
        """R."""
        return sum(rows for rows, _ in self.blocks)

    @property
    def longest(self) -> int:
        """Largest L."""
        return max(length for _, length in self.blocks)

    @cached_property
    def starts(self) -> tuple[tuple[int, int], ...]:
        """(first string, first token) of each block."""
        rows = accumulate((rows for rows, _ in self.blocks), initial=0)
        tokens = accumulate((rows * length for rows, length in self.blocks), initial=0)
        return tuple(zip(rows, tokens))[:-1]

    def cut(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """[G, N, ...] -> [G, n, L, ...] a block."""
        groups, _, *rest = x.shape
        return tuple(
            jax.lax.slice_in_dim(x, start, start + rows * length, axis=1).reshape(groups, rows, length, *rest)
            for (_, start), (rows, length) in zip(self.starts, self.blocks)
        )

    def cut_strings(self, x: jax.Array) -> tuple[jax.Array, ...]:
        """[G, R, ...] -> [G, n, ...] a block."""
        return tuple(
            jax.lax.slice_in_dim(x, start, start + rows, axis=1)
            for (start, _), (rows, _) in zip(self.starts, self.blocks)
        )

    def spread(self, x: jax.Array) -> jax.Array:
        """[G, R, ...] -> [G, N, ...]: what belongs to a string, at each of its tokens."""
        parts = self.cut_strings(x)
        shaped = [jnp.broadcast_to(part[:, :, None], (*part.shape[:2], length, *part.shape[2:]))
                  for part, (_, length) in zip(parts, self.blocks)]  # fmt: skip
        return join(shaped)

    def coarser(self, most: int) -> "Layout":
        """At most so many blocks: neighbours are joined, those first that cost the least padding."""
        blocks = list(self.blocks)
        while len(blocks) > most:
            longest = [max(one[1], other[1]) for one, other in pairwise(blocks)]
            prices = [
                sum(rows * (length - own) for rows, own in blocks[at : at + 2]) for at, length in enumerate(longest)
            ]
            at = prices.index(min(prices))
            blocks[at : at + 2] = [(blocks[at][0] + blocks[at + 1][0], longest[at])]
        return Layout(tuple(blocks))

    def joined(self, x: jax.Array, coarse: "Layout", fill: float = 0) -> jax.Array:
        """[G, N, ...] -> the same strings as a `coarser` layout has them, padded with `fill` where it is longer."""
        if coarse == self:
            return x
        blocks = [[] for _ in coarse.blocks]
        for part, at in zip(self.cut(x), coarse._holding(self)):
            more = ((0, 0), (0, 0), (0, coarse.blocks[at][1] - part.shape[2]), *[(0, 0)] * (part.ndim - 3))
            blocks[at].append(jnp.pad(part, more, constant_values=fill))
        return join([jnp.concatenate(parts, axis=1) for parts in blocks])

    def split(self, x: jax.Array, fine: "Layout") -> jax.Array:
        """The inverse of `fine.joined(x, self)`: what was padded is cut off."""
        if fine == self:
            return x
        parts, blocks = self.cut(x), []
        for at, (start, _), (rows, length) in zip(self._holding(fine), fine.starts, fine.blocks):
            first = start - self.starts[at][0]
            blocks.append(parts[at][:, first : first + rows, :length])
        return join(blocks)

    def _holding(self, fine: "Layout") -> list[int]:
        """Of each block of a layout that this one is a `coarser` of, the block of this one that has its strings."""
        ends = [start + rows for (start, _), (rows, _) in zip(self.starts, self.blocks)]
        return [bisect_right(ends, start) for start, _ in fine.starts]

    def padded(self, x: jax.Array, fill: float = 0) -> jax.Array:
        """[G, N, ...] -> [G, R, longest, ...], shorter blocks padded with `fill`."""
        whole = self.coarser(1)
        return whole.cut(self.joined(x, whole, fill))[0]

    def unpadded(self, x: jax.Array) -> jax.Array:
        """The inverse of `padded`."""
        return self.coarser(1).split(join([x]), self)


def join(blocks: Sequence[jax.Array]) -> jax.Array:
    """[G, n, L, ...] a block -> [G, N, ...]: the inverse of `Layout.cut`."""
    flat = [block.reshape(block.shape[0], -1, *block.shape[3:]) for block in blocks]
    return flat[0] if len(flat) == 1 else jnp.concatenate(flat, axis=1)


@jax.custom_vjp
def permuted(x: jax.Array, order: jax.Array) -> jax.Array:
    """String i of a group is its string order[i]: x [G, R, ...], order int32 [G, R], a permutation in every group.

    The gradient is the inverse permutation, a gather, where the gradient of indexing would be a sum into zeros.
    """
    return _taken(x, order)


def _taken(x: jax.Array, order: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x, order.reshape(*order.shape, *[1] * (x.ndim - 2)), axis=1)


def _permuted_forward(x, order):
    return _taken(x, order), order


def _permuted_backward(order, gradient):
    return _taken(gradient, jnp.argsort(order, axis=1)), None


permuted.defvjp(_permuted_forward, _permuted_backward)
