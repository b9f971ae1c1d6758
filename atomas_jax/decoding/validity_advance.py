"""What is remembered after one token more, of one row."""

from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, UInt32

from atomas_jax.decoding import validity_tables as kinds
from atomas_jax.decoding.validity_outlook import below, beside_metal, bits, can_be_double, has_sum, is_settled
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
    SLOTS,
    START,
    TURNED,
    WAYS,
    Atom,
    State,
    atom_at,
    packed,
)
from atomas_jax.decoding.validity_tables import AROMATIC_BOND, CHARGES, NO_BOND, Tables


def advance_row(t: Tables, s: State, token_class) -> State:
    """One token more, of one row."""
    kind, value = t.kind[token_class], t.value[token_class]
    writes_atom = (kind == kinds.ATOM) | (kind == kinds.CLOSE_BRACKET)
    is_ring = kind == kinds.RING
    bound = s.current >= 0
    is_open = s.ring_atom >= 0
    match = is_ring & is_open & (s.ring_number == value)
    closes = jnp.any(match)
    opens = is_ring & ~closes
    slot = jnp.argmax(match)
    rings = jnp.any(is_open)
    here, partner = jnp.maximum(s.current, 0), jnp.maximum(s.ring_atom[slot], 0)
    ring_bond = s.ring_bond[slot]
    binds = bound & (writes_atom | closes)

    # ---- the bond written: from the current atom to its end, a new atom or the one that opened the ring
    order = jnp.maximum(t.before[s.bond], t.before[ring_bond])
    own = atom_at(t.free, s, here)
    own = own._replace(total=own.total + jnp.where(writes_atom | opens, t.before[s.bond], jnp.where(closes, order, 0)))
    new_kind = jnp.where(kind == kinds.CLOSE_BRACKET, t.spelled[s.symbol, s.charge + CHARGES], value)
    new_hydrogens = jnp.where(kind == kinds.CLOSE_BRACKET, s.hydrogens, t.hydrogens[token_class])
    wants = writes_atom & t.conjugated[new_kind]
    new_bit = jnp.where(wants, ~s.used & (s.used + jnp.uint32(1)), jnp.uint32(0))  # none where all are used
    no = jnp.zeros((), bool)
    new = Atom(new_kind, new_hydrogens + jnp.where(bound, t.after[s.bond], 0), no, jnp.zeros_like(new_kind), new_bit)
    old = atom_at(t.free, s, partner)
    old = old._replace(total=old.total + order - t.before[ring_bond])
    end = jax.tree.map(lambda new, old: jnp.where(writes_atom, new, old), new, old)
    plain = can_be_double(s.bond) & (writes_atom | can_be_double(ring_bond))
    joins = binds & plain & t.aromatic[end.kind] & t.aromatic[own.kind]
    # a ring opened by an aromatic bond has its place among the neighbours from then on
    joins_own, joins_end = joins | opens & (s.bond == AROMATIC_BOND), joins & ~(closes & (ring_bond == AROMATIC_BOND))
    own, end = (
        one._replace(
            kind=jnp.where(binds, beside_metal(t, one.kind, other.kind, rings), one.kind),
            foreign=one.foreign | binds & ~t.oxygen[other.kind],
            fused=one.fused + more,
        )
        for one, other, more in ((own, end, joins_own), (end, own, joins_end))
    )
    used = s.used | new_bit

    # ---- where the double bonds may be
    pairing = binds & plain & rings & t.conjugated[own.kind] & t.conjugated[end.kind]
    pairing &= has_sum(t.may_pair[own.kind], own.total) & has_sum(t.may_pair[end.kind], end.total)
    both = own.bit | end.bit
    ways = jnp.concatenate([s.paired, s.paired | both])
    live = jnp.concatenate([s.live, s.live & pairing & ((s.paired & both) == 0)])
    pairs_free = pairing & (both == 0)  # of atoms no longer followed: nothing to keep
    live &= ~pairs_free | (jnp.arange(2 * WAYS) < WAYS)

    # ---- rings: the one closed, the one opened
    free = jnp.argmin(is_open)
    opened = opens & (jnp.arange(SLOTS) == free)
    ring_atom = jnp.where(opened, s.current, jnp.where(match, -1, s.ring_atom))
    ring_number = jnp.where(opened, value, s.ring_number)
    ring_bonds = jnp.where(opened, s.bond, s.ring_bond)
    near = jnp.where(writes_atom, s.ring_atom == s.current, s.near | closes & (s.ring_atom == partner))
    near &= ring_atom >= 0

    # ---- the atom that has all its bonds leaves; one that has but a ring open keeps the ways that can be right for it
    place = jnp.where(closes, partner, here)
    leaver = jax.tree.map(lambda end, own: jnp.where(closes, end, own), end, own)
    pops, pushes, dot = kind == kinds.CLOSE_BRANCH, kind == kinds.BRANCH, kind == kinds.DOT
    on_stack = jnp.any((s.stack == place) & (jnp.arange(DEPTH) < s.depth))
    moves = (writes_atom & bound | closes | pops | dot) & ~on_stack & (leaver.bit != 0)
    held = jnp.any(ring_atom == place)
    pairs_held = jnp.any((ring_atom == place) & can_be_double(ring_bonds)) & (leaver.fused < FUSED)
    is_paired = (ways & leaver.bit) != 0
    right = is_settled(t, leaver.kind, leaver.total, is_paired)
    right |= pairs_held & ~is_paired & has_sum(t.paired[leaver.kind], leaver.total)
    live &= ~moves | right
    gone = jnp.where(moves & ~held, leaver.bit, jnp.uint32(0))
    ways &= ~gone
    live = _first_of_each(ways, live)
    # too many ways, or atoms, to follow: from now on the atoms written so far are not followed
    lost = (jnp.sum(live) > WAYS) | wants & (new_bit == 0)
    followed = jnp.where(lost, s.atoms + writes_atom, s.followed)
    used = jnp.where(lost, jnp.uint32(0), used & ~gone)
    ways = jnp.where(lost, jnp.uint32(0), ways)
    live = jnp.where(lost, jnp.arange(2 * WAYS) == 0, live)
    kept = _kept(ways, live)

    # ---- the atoms written
    places = jnp.arange(s.written.shape[0])
    end_place = jnp.where(writes_atom, s.atoms, partner)
    written = jnp.where(bound & (places == s.current), packed(own), s.written)
    written = jnp.where((writes_atom | closes) & (places == end_place), packed(end), written)

    # ---- aromatic atoms without a ring
    levels = jnp.arange(DEPTH + 1)
    top = s.stack[jnp.maximum(s.depth - 1, 0)]
    inner_ring = jnp.any((s.ring_atom >= 0) & (s.ring_atom > jnp.where(s.depth > 0, top, -1)))
    partner_level = jnp.sum((s.stack < partner) & (jnp.arange(DEPTH) < s.depth))
    naked = s.naked | s.bare & (levels == s.depth) & (writes_atom | pushes)
    naked &= ~(closes & (levels > partner_level)) & ~(pops & (levels == s.depth)) & ~(pushes & (levels == s.depth + 1))
    bare = jnp.where(writes_atom, t.aromatic[new_kind] & ~inner_ring, s.bare & ~is_ring & ~pushes & ~pops)

    outside = (kind >= kinds.BRACKET) & ~writes_atom
    return replace(
        s,
        phase=_phase(t, s, token_class),
        current=jnp.where(writes_atom, s.atoms, jnp.where(pops, top, jnp.where(dot, -1, s.current))),
        atoms=s.atoms + writes_atom,
        bond=jnp.where(kind == kinds.BOND, value, jnp.where(outside, s.bond, NO_BOND)),
        stack=jnp.where(pushes & (jnp.arange(DEPTH) == s.depth), s.current, s.stack),
        depth=s.depth + pushes - pops,
        naked=naked,
        bare=bare,
        written=written,
        followed=followed,
        ring_number=ring_number,
        ring_atom=ring_atom,
        ring_bond=ring_bonds,
        near=near,
        paired=kept,
        live=jnp.arange(WAYS) < jnp.sum(live),
        used=used,
        **_spelling(t, s, token_class),
    )


