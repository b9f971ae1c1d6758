"""Which tokens may follow in one row: the rules of the validity constraint put together."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from atomas_jax.decoding import validity_sets as groups
from atomas_jax.decoding import validity_tables as kinds
from atomas_jax.decoding.validity_outlook import (
    Path,
    beside_metal,
    bits,
    can_be_double,
    chosen,
    every,
    has_sum,
    is_covered,
    leaving,
    lowest_bit,
    may_close,
    may_open,
    survey,
    takes_oxygen,
    windowed,
)
from atomas_jax.decoding.validity_sets import Sets
from atomas_jax.decoding.validity_state import (
    AFTER_ATOM,
    AFTER_BRANCH,
    BONDED,
    COUNTED,
    DEPTH,
    FUSED,
    HYDROGEN,
    IN_BRANCH,
    ISOTOPE,
    ISOTOPE_DIGITS,
    NAMED,
    OPENED,
    SIGNED,
    TURNED,
    State,
)
from atomas_jax.decoding.validity_tables import AROMATIC_BOND, CHARGES, Tables

_BONDS = tuple(list(kinds.BONDS).index(mark) for mark in (":", "-", "=", "#", "$"))
"""Bonds that stand for all: those of an order are alike."""

RESERVE = 12
"""Tokens kept for completing a string, beside three a ring and three a branch. 7 are the most that were seen to be
needed; the rest is for the token that is still free to come before."""
LONGEST_BRACKET = 10
"""Tokens of the longest bracket atom spelled piece by piece, after "[": a mass of three digits, the symbol, "@", "H"
and a digit, a sign and a digit, "]"."""


class Bond(NamedTuple):
    """What a bond to the atom that comes next would mean to both."""

    before: Int[Array, ""]
    after: Int[Array, ""]
    fits: Bool[Array, ""]
    fits_metal: Bool[Array, ""]
    """Whether the atom before takes it from a metal."""
    in_ring: Bool[Array, ""]
    """Whether it may be in a ring."""
    near_metal: Int[Array, ""]
    """1 where it comes from a metal, 2 where it may be in a ring at that."""
    oxides: Bool[Array, "2"]
    """Whether oxygen may come by a single, a double bond where no other atom fits."""
    perhalate: Bool[Array, ""]
    """Whether a halogen may come that takes more oxygens."""


def allowed_words(t: Tables, sets: Sets, s: State, remaining) -> UInt32[Array, " W"]:
    """The set of tokens that may follow, of one row."""
    depth, s = s.depth, windowed(s)
    p = survey(t, s, depth > s.depth)
    marks = jnp.asarray(_BONDS)
    one = jnp.ones(1, jnp.int32)
    on = leaving(
        t,
        s,
        p,
        order=jnp.concatenate([jnp.where(p.started, 0, t.before[s.bond])[None], one, t.before[marks]]),
        plain=can_be_double(jnp.concatenate([s.bond[None], 0 * one, marks])),
        top=jnp.concatenate([p.top[None], one > 0, jnp.broadcast_to(p.top, marks.shape)]),
    )
    goes_on = on.may[0] | on.may[1]  # by the bond written, into a branch, by each bond
    here = groups.outlook(
        tuple(may[0] for may in on.may), on.with_ring[0], tuple(may[0] for may in on.with_cover),
        on.forced[0], on.exposed[0],
    )  # fmt: skip
    bond = _bond(t, s, p)
    space = s.atoms < s.written.shape[0]
    opens = may_open(t, p, jnp.concatenate([s.bond[None], marks]))

    # ---- atoms and the symbols of bracket atoms
    words = sets.atoms[groups.follower(here, bond.after, bond.near_metal)]
    words &= every(bond.fits) | every(bond.oxides[0]) & sets.oxides[0] | every(bond.oxides[1]) & sets.oxides[1]
    words |= every(bond.perhalate & goes_on[0]) & sets.halogens
    words &= every(s.bond != AROMATIC_BOND) | every(t.conjugated[p.mine]) & sets.conjugated
    words &= every((p.here.fused < FUSED) | p.started) | ~sets.aromatic
    words &= every(bond.fits_metal) | ~sets.metals
    words &= every(space)
    bracket = (s.phase < OPENED) & jnp.any(words & sets.phases[OPENED] != 0)
    words &= sets.phases[s.phase]

    # ---- ring closures
    ring_ok = ~p.started & (t.before[s.bond] == t.after[s.bond]) & (t.before[s.bond] > 0)
    ring_ok &= (s.phase == AFTER_ATOM) | (s.phase == BONDED)
    numbers = sets.rings[s.ring_number]  # [S, W]
    is_open = _union(numbers, s.ring_atom >= 0)
    rings = _union(numbers, may_close(t, s, p)) | every(opens[0]) & sets.ring & ~is_open
    words |= every(ring_ok) & rings

    # ---- bonds, branches, ends
    chain = (s.phase == AFTER_ATOM) | (s.phase == AFTER_BRANCH)
    order = t.before[marks]
    reserve = p.top.astype(jnp.int32)  # a branch point can go on after its branch
    most, oxidised = t.most[p.mine], _oxidised(t, p)
    bonds = (p.total + order + reserve <= most) | oxidised & (order == 2)
    bonds &= (goes_on[2:] | (s.phase == AFTER_ATOM) & opens[1:]) & ~p.started & space
    bonds &= (marks != AROMATIC_BOND) | t.conjugated[p.mine] & (p.rings > 0) & (p.here.fused < FUSED)
    bonds &= chain | (s.phase == IN_BRANCH)
    settled = chosen(p.is_paired, has_sum(t.paired[p.mine], p.total), has_sum(t.without[p.mine], p.total))
    settled &= p.shared.fine & is_covered(p.shared, p.shared.left[1], lowest_bit(p.naked))
    may_leave = chain & ~s.bare & ~p.naked_here & (p.rings_here == 0) & (settled != 0)
    branch = chain & (depth < DEPTH) & ((p.total + 2 <= most) | oxidised) & goes_on[1] & space
    short = 3 * depth + 3 * p.rings + RESERVE
    bracket &= short + LONGEST_BRACKET <= remaining
    close, hydrogen, turned, signs, digits = _inside(t, sets, s, p, here, bond)
    flags = jnp.concatenate([
        jnp.stack([may_leave & (s.depth == 0), branch, may_leave & (s.depth > 0), bracket, close & space]),
        jnp.stack([hydrogen, turned]), signs, bonds, digits,
    ])  # fmt: skip
    three = bits(flags.reshape(3, 8))
    for group in range(3):
        words |= sets.marks[group, three[group].astype(jnp.int32)]
    return _in_time(t, sets, s, p, words, is_open, short > remaining)


def _union(words: UInt32[Array, "N W"], which: Bool[Array, " N"]) -> UInt32[Array, " W"]:
    """Those of some sets put together."""
    chosen = jnp.where(which[:, None], words, jnp.uint32(0))
    return jax.lax.reduce_or(chosen, axes=(0,))


def _oxidised(t: Tables, p: Path) -> Bool[Array, ""]:
    return (p.total + 2 <= t.oxidised[p.mine]) & ~p.here.foreign


def _bond(t: Tables, s: State, p: Path) -> Bond:
    before, after = jnp.where(p.started, 0, t.before[s.bond]), jnp.where(p.started, 0, t.after[s.bond])
    sum_ = p.total + before + p.top
    in_ring = ~p.started & (p.rings > 0)
    periodic = takes_oxygen(t, p.mine, p.total) & ~p.here.foreign
    return Bond(
        before,
        after,
        p.started | (sum_ <= t.most[p.mine]),
        p.started | (sum_ <= t.most[jnp.where(in_ring, t.bound[p.mine], t.loose[p.mine])]),
        in_ring,
        jnp.where(t.metal[p.mine] & ~p.started, 1 + in_ring, 0),
        jnp.stack([periodic & (before == 1), _oxidised(t, p) & (before == 2)]),
        (before == 2) & (p.total == 0) & t.oxygen[p.mine] & (t.most[p.mine] == 2),
    )


def _inside(t: Tables, sets: Sets, s: State, p: Path, here, bond: Bond) -> tuple:
    """What may follow inside a bracket atom: its end, "H", "@", the signs, the digits.

    A piece may follow where a number of hydrogens and a charge with which the bracket may be closed is still to be
    reached.
    """
    spelled = t.spelled[s.symbol]  # [charges]
    become = jnp.where(p.started, spelled, beside_metal(t, spelled, p.mine, bond.in_ring))
    fitting = sets.sums[here, become] >> bond.after  # bits: hydrogens
    oxo = t.oxygen[spelled] & bond.oxides[1] & (t.most[spelled] == 2)
    fitting &= jnp.where(bond.fits | t.oxygen[spelled] & bond.oxides[0], -1, jnp.where(oxo, 1, 0))
    closed_by = spelled[s.charge + CHARGES]
    may_close_now = fitting[s.charge + CHARGES] >> s.hydrogens & 1 > 0
    fits = (s.bond != AROMATIC_BOND) | t.conjugated[p.mine] & t.conjugated[closed_by]
    fits &= (p.here.fused < FUSED) | ~t.aromatic[closed_by] | p.started
    fits &= ~t.metal[closed_by] | bond.fits_metal
    close = may_close_now & fits & (s.phase >= NAMED) & (s.phase < ISOTOPE)

    far = jnp.abs(jnp.arange(-CHARGES, CHARGES + 1)) > 1  # more charge than aromatic atoms have
    closable = jnp.where(t.aromatic[become] & far, 0, fitting) & 1023
    some = closable != 0
    count = jnp.arange(10)
    some_charge = jnp.any(closable[None] >> count[:, None] & 1 > 0, axis=1)  # [10]
    now = closable >> s.hydrogens & 1 > 0  # [charges]
    hydrogen = (s.phase == NAMED) | (s.phase == TURNED) & (s.symbol != 0)
    hydrogen &= jnp.any(some_charge[1:])
    # a sign is followed by nothing, by itself once more, or by a digit
    first = (s.phase == SIGNED) & (jnp.abs(s.charge) == 1)
    ready = (s.phase >= NAMED) & (s.phase <= COUNTED)
    signs = ready & jnp.stack([jnp.any(now[:CHARGES]), jnp.any(now[CHARGES + 1 :])])
    signs |= first & jnp.stack([(s.charge < 0) & now[CHARGES - 2], (s.charge > 0) & now[CHARGES + 2]])
    outward = jnp.where(s.charge < 0, now[CHARGES::-1], now[CHARGES:])  # [charge without its sign]
    digits = (s.phase == ISOTOPE) & (s.hydrogens < ISOTOPE_DIGITS) | (s.phase == OPENED) & (count > 0)
    digits |= (s.phase == HYDROGEN) & some_charge
    digits |= first & (count > 0) & jnp.pad(outward, (0, 10 - len(outward)))
    turned = (s.phase == NAMED) & (s.symbol != 0) & jnp.any(some)
    return close, hydrogen, turned, signs, digits


def _in_time(t: Tables, sets: Sets, s: State, p: Path, may, is_open, short) -> UInt32[Array, " W"]:
    """What may follow, and where time is short what completes the string: rings, then ends, then wildcards, then what a
    place takes that takes none of these."""
    # the ring that a wildcard could not close wants a double bond
    after_wild = every((p.mine == t.wildcard) & ~p.started & ~jnp.any(s.near))
    chain = after_wild & sets.carbons[1] | ~after_wild & sets.wildcards
    # one order for all rows: what comes first among those that may follow
    completing = (
        is_open, sets.ends, chain, sets.wildcards, sets.carbons[1], sets.carbons[0], sets.hydroxyls, sets.doubles,
        sets.closing,
    )  # fmt: skip
    choice = jnp.where(jnp.any(may != 0), may, sets.end)
    for group in reversed(completing):
        among = may & group
        choice = jnp.where(short & jnp.any(among != 0), among, choice)
    return choice
