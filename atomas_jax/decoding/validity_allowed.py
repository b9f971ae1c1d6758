"""Which tokens may follow in one row: the rules of the validity constraint put together."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from atomas_jax.decoding import validity_tables as kinds
from atomas_jax.decoding.validity_outlook import (
    Onward,
    Path,
    atoms_fit,
    beside_metal,
    can_be_double,
    is_covered,
    is_settled,
    leaving,
    may_close,
    may_open,
    outermost_naked,
    survey,
    windowed,
)
from atomas_jax.decoding.validity_state import (
    AFTER_ATOM,
    AFTER_BRANCH,
    BONDED,
    BONDED_IN_BRANCH,
    CHARGED,
    COUNTED,
    DEPTH,
    FUSED,
    HYDROGEN,
    IN_BRANCH,
    ISOTOPE,
    NAMED,
    OPENED,
    SIGNED,
    START,
    TURNED,
    State,
)
from atomas_jax.decoding.validity_tables import AROMATIC_BOND, CHARGES, Tables


def allowed_classes(t: Tables, s: State, remaining) -> Bool[Array, " A"]:
    """Classes of tokens that may follow, of one row."""
    depth, s = s.depth, windowed(s)
    p = survey(t, s, shared=True)
    most = t.most[p.mine]
    orders = jnp.where(p.started, 0, t.before[s.bond])
    on = leaving(t, s, p, orders, can_be_double(s.bond))
    reserve = p.top.astype(jnp.int32)  # a branch point can go on after its branch
    fits = p.started | (p.total + orders + reserve <= most)

    # ---- atoms: those of one token, and the spelled one where a bracket closes
    spelled = t.spelled[s.symbol, s.charge + CHARGES]
    closing = t.kind == kinds.CLOSE_BRACKET
    names = (t.kind == kinds.INNER) & (t.inner == kinds.SYMBOL)
    named = t.spelled[jnp.where(names, t.value, 0), CHARGES]
    kind = jnp.where(closing, spelled, jnp.where(names, named, jnp.where(t.kind == kinds.ATOM, t.value, 0)))
    hydrogens = jnp.where(closing, s.hydrogens, t.hydrogens)
    after = jnp.where(p.started, 0, t.after[s.bond])
    space = s.atoms < s.species.shape[0]
    oxidised = (p.total + 2 <= t.oxidised[p.mine]) & ~s.foreign[p.here]
    oxide = oxidised & (orders == 2) & t.oxygen[kind] & (hydrogens + 2 == t.most[kind])
    periodic = (p.total + 1 <= t.oxidised[p.mine]) & ~s.foreign[p.here] & (p.total >= 4)
    oxide |= periodic & (orders == 1) & t.oxygen[kind]
    agrees = (s.bond != AROMATIC_BOND) | t.conjugated[p.mine] & t.conjugated[kind]
    agrees &= (s.fused[p.here] < FUSED) | ~t.aromatic[kind] | p.started
    in_ring = ~p.started & (p.rings > 0)
    agrees &= ~in_ring | (p.total + orders + reserve <= t.most[beside_metal(t, p.mine, kind)])
    becomes = beside_metal(t, kind, p.mine, in_ring)
    atom = atoms_fit(t, on, becomes, hydrogens + after) & (fits | oxide) & agrees & space
    star = jnp.any(on.may) & space
    bracket = star & fits

    # ---- ring closures
    ring_ok = ~p.started & (t.before[s.bond] == t.after[s.bond]) & (t.before[s.bond] > 0)
    closes, opens = may_close(t, s, survey(t, s, shared=False)), may_open(t, p, s.bond)
    number = jnp.where(t.kind == kinds.RING, t.value, -1)
    match = (s.ring_number[:, None] == number[None]) & (s.ring_atom >= 0)[:, None]
    closes_ring = jnp.any(match, axis=0)
    ring = ring_ok & jnp.where(closes_ring, jnp.any(match & closes[:, None], axis=0), opens)

    # ---- bonds, branches, ends
    bond = jnp.where(t.kind == kinds.BOND, t.value, 0)
    ahead = t.before[bond]
    every = jnp.asarray([list(kinds.BONDS).index(mark) for mark in (":", "-", "=", "#", "$")])
    leaves = jax.vmap(lambda bond: jnp.any(leaving(t, s, p, t.before[bond], can_be_double(bond)).may))(every)
    leaves |= (s.phase == AFTER_ATOM) & jax.vmap(lambda bond: may_open(t, p, bond))(every)
    goes_on = leaves[jnp.where(bond == AROMATIC_BOND, 0, ahead)]
    bonds = (p.total + ahead + reserve <= most) | oxidised & (ahead == 2)
    bonds &= ((bond != AROMATIC_BOND) | t.conjugated[p.mine] & (p.rings > 0)) & goes_on & ~p.started & space
    bonds &= (ahead == t.after[bond]) & (ahead > 0)
    clean = ~s.bare & ~p.naked[p.level] & (p.rings_here == 0)
    covered = is_covered(p.margin, p.rings - p.claims, outermost_naked(p.naked))
    settled = p.fine & is_settled(t, p.mine, p.total, p.is_paired) & covered
    may_leave = clean & jnp.any(settled)
    top = leaving(t, s, replace(p, top=jnp.ones((), bool)), 1, jnp.ones((), bool))
    branch = (depth < DEPTH) & ((p.total + 2 <= most) | oxidised) & jnp.any(top.may) & space
    dot = may_leave & (s.depth == 0)
    bracket_atom = jnp.where(
        t.conjugated[kind], atoms_fit(t, on, becomes, after) | atoms_fit(t, on, becomes, after + 1), on.may[0]
    )
    charged = beside_metal(t, t.spelled[s.symbol], p.mine, in_ring)[None]
    closable = atoms_fit(t, on, charged, jnp.arange(10)[:, None] + after)
    closable &= ~t.aromatic[charged] | (jnp.abs(jnp.arange(-CHARGES, CHARGES + 1)) <= 1)
    may = jnp.stack([
        jnp.zeros_like(ring),
        jnp.broadcast_to(dot, ring.shape),
        atom,
        bonds,
        ring,
        jnp.broadcast_to(branch, ring.shape),
        jnp.broadcast_to(may_leave & (s.depth > 0), ring.shape),
        jnp.broadcast_to(dot, ring.shape),
        jnp.broadcast_to(bracket, ring.shape),
        _inside(t, s, on, after, fits & agrees & bracket_atom, closable),
        atom,
    ])  # fmt: skip
    may = jnp.take_along_axis(may, t.kind[None], axis=0)[0] & jnp.asarray(_FOLLOWS)[s.phase][t.kind]
    return _in_time(t, depth, p, may, closes_ring, remaining)


def _in_time(t: Tables, depth, p: Path, may, closes_ring, remaining):
    """Of the classes that may follow, those that leave time to complete the string: at most three tokens a ring, three
    a branch, two before. Where none does, what completes it: rings, then ends, then wildcards."""
    need = 3 * depth + 3 * p.rings + 4
    more = jnp.asarray(_COSTS)[t.kind]
    is_atom = t.kind == kinds.ATOM
    written = jnp.where(is_atom, t.value, 0)
    ends = (t.kind == kinds.END) | (t.kind == kinds.CLOSE_BRANCH)
    wild, carbon = is_atom & (written == t.wildcard), is_atom & (written == t.carbon)
    after_wild = (p.mine == t.wildcard) & ~p.started
    in_time = may & (ends | closes_ring | (need + more <= remaining))
    double = (t.kind == kinds.BOND) & (t.before[jnp.where(t.kind == kinds.BOND, t.value, 0)] == 2)
    chain = jnp.where(after_wild, carbon, wild)
    groups = [closes_ring, ends, chain, wild, double, carbon, t.kind == kinds.CLOSE_BRACKET]
    choice = t.kind == kinds.END
    for group in reversed([*groups, jnp.ones_like(wild)]):
        choice = jnp.where(jnp.any(may & group), may & group, choice)
    return jnp.where(jnp.any(in_time) & (need + 6 <= remaining), in_time, choice)


def _inside(t: Tables, s: State, on: Onward, after, binds, closable) -> Bool[Array, " A"]:
    """Which pieces may follow inside a bracket atom. `closable` tells of each number of hydrogens and each charge
    whether the bracket may be closed with them: a piece may follow where one that can is still to be reached."""
    piece, value = t.inner, t.value
    symbol = jnp.where(piece == kinds.SYMBOL, value, 0)
    unnamed = (s.phase == OPENED) | (s.phase == ISOTOPE)
    named = unnamed & (t.room[1, symbol] >= after + on.forced) & binds
    some_charge = jnp.any(closable, axis=1)
    hydrogen = (s.phase == NAMED) | (s.phase == TURNED) & (s.symbol != 0)
    hydrogen &= (symbol == 0) & jnp.any(some_charge[1:])
    names = named | hydrogen
    # a sign is followed by nothing, by itself once more, or by a digit
    here = closable[s.hydrogens]
    outward = jnp.stack([here[CHARGES::-1], here[CHARGES:]])  # [2, charge without its sign]
    charged = jnp.any(outward[:, 1:], axis=1)
    digit = jnp.where(piece == kinds.DIGIT, value, 0)
    is_charge = (digit > 0) & (digit <= CHARGES)
    sign = jnp.where(s.charge < 0, -1, 1)
    negative = (s.charge >= 0).astype(jnp.int32)
    size = jnp.abs(s.charge)
    digits = (
        (s.phase == ISOTOPE)
        | (s.phase == OPENED) & (digit > 0)
        | (s.phase == HYDROGEN) & some_charge[digit]
        | (s.phase == SIGNED) & (size == 1) & is_charge & outward[negative, jnp.minimum(digit, CHARGES)]
    )
    ready = (s.phase >= NAMED) & (s.phase <= COUNTED) & charged[(value > 0).astype(jnp.int32)]
    again = (s.phase == SIGNED) & (value == sign) & (size == 1) & here[CHARGES + 2 * sign]
    turned = jnp.broadcast_to((s.phase == NAMED) & (s.symbol != 0) & jnp.any(closable), names.shape)
    return jnp.stack([names, digits, turned, ready | again])[piece, jnp.arange(len(piece))]


def _follows():
    free = {kinds.ATOM, kinds.BRACKET}
    chain = free | {kinds.BOND, kinds.BRANCH, kinds.CLOSE_BRANCH, kinds.DOT, kinds.END}
    may = {START: free, AFTER_ATOM: chain | {kinds.RING}, AFTER_BRANCH: chain, IN_BRANCH: free | {kinds.BOND}}
    may |= {BONDED: free | {kinds.RING}, BONDED_IN_BRANCH: free, OPENED: {kinds.INNER}, ISOTOPE: {kinds.INNER}}
    may |= {phase: {kinds.INNER, kinds.CLOSE_BRACKET} for phase in (NAMED, TURNED, HYDROGEN, COUNTED, SIGNED, CHARGED)}
    return [[kind in may[phase] for kind in range(kinds.CLOSE_BRACKET + 1)] for phase in range(ISOTOPE + 1)]


_FOLLOWS = _follows()


_COSTS = [
    {kinds.BOND: 1, kinds.BRANCH: 4, kinds.RING: 4, kinds.DOT: 2, kinds.BRACKET: 3, kinds.ATOM: 4}.get(kind, 1)
    for kind in range(11)
]