def _first_of_each(ways, live) -> Bool[Array, " 2K"]:
    """Live ways without those that others before them equal."""
    earlier = jnp.tril(jnp.ones((2 * WAYS, 2 * WAYS), bool), -1)
    return live & ~jnp.any((ways[:, None] == ways[None]) & live[None] & earlier, axis=1)


def _kept(ways, live) -> UInt32[Array, " K"]:
    """The live ways, as many as there is place for, then zeros."""
    place = jax.lax.population_count(bits(live) & below(jnp.arange(len(ways)))).astype(jnp.int32)
    chosen = live[None] & (place[None] == jnp.arange(WAYS)[:, None])
    return jnp.sum(jnp.where(chosen, ways[None], jnp.uint32(0)), axis=1, dtype=jnp.uint32)


def _phase(t: Tables, s: State, token_class):
    """The phase after a token."""
    by_kind = [START, START, AFTER_ATOM, BONDED, AFTER_ATOM, IN_BRANCH, AFTER_BRANCH, START, OPENED, 0, AFTER_ATOM]
    bonded = jnp.where(s.phase == AFTER_ATOM, BONDED, BONDED_IN_BRANCH)
    piece = t.inner[token_class]
    unnamed = (s.phase == OPENED) | (s.phase == ISOTOPE)
    named = jnp.where(unnamed, NAMED, HYDROGEN)
    after_digit = jnp.asarray([0] * 6 + [ISOTOPE, 0, 0, COUNTED, 0, CHARGED, 0, ISOTOPE])[s.phase]
    inside = jnp.stack([named, after_digit, jnp.asarray(TURNED), jnp.asarray(SIGNED)])[piece]
    kind = t.kind[token_class]
    outside = jnp.where(kind == kinds.BOND, bonded, jnp.asarray(by_kind)[kind])
    return jnp.where(kind == kinds.INNER, inside, outside)


def _spelling(t: Tables, s: State, token_class) -> dict:
    """Symbol, hydrogens and charge of the bracket atom being spelled."""
    kind, value, piece = t.kind[token_class], t.value[token_class], t.inner[token_class]
    fresh, inside = kind == kinds.BRACKET, kind == kinds.INNER
    names, digit = inside & (piece == kinds.SYMBOL), inside & (piece == kinds.DIGIT)
    unnamed = (s.phase == OPENED) | (s.phase == ISOTOPE)
    symbol = jnp.where(names & unnamed, value, s.symbol)
    hydrogens = jnp.where(names, jnp.where(unnamed, 0, 1), s.hydrogens + (digit & unnamed))
    hydrogens = jnp.where(digit & (s.phase == HYDROGEN), value, hydrogens)
    charge = s.charge + jnp.where(inside & (piece == kinds.SIGN), value, 0)
    charge = jnp.where(digit & (s.phase == SIGNED), jnp.where(s.charge < 0, -value, value), charge)
    return {
        "symbol": jnp.where(fresh, 0, symbol),
        "hydrogens": jnp.where(fresh, 0, hydrogens),
        "charge": jnp.clip(jnp.where(fresh, 0, charge), -CHARGES, CHARGES),
    }
