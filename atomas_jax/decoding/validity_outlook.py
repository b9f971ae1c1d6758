"""What remains possible: whether atoms, rings and branches that are open can still be completed.

The rules of the validity constraint, looked at from the present atom of one row. The ways to place double bonds are
judged side by side: a set of ways is one number, a bit a way, so that a rule is a few operations for all of them.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from atomas_jax.decoding.validity_state import FUSED, SLOTS, WINDOW, Atom, State, atom_at
from atomas_jax.decoding.validity_tables import AROMATIC_BOND, NO_BOND, Tables

Ways = UInt32[Array, "..."]
"""Sets of ways to place double bonds."""
NOWHERE = 31
"""Stands for a depth where none is meant: beyond any that is looked at."""


def bits(flags: Bool[Array, "... N"]) -> UInt32[Array, "..."]:
    """Flags of the last axis, 32 at most, as bits of one number."""
    places = jnp.uint32(1) << jnp.arange(flags.shape[-1], dtype=jnp.uint32)
    return jnp.sum(jnp.where(flags, places, jnp.uint32(0)), axis=-1, dtype=jnp.uint32)


def below(count: Int[Array, "..."]) -> UInt32[Array, "..."]:
    """The lowest `count` bits, 31 at most."""
    return (jnp.uint32(1) << count.astype(jnp.uint32)) - jnp.uint32(1)


def lowest_bit(word: UInt32[Array, "..."]) -> Int[Array, "..."]:
    """Place of the lowest bit set; 32 without one."""
    return jax.lax.population_count(~word & (word - jnp.uint32(1))).astype(jnp.int32)


def every(flag: Bool[Array, "..."]) -> Ways:
    """All ways or none."""
    return jnp.where(flag, jnp.uint32(0xFFFFFFFF), jnp.uint32(0))


def has_sum(mask, total):
    return (mask >> jnp.minimum(total, 15)) & 1 > 0


def can_be_double(bond):
    """Bonds that can be double ones of an aromatic system: also "/" and "\\", which tell no order."""
    return (bond == NO_BOND) | (bond >= AROMATIC_BOND)


class Supply(NamedTuple):
    """The rings open against the branch points that claim one, way by way."""

    claims: UInt32[Array, " K"]
    """Of each way, the depths of these branch points: a bit a depth."""
    fine: Ways
    """Ways that can be right for all branch points."""
    left: tuple[Ways, Ways, Ways]
    """Ways in which at least 0, 1, 2 open rings are left over."""
    lacking: tuple[UInt32[Array, " K"], UInt32[Array, " K"], UInt32[Array, " K"]]
    """Of each way, the depths up to which fewer than 0, 1, 2 rings are left over: a bit a depth."""

    def margin(self, least: int, depth: Int[Array, "..."]) -> Ways:
        """Ways in which from a depth on, at every branch point at least 0, 1, 2 rings are left over up to there."""
        depth = jnp.clip(depth, 0, WINDOW).astype(jnp.uint32)
        return bits(self.lacking[least] >> depth[..., None] == 0)

    def claimed(self, depth: Int[Array, "..."]) -> Ways:
        """Ways in which the branch point of a depth claims a ring."""
        return bits(self.claims >> depth.astype(jnp.uint32)[..., None] & 1 > 0)

    def where(self, chosen: Bool[Array, " N"], other: "Supply") -> "Supply":
        """N supplies: this one or the other."""
        return jax.tree.map(lambda a, b: jnp.where(chosen[(..., *[None] * a.ndim)], a, b), self, other)


@dataclass(frozen=True)
class Path:
    """What one row has open. A branch point that a branch is about to start from is apart: `top` says whether the
    current atom is one."""

    here: Atom
    mine: Int[Array, ""]
    total: Int[Array, ""]
    started: Bool[Array, ""]
    is_paired: Ways
    top: Bool[Array, ""]
    rings: Int[Array, ""]
    rings_here: Int[Array, ""]
    """Rings opened since the last branch point."""
    naked: UInt32[Array, ""]
    """A bit a depth."""
    naked_here: Bool[Array, ""]
    level: Int[Array, ""]
    tied: UInt32[Array, ""]
    """A bit a depth: whether its branch point has to go on even once a ring that it opened itself is closed."""
    own: Supply
    """Where each branch point claims a ring of its own."""
    shared: Supply
    """Where the ring that an aromatic atom without one waits for serves the branch point before it too."""
    ringed: Supply
    """The same once the current atom opens or closes a ring."""


def windowed(s: State) -> State:
    """The state with its `WINDOW` innermost branch points alone; of those further out, nothing is checked."""
    outer = jnp.maximum(s.depth - WINDOW, 0)
    naked = jax.lax.dynamic_slice(s.naked, (outer,), (WINDOW + 1,))
    return replace(
        s,
        stack=jax.lax.dynamic_slice(s.stack, (outer,), (WINDOW,)),
        naked=naked.at[0].set(naked[0] & (outer == 0)),  # the rings that it waits for are further out
        depth=s.depth - outer,
    )


def survey(t: Tables, s: State, is_cut: Bool[Array, ""]) -> Path:
    """The path of a `windowed` row; `is_cut` where it has branch points further out."""
    here = atom_at(t.free, s, jnp.maximum(s.current, 0))
    top = (s.depth > 0) & (s.stack[jnp.maximum(s.depth - 1, 0)] == s.current)
    level = s.depth - top
    is_open = s.ring_atom >= 0
    rings = jnp.sum(is_open)
    ring_count = jnp.sum(is_open[None] & (s.ring_atom[None] <= s.stack[:, None]), axis=1)
    before = jnp.concatenate([jnp.where(is_cut, ring_count[:1], 0), ring_count[:-1]])
    points = atom_at(t.free, s, jnp.maximum(s.stack, 0))
    forced = bits(ring_count > before) | bits(s.naked[:-1])
    rules = branch_point(t, points.kind, points.total, points.fused)
    counted, naked = below(level), bits(s.naked) & below(level + 1)
    is_paired = bits((s.paired[:, None] & points.bit[None]) != 0)  # [K]: depths
    ok = _completed(*map(bits, (rules.paired_ends, rules.paired_on)), forced) & is_paired
    ok |= _completed(*map(bits, (rules.alone_ends, rules.alone_on)), forced) & ~is_paired
    needy = ~ok & ~is_paired & bits(rules.wants) & counted
    right = s.live & (~(ok | needy) & counted == 0)
    lacking = naked | jnp.where(s.bare, jnp.uint32(1) << level.astype(jnp.uint32), jnp.uint32(0))
    innermost, before_it = (jnp.uint32(0x80000000) >> jax.lax.clz(word) for word in (lacking, naked))  # 0 for none
    outer = jnp.where(level > 0, ring_count[jnp.maximum(level - 1, 0)], 0)
    return Path(
        here=here,
        mine=here.kind,
        total=here.total,
        started=s.current < 0,
        is_paired=bits((s.paired & here.bit) != 0),
        top=top,
        rings=rings,
        rings_here=rings - outer,
        naked=naked,
        naked_here=(naked >> level.astype(jnp.uint32)) & 1 > 0,
        level=level,
        tied=bits(ring_count > before + 1) | bits(s.naked[:-1]),
        own=_supply(ring_count, counted, needy, right, rings),
        shared=_supply(ring_count, counted, needy & ~innermost, right, rings),
        ringed=_supply(ring_count, counted, needy & ~before_it, right, rings),
    )


def _completed(ends, on, forced):
    """Depths whose branch point can be completed, by going on or, where nothing forces it to, by ending."""
    return on | ends & ~forced


def _supply(ring_count, counted, needy, right, rings) -> Supply:
    depths = jnp.arange(WINDOW)
    claims = jax.lax.population_count(needy[:, None] & below(depths + 1)[None]).astype(jnp.int32)
    over = jnp.where((counted >> depths.astype(jnp.uint32) & 1 > 0)[None], ring_count[None] - claims, 99)
    lacking = tuple(bits(over < least) for least in range(3))
    left = rings - jax.lax.population_count(needy).astype(jnp.int32)
    return Supply(needy, bits(right & (lacking[0] == 0)), tuple(bits(left >= least) for least in range(3)), lacking)


def beside_metal(t: Tables, kind, other, in_ring):
    """The kind of an atom once it is bound to another one, by a bond that may be in a ring or cannot."""
    return jnp.where(t.metal[other], jnp.where(in_ring, t.bound[kind], t.loose[kind]), kind)


def is_settled(t: Tables, kind, total, is_paired: Bool[Array, "..."]):
    """Whether the atom is complete."""
    return has_sum(jnp.where(is_paired, t.paired[kind], t.without[kind]), total)


def chosen(is_paired: Ways, paired: Bool[Array, "..."], alone: Bool[Array, "..."]) -> Ways:
    """The ways of which a rule holds, by what it says of a paired atom and of one that is not."""
    return is_paired & every(paired) | ~is_paired & every(alone)


class Point(NamedTuple):
    """How a branch point can be completed without a ring: with what it has, or by going on; paired or not."""

    paired_ends: Bool[Array, "..."]
    paired_on: Bool[Array, "..."]
    alone_ends: Bool[Array, "..."]
    alone_on: Bool[Array, "..."]
    wants: Bool[Array, "..."]
    """Whether a ring would do for one not paired."""


def takes_oxygen(t: Tables, kind, total):
    """Whether a halogen that an oxygen is bound to by a double bond takes another one by a single bond."""
    return (total >= 2) & (total + 1 <= t.oxidised[kind])


def branch_point(t: Tables, kind, total, fused) -> Point:
    """What can become of branch points, of so many aromatic neighbours."""
    most, without, paired = t.most[kind], t.without[kind], t.paired[kind]
    room = (total + 1 <= most) | takes_oxygen(t, kind, total)
    outward = t.aromatic[kind] & (total + 2 <= most) & has_sum(without, total + 2)
    return Point(
        has_sum(paired, total),
        room & has_sum(paired, total + 1),
        has_sum(without, total),
        room & has_sum(without, total + 1) | outward,  # a double bond out of its ring completes an aromatic atom
        room & has_sum(paired, total + 1) & (fused < FUSED),
    )


def is_covered(supply: Supply, left: Ways, lowest: Int[Array, "..."]) -> Ways:
    """Ways in which a ring from further out is left for the aromatic atoms that lack one, from depth `lowest` on.
    `left`: those with a ring left over at all."""
    none = every(lowest >= NOWHERE)
    return none | every(lowest > 0) & left & supply.margin(1, lowest - 1)


class Onward(NamedTuple):
    """Whether the current atom can be left for another, by order of the bond; the next unpaired, or paired with it."""

    may: tuple[Bool[Array, "..."], Bool[Array, "..."]]
    with_ring: Bool[Array, "..."]
    """The first with an open ring to spare."""
    with_cover: tuple[Bool[Array, "..."], Bool[Array, "..."]]
    """The same where the next atom needs a ring from further out."""
    forced: Bool[Array, ""]
    exposed: Bool[Array, "..."]
    """Whether an aromatic atom that comes next needs a ring from further out."""


def leaving(t: Tables, s: State, p: Path, order, plain, top) -> Onward:
    """What can follow by bonds: their orders, whether they can be double ones of an aromatic system, and whether the
    current atom is, or is about to be, a branch point; arrays of one shape."""
    total = p.total + order
    can_pair = t.conjugated[p.mine] & plain & (p.rings > 0) & ~p.started & (p.here.fused < FUSED)
    keeps_ring = jnp.any((s.ring_atom == s.current) & can_be_double(s.ring_bond)) & (p.here.fused + 1 < FUSED)
    lacks = s.bare | p.naked_here
    rules = branch_point(t, p.mine, total, p.here.fused)
    paired_settled = rules.paired_ends
    alone_settled = rules.alone_ends | keeps_ring & rules.paired_ends
    forced_top = (p.rings_here > 0) | lacks
    paired_ok, alone_ok = (
        _completed(ends, on, forced_top)
        for ends, on in ((rules.paired_ends, rules.paired_on), (rules.alone_ends, rules.alone_on))
    )
    wants = ~p.is_paired & every(~alone_ok & rules.wants)
    takes = wants & every(top & ~lacks)  # a ring of its own
    enough, spare, two = p.shared.left
    left_0, left_1 = enough & ~takes | spare & takes, spare & ~takes | two & takes
    naked = p.naked | jnp.where(s.bare, jnp.uint32(1) << p.level.astype(jnp.uint32), jnp.uint32(0))
    lowest = lowest_bit(naked)
    covered = is_covered(p.shared, left_1, lowest)
    # the ring that the next atom needs is none that branch points want: it is closed further in
    apart, deepest = wants & every(top), jnp.minimum(lowest, p.level + top)
    covers = p.own.fine & is_covered(p.own, p.own.left[1] & ~apart | p.own.left[2] & apart, deepest)
    # alone
    at_top = (chosen(p.is_paired, paired_ok, alone_ok) | wants) & left_0
    may = jnp.where(top, at_top, chosen(p.is_paired, paired_settled, alone_settled)) | every(p.started)
    may &= p.shared.fine
    now = may & covered
    # paired with the next one
    pair = jnp.where(top, every(paired_ok) & enough, every(paired_settled)) & ~p.is_paired & every(can_pair)
    pair &= p.shared.fine
    pair_covered = is_covered(p.shared, spare, lowest)
    pair_covers = p.own.fine & is_covered(p.own, p.own.left[1], deepest)
    return Onward(
        (now != 0, (pair & pair_covered) != 0),
        (now & left_1) != 0,
        ((may & covers) != 0, (pair & pair_covers) != 0),
        ~top & ((p.rings_here > 0) | (naked >> p.level.astype(jnp.uint32) & 1 > 0)),
        top | (p.rings_here == 0),
    )


def can_stay(t: Tables, kind, total, fused, forced) -> tuple:
    """Whether the current atom, of a kind, can be completed by what follows: paired, not paired, and not paired
    where a ring is left for it."""
    rules = branch_point(t, kind, total, fused)
    paired, alone = rules.paired_on | ~forced & rules.paired_ends, rules.alone_on | ~forced & rules.alone_ends
    # a double bond out of its ring needs one that is not paired: `alone_on` has it
    return paired, alone, rules.wants


def may_close(t: Tables, s: State, p: Path) -> Bool[Array, " S"]:
    """Which open rings may be closed."""
    is_open = s.ring_atom >= 0
    place = jnp.maximum(s.ring_atom, 0)
    partner = atom_at(t.free, s, place)
    theirs = partner.kind
    mine_order, their_order = t.before[s.bond], t.before[s.ring_bond]
    order = jnp.maximum(mine_order, their_order)
    silent = (s.bond == NO_BOND) | (s.ring_bond == NO_BOND)
    agree = silent | (mine_order == their_order)
    aromatic_bond = (s.bond == AROMATIC_BOND) | (s.ring_bond == AROMATIC_BOND)
    agree &= ~aromatic_bond | t.conjugated[p.mine] & t.conjugated[theirs]
    fused = partner.fused - (s.ring_bond == AROMATIC_BOND)  # had its place from the beginning
    agree &= ~(t.aromatic[p.mine] & t.aromatic[theirs]) | (jnp.maximum(fused, p.here.fused) < FUSED)
    their_total = partner.total + order - their_order
    total = p.total + order
    on_stack = jnp.any((s.stack[None] == place[:, None]) & (jnp.arange(WINDOW) < s.depth)[None], axis=1)
    double = can_be_double(s.ring_bond)
    others = jnp.sum((s.ring_atom[None] == s.ring_atom[:, None]) & double[None], axis=1)
    more_rings = (others - double > 0) & (fused + 1 < FUSED)
    depth = jnp.sum((s.stack[None] < place[:, None]) & (jnp.arange(WINDOW) < p.level)[None], axis=1)  # [S]
    they_paired = bits((s.paired[None] & partner.bit[:, None]) != 0)  # [S]
    lowest = lowest_bit(p.naked)
    remains = lowest <= depth  # depths whose aromatic atoms still lack a ring
    # where no atom further in stops waiting by this ring, the shared count; else each its own
    supply = p.ringed.where(p.naked >> (depth + 1).astype(jnp.uint32) == 0, p.own)  # [S]
    at_least = [supply.margin(least, depth) for least in range(3)]  # [S]: from the ring's depth on
    enough, spare, two = supply.left
    covered = every(~remains) | every(lowest > 0) & two & supply.margin(1, lowest - 1) & at_least[2]
    forced = (p.rings_here - (depth == p.level) > 0) | p.naked_here & (depth == p.level)
    my_kind, their_kind = beside_metal(t, p.mine, theirs, True), beside_metal(t, theirs, p.mine, True)
    stay_paired, stay_alone, stay_ring = can_stay(t, my_kind, total, p.here.fused, forced)
    rules, ends = branch_point(t, their_kind, their_total, fused), p.tied >> depth.astype(jnp.uint32) & 1 == 0
    done = jnp.where(on_stack, rules.paired_on | rules.paired_ends & ends, rules.paired_ends)
    rest = jnp.where(on_stack, rules.alone_on | rules.alone_ends & ends, rules.alone_ends | more_rings & done)
    # not by a double bond
    ok = chosen(they_paired, done, rest) | every(on_stack & rules.wants) & p.own.claimed(depth)
    ok &= chosen(p.is_paired, stay_paired, stay_alone) | ~p.is_paired & every(stay_ring) & two
    ways = ok & at_least[1] & spare
    # by one
    free = t.conjugated[theirs] & t.conjugated[p.mine] & (order == 1) & double & can_be_double(s.bond)
    free &= done & stay_paired
    relief = every(on_stack) & supply.claimed(depth)  # the branch point no longer claims a ring
    pairs = every(free) & ~they_paired & ~p.is_paired
    ways |= pairs & (at_least[1] & spare | relief & at_least[0] & enough)
    exists = (ways & covered & supply.fine) != 0
    valid = is_open & agree & (place != s.current) & ~s.near & (order > 0)
    return valid & (total <= t.most[my_kind]) & (their_total <= t.most[their_kind]) & exists


def may_open(t: Tables, p: Path, bond) -> Bool[Array, "..."]:
    """Whether a ring may be opened by a bond."""
    total = p.total + t.before[bond]
    paired, alone, with_ring = can_stay(t, p.mine, total, p.here.fused, jnp.ones((), bool))
    available = p.ringed.left[0]  # the ring itself counts
    room = chosen(p.is_paired, paired, alone) | ~p.is_paired & every(with_ring) & available
    ways = p.ringed.fine & room & is_covered(p.ringed, available, lowest_bit(p.naked))
    fits = (p.rings < SLOTS) & (total + 1 <= t.most[p.mine])
    return fits & (ways != 0) & ((bond != AROMATIC_BOND) | t.conjugated[p.mine] & (p.here.fused < FUSED))
