"""What remains possible: whether atoms, rings and branches that are open can still be completed.

The rules of the validity constraint, looked at from the present atom of one row; the ways to place double bonds (K) are
judged side by side.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from atomas_jax.decoding.valence import UNLIMITED
from atomas_jax.decoding.validity_state import FUSED, SLOTS, WAYS, WINDOW, State
from atomas_jax.decoding.validity_tables import AROMATIC_BOND, NO_BOND, Tables

PLENTY = 99


def has_sum(mask, total):
    return (mask >> jnp.minimum(total, 15)) & 1 > 0


def can_be_double(bond):
    """Bonds that can be double ones of an aromatic system."""
    return (bond == NO_BOND) | (bond == AROMATIC_BOND)


@dataclass(frozen=True)
class Path:
    """What one row has open. A branch point that a branch is about to start from is apart: `top` says whether the
    current atom is one."""

    here: Int[Array, ""]
    started: Bool[Array, ""]
    mine: Int[Array, ""]
    total: Int[Array, ""]
    is_paired: Bool[Array, " K"]
    top: Bool[Array, ""]
    rings: Int[Array, ""]
    rings_here: Int[Array, ""]
    """Rings opened since the last branch point."""
    claims: Int[Array, " K"]
    fine: Bool[Array, " K"]
    margin: Int[Array, "K D+1"]
    """Open rings over claims from each depth on, at least."""
    naked: Bool[Array, " D+1"]
    level: Int[Array, ""]


def windowed(s: State) -> State:
    """The state with its `WINDOW` innermost branch points alone; of those further out, nothing is checked."""
    outer = jnp.maximum(s.depth - WINDOW, 0)
    return replace(
        s,
        stack=jax.lax.dynamic_slice(s.stack, (outer,), (WINDOW,)),
        naked=jax.lax.dynamic_slice(s.naked, (outer,), (WINDOW + 1,)),
        depth=s.depth - outer,
    )


def survey(t: Tables, s: State, shared: bool) -> Path:
    here = jnp.maximum(s.current, 0)
    top = (s.depth > 0) & (s.stack[jnp.maximum(s.depth - 1, 0)] == s.current)
    level = s.depth - top
    is_open = s.ring_atom >= 0
    rings = jnp.sum(is_open)
    counted = jnp.arange(WINDOW) < level
    ring_count = jnp.sum(is_open[None] & (s.ring_atom[None] <= s.stack[:, None]), axis=1)
    before = jnp.concatenate([jnp.zeros(1, ring_count.dtype), ring_count[:-1]])
    place = jnp.maximum(s.stack, 0)
    kind, total = s.species[place].astype(jnp.int32), s.total[place].astype(jnp.int32)
    is_paired = (s.paired[:, None] & s.bit[place][None]) != 0
    forced = (ring_count > before) | s.naked[:-1]
    ok, needy = branch_point(t, kind[None], total[None], is_paired, forced[None])
    if shared:
        depths = jnp.arange(WINDOW + 1)
        lacking = s.naked & (depths <= level) | (depths == level) & s.bare
        innermost = jnp.max(jnp.where(lacking, depths, -1))
        needy_alone = needy & (depths[:-1] != innermost)
    else:
        needy_alone = needy
    claims = jnp.cumsum(needy_alone & counted[None], axis=1)
    margin = jnp.where(counted[None], ring_count[None] - claims, PLENTY)
    margin = jax.lax.cummin(margin, axis=1, reverse=True)
    fine = s.live & jnp.all(ok | needy | ~counted[None], axis=1) & (margin[:, 0] >= 0)
    outer = jnp.where(level > 0, ring_count[jnp.maximum(level - 1, 0)], 0)
    naked = s.naked & (jnp.arange(WINDOW + 1) <= level)
    return Path(
        here,
        s.current < 0,
        s.species[here].astype(jnp.int32),
        s.total[here].astype(jnp.int32),
        (s.paired & s.bit[here]) != 0,
        top,
        rings,
        rings - outer,
        claims[:, -1],
        fine,
        jnp.concatenate([margin, jnp.full((WAYS, 1), PLENTY)], axis=1),
        naked,
        level,
    )


def beside_metal(t: Tables, kind, other, in_ring=True):
    """The kind of an atom once it is bound to another one by a bond that may be in a ring."""
    return jnp.where(t.metal[other] & in_ring, t.bound[kind], kind)


def is_settled(t: Tables, kind, total, is_paired):
    """Whether the atom is complete."""
    return has_sum(jnp.where(is_paired, t.paired[kind], t.without[kind]), total)


def doubles_outward(t: Tables, kind, total, is_paired):
    """Whether an aromatic atom can be completed by a double bond out of its ring."""
    return t.aromatic[kind] & ~is_paired & (total + 2 <= t.most[kind]) & has_sum(t.without[kind], total + 2)


def branch_point(t: Tables, kind, total, is_paired, forced):
    """Whether a branch point can be completed without a ring, and else whether with one. `forced`: it goes on."""
    room = total + 1 <= t.most[kind]
    ok = ~forced & is_settled(t, kind, total, is_paired) | room & is_settled(t, kind, total + 1, is_paired)
    ok |= doubles_outward(t, kind, total, is_paired)
    needy = ~ok & ~is_paired & room & has_sum(t.paired[kind], total + 1)
    return ok, needy


def outermost_naked(naked):
    """The outermost depth at which an aromatic atom lacks a ring; many where none does."""
    return jnp.where(jnp.any(naked), jnp.argmax(naked), PLENTY)


def is_covered(margin, available, lowest):
    """Ways in which a ring from further out is left for the aromatic atoms that lack one, from depth `lowest` on."""
    outward = margin[:, jnp.clip(lowest - 1, 0, WINDOW)]
    return (lowest >= PLENTY) | (lowest > 0) & (available >= 1) & (outward >= 1)


@dataclass(frozen=True)
class Onward:
    """Whether the current atom can be left for another, by order of the bond; the next unpaired, or paired with it."""

    may: Bool[Array, "2"]
    with_ring: Bool[Array, "2"]
    """The same with an open ring to spare."""
    with_cover: Bool[Array, "2"]
    """The same where the next atom needs a ring from further out."""
    forced: Bool[Array, ""]
    exposed: Bool[Array, ""]
    """Whether an aromatic atom that comes next needs a ring from further out."""


def leaving(t: Tables, s: State, p: Path, order, plain) -> Onward:
    total = p.total + order
    can_pair = t.conjugated[p.mine] & plain & (p.rings > 0) & ~p.is_paired & ~p.started
    keeps_ring = jnp.any((s.ring_atom == s.current) & can_be_double(s.ring_bond))
    both = jnp.stack([p.is_paired, jnp.ones_like(p.is_paired)])  # [2, K]
    settled = is_settled(t, p.mine, total, both) | keeps_ring & ~both & has_sum(t.paired[p.mine], total)
    forced_top = (p.rings_here > 0) | s.bare | p.naked[p.level]
    ok, wants = branch_point(t, p.mine, total, both, forced_top)
    needy = wants & p.top & ~(s.bare | p.naked[p.level])
    left = p.rings - p.claims[None] - needy
    may = jnp.where(p.top, (ok | wants) & (left >= 0), settled) | p.started
    may &= p.fine[None] & jnp.stack([jnp.ones_like(can_pair), can_pair])
    margin = jnp.where(p.top, jnp.minimum(p.margin[None], left[..., None]), p.margin[None])
    naked = p.naked | (jnp.arange(WINDOW + 1) == p.level) & s.bare
    lowest = outermost_naked(naked)
    level = p.level + p.top
    covered = jax.vmap(is_covered, in_axes=(0, 0, None))
    now = may & covered(margin, left, lowest)
    next_naked = may & covered(margin, left, jnp.minimum(lowest, level))
    return Onward(
        jnp.any(now, axis=1),
        jnp.any(now & (left >= 1), axis=1),
        jnp.any(next_naked, axis=1),
        ~p.top & ((p.rings_here > 0) | naked[p.level]),
        p.top | (p.rings_here == 0),
    )


def atoms_fit(t: Tables, on: Onward, kind, total, may_open=True):
    """Whether atoms of some kinds may come next, with so many bonds and hydrogens to begin with."""
    most, without, paired = t.most[kind], t.without[kind], t.paired[kind]
    go, turn = total + 1 <= most, total + 2 <= most
    alone = on.may[0] & (~on.forced & has_sum(without, total) | go & has_sum(without, total + 1))
    alone |= on.with_ring[0] & go & has_sum(paired, total + 1)
    pair = on.may[1] & (~on.forced & has_sum(paired, total) | go & has_sum(paired, total + 1))
    bare = t.aromatic[kind] & on.exposed
    bare_alone = on.with_cover[0] & go & has_sum(without | paired, total + 1)
    bare_alone |= on.may[0] & turn & has_sum(without | paired, total + 2)
    bare_pair = on.with_cover[1] & go & has_sum(paired, total + 1) | on.may[1] & turn & has_sum(paired, total + 2)
    fits = (total <= most) | (most >= UNLIMITED)
    return fits & jnp.where(bare, bare_alone | bare_pair & t.conjugated[kind], alone | pair & t.conjugated[kind])


def can_stay(t: Tables, kind, total, is_paired, forced, available):
    """Ways in which the current atom, of a kind, can be completed by what follows."""
    room = total + 1 <= t.most[kind]
    may_pair = ~is_paired & has_sum(t.paired[kind], total + 1) & (available >= 1)
    on = room & (is_settled(t, kind, total + 1, is_paired) | may_pair)
    on |= doubles_outward(t, kind, total, is_paired)
    return on | ~forced & is_settled(t, kind, total, is_paired)


def may_close(t: Tables, s: State, p: Path) -> Bool[Array, " S"]:
    """Which open rings may be closed."""
    is_open = s.ring_atom >= 0
    partner = jnp.maximum(s.ring_atom, 0)
    theirs = s.species[partner].astype(jnp.int32)
    mine_order, their_order = t.before[s.bond], t.before[s.ring_bond]
    order = jnp.maximum(mine_order, their_order)
    silent = (s.bond == NO_BOND) | (s.ring_bond == NO_BOND)
    agree = silent | (mine_order == their_order)
    aromatic_bond = (s.bond == AROMATIC_BOND) | (s.ring_bond == AROMATIC_BOND)
    agree &= ~aromatic_bond | t.conjugated[p.mine] & t.conjugated[theirs]
    their_total = s.total[partner] + order - their_order
    total = p.total + order
    on_stack = jnp.any((s.stack[None] == partner[:, None]) & (jnp.arange(WINDOW) < s.depth)[None], axis=1)
    others = jnp.sum((s.ring_atom[None] == s.ring_atom[:, None]) & can_be_double(s.ring_bond)[None], axis=1)
    more_rings = others - can_be_double(s.ring_bond) > 0
    depth = jnp.sum((s.stack[None] < partner[:, None]) & (jnp.arange(WINDOW) < p.level)[None], axis=1)  # [S]
    they_paired = (s.paired[None] & s.bit[partner][:, None]) != 0  # [S, K]
    naked = p.naked
    lowest = outermost_naked(naked)
    left = jnp.where(lowest <= depth, lowest, PLENTY)  # [S]: naked depths that remain
    margin = p.margin[:, jnp.minimum(depth, WINDOW)].T - 1  # [S, K]: of the depths from there on
    outward = p.margin[:, jnp.clip(left - 1, 0, WINDOW)].T
    inner = jnp.minimum(outward, margin)
    available = p.rings - 1 - p.claims[None]  # [1, K]
    covered = (left >= PLENTY)[:, None] | (left > 0)[:, None] & (available >= 1) & (inner >= 1)
    same_depth = depth == p.level
    forced = (p.rings_here - same_depth > 0) | (naked[p.level] & same_depth)
    my_kind, their_kind = beside_metal(t, p.mine, theirs), beside_metal(t, theirs, p.mine)
    exists = jnp.zeros_like(is_open)
    for pairs in (False, True):
        they = they_paired | pairs
        me = p.is_paired[None] | pairs
        done = is_settled(t, theirs[:, None], their_total[:, None], they)
        later = ~they & more_rings[:, None] & has_sum(t.paired[theirs], their_total)[:, None]
        stack_later = (on_stack & (their_total + 1 <= t.most[their_kind]))[:, None]
        ok = done | later | stack_later
        if pairs:
            free = t.conjugated[theirs] & t.conjugated[p.mine] & (order == 1)
            free &= can_be_double(s.ring_bond) & can_be_double(s.bond)
            ok &= ~they_paired & ~p.is_paired[None] & free[:, None]
            ok &= ~on_stack[:, None] | has_sum(t.paired[theirs] | t.paired[theirs] >> 1, their_total)[:, None]
            relief = on_stack[:, None] & (margin < 0)  # the branch point no longer claims a ring
        else:
            relief = jnp.zeros_like(they_paired)
        room = can_stay(t, my_kind[:, None], total[:, None], me, forced[:, None], available + relief)
        ok &= p.fine[None] & covered & room & (margin + relief >= 0) & (available + relief >= 0)
        exists |= jnp.any(ok, axis=1)
    agree &= ~(t.aromatic[p.mine] & t.aromatic[theirs]) | (jnp.maximum(s.fused[partner], s.fused[p.here]) < FUSED)
    valid = is_open & agree & (partner != s.current) & ~s.near & (order > 0)
    return valid & (total <= t.most[my_kind]) & (their_total <= t.most[their_kind]) & exists


def may_open(t: Tables, p: Path, bond) -> Bool[Array, ""]:
    """Whether a ring may be opened by a bond."""
    order = t.before[bond]
    total = p.total + order
    space = p.rings < SLOTS
    forced = jnp.ones((), bool)
    available = p.rings + 1 - p.claims
    covered = is_covered(p.margin, available, outermost_naked(p.naked))
    room = can_stay(t, p.mine, total, p.is_paired, forced, available)
    return space & jnp.any(p.fine & covered & room) & ((bond != AROMATIC_BOND) | t.conjugated[p.mine])
