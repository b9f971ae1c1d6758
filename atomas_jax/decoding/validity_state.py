"""What the validity constraint remembers of each row: arrays of a fixed size."""

from dataclasses import dataclass

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
    species: Int[Array, "R M"]
    total: Int[Array, "R M"]
    """Bond orders and hydrogens."""
    foreign: Bool[Array, "R M"]
    """Whether an atom is bound to one that is no oxygen."""
    fused: Int[Array, "R M"]
    """Bonds to aromatic atoms that an aromatic one has: RDKit's valence model takes no more than `FUSED`."""
    bit: UInt32[Array, "R M"]
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
    charge: Int[Array, " R"]


def nothing_written(rows: int, atoms: int) -> State:
    """The state of rows in which nothing is written, for at most so many atoms each."""

    def full(value, *shape, dtype=jnp.int32):
        return jnp.full((rows, *shape), value, dtype)

    m, zero = atoms, full(0)
    return State(
        phase=zero,
        current=full(-1),
        atoms=zero,
        bond=zero,
        stack=full(-1, DEPTH),
        depth=zero,
        naked=full(False, DEPTH + 1, dtype=bool),
        bare=full(False, dtype=bool),
        species=full(0, m, dtype=jnp.int16),
        total=full(0, m, dtype=jnp.int8),
        foreign=full(False, m, dtype=bool),
        fused=full(0, m, dtype=jnp.int8),
        bit=full(0, m, dtype=jnp.uint32),
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
