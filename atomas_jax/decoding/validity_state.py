"""What the validity constraint remembers of each row: arrays of a fixed size."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

DEPTH, WINDOW, WAYS, SLOTS, FUSED = 128, 16, 16, 16, 3
"""Bounds: branches in branches written; of these, the innermost looked at for aromatic rings; ways to place double
bonds that are followed; rings open at once; aromatic neighbours an aromatic atom may have."""

START, AFTER_ATOM, AFTER_BRANCH, IN_BRANCH, BONDED, BONDED_IN_BRANCH = range(6)
"""What was written last: nothing (or a dot), an atom or ring closure, ")", "(", a bond after an atom, another bond."""
OPENED, NAMED, TURNED, HYDROGEN, COUNTED, SIGNED, CHARGED, ISOTOPE = range(6, 14)
"""The same inside a bracket atom."""

PHASES = ISOTOPE + 1
ISOTOPE_DIGITS = 3
"""Of the mass in a bracket atom, at most."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """Of every row: M atoms, D branch points, S open rings, K ways to place double bonds. Leaves [R, ...]."""

    phase: Int[Array, " R"]
    current: Int[Array, " R"]
    """Atom that the next bond starts from; -1 is none."""
    atoms: Int[Array, " R"]
    bond: Int[Array, " R"]
    stack: Int[Array, "R D"]
    depth: Int[Array, " R"]
    naked: Bool[Array, "R D+1"]
    """At each depth, whether an aromatic atom of the path needs a ring from further out. The current atom is apart."""
    bare: Bool[Array, " R"]
    """Whether the current atom does."""
    written: Int[Array, "R M"]
    """The atoms: each an `Atom` in one number (`packed`)."""
    followed: Int[Array, " R"]
    """First atom whose double bonds are followed."""
    ring_number: Int[Array, "R S"]
    ring_atom: Int[Array, "R S"]
    """Atom that opened the ring; -1 where none is open."""
    ring_bond: Int[Array, "R S"]
    near: Bool[Array, "R S"]
    """Whether the current atom is bound to that atom already."""
    paired: UInt32[Array, "R K"]
    live: Bool[Array, "R K"]
    used: UInt32[Array, " R"]
    symbol: Int[Array, " R"]
    hydrogens: Int[Array, " R"]
    """Of the bracket atom being spelled; before its symbol, the digits of its mass."""
    charge: Int[Array, " R"]


class Atom(NamedTuple):
    """What is remembered of an atom."""

    kind: Int[Array, "..."]
    total: Int[Array, "..."]
    """Bond orders and hydrogens."""
    foreign: Bool[Array, "..."]
    """Whether it is bound to an atom that is no oxygen."""
    fused: Int[Array, "..."]
    """Bonds to aromatic atoms that an aromatic one has: RDKit's valence model takes no more than `FUSED`."""
    bit: UInt32[Array, "..."]
    """Its place in the sets of paired atoms; 0 for atoms that are not followed."""


def packed(atom: Atom) -> Int[Array, "..."]:
    """An atom in one number. From the lowest bits: total 6, fused 3, foreign 1, place of its bit 6, kind."""
    place = jax.lax.population_count(atom.bit - jnp.uint32(1)).astype(jnp.int32)  # 32 for none
    return atom.total | atom.fused << 6 | atom.foreign << 9 | place << 10 | atom.kind << 16


def atom_at(free: Int[Array, " G"], s: State, place: Int[Array, "..."]) -> Atom:
    """Atoms of one row; `free` tells what kinds become where their double bonds are no longer followed."""
    word = s.written[place]
    bit_place, kind = word >> 10 & 63, word >> 16
    lost = place < s.followed
    bit = jnp.where(lost | (bit_place > 31), jnp.uint32(0), jnp.uint32(1) << (bit_place & 31).astype(jnp.uint32))
    return Atom(jnp.where(lost, free[kind], kind), word & 63, (word >> 9 & 1) > 0, word >> 6 & 7, bit)


def nothing_written(rows: int, atoms: int) -> State:
    """The state of rows in which nothing is written, for at most so many atoms each."""

    def full(value, *shape, dtype=jnp.int32):
        return jnp.full((rows, *shape), value, dtype)

    zero = full(0)
    return State(
        phase=zero,
        current=full(-1),
        atoms=zero,
        bond=zero,
        stack=full(-1, DEPTH),
        depth=zero,
        naked=full(False, DEPTH + 1, dtype=bool),
        bare=full(False, dtype=bool),
        written=full(0, atoms),
        followed=zero,
        ring_number=full(0, SLOTS),
        ring_atom=full(-1, SLOTS),
        ring_bond=full(0, SLOTS),
        near=full(False, SLOTS, dtype=bool),
        paired=full(0, WAYS, dtype=jnp.uint32),
        live=jnp.broadcast_to(jnp.arange(WAYS) == 0, (rows, WAYS)),
        used=full(0, dtype=jnp.uint32),
        symbol=zero,
        hydrogens=zero,
        charge=zero,
    )
