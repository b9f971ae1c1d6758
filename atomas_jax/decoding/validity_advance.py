"""What is remembered after one token more, of one row."""

from dataclasses import replace

import jax.numpy as jnp

from atomas_jax.decoding import validity_tables as kinds
from atomas_jax.decoding.validity_outlook import beside_metal, can_be_double, has_sum, is_settled
from atomas_jax.decoding.validity_state import (
    AFTER_ATOM,
    AFTER_BRANCH,
    BONDED,
    BONDED_IN_BRANCH,
    CHARGED,
    COUNTED,
    DEPTH,
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
    State,
)
from atomas_jax.decoding.validity_tables import CHARGES, NO_BOND, Tables


def advance_row(t: Tables, s: State, token_class) -> State:
    """One token more, of one row."""
    kind, value = t.kind[token_class], t.value[token_class]
    writes_atom = (kind == kinds.ATOM) | (kind == kinds.CLOSE_BRACKET)
    is_ring = kind == kinds.RING
    here = jnp.maximum(s.current, 0)
    bound = s.current >= 0
    places = jnp.arange(s.species.shape[0])
    is_open = s.ring_atom >= 0
    match = is_ring & is_open & (s.ring_number == value)
    closes = jnp.any(match)
    opens = is_ring & ~closes
    slot = jnp.argmax(match)
    rings = jnp.any(is_open)

    # ---- the other end of the bond written: a new atom or the one that opened the ring
    spelled = t.spelled[s.symbol, s.charge + CHARGES]
    new_kind = jnp.where(kind == kinds.CLOSE_BRACKET, spelled, value)
    new_hydrogens = jnp.where(kind == kinds.CLOSE_BRACKET, s.hydrogens, t.hydrogens[token_class])
    new = writes_atom & (places == s.atoms)
    species = jnp.where(new, new_kind.astype(s.species.dtype), s.species)
    partner = jnp.maximum(s.ring_atom[slot], 0)
    order = jnp.maximum(t.before[s.bond], t.before[s.ring_bond[slot]])
    before = jnp.where(writes_atom | opens, t.before[s.bond], 0) + jnp.where(closes, order, 0)
    total = s.total + jnp.where(bound & (places == s.current), before, 0).astype(s.total.dtype)
    change = order - t.before[s.ring_bond[slot]]
    total += jnp.where(closes & (places == partner), change, 0).astype(s.total.dtype)
    new_total = new_hydrogens + jnp.where(bound, t.after[s.bond], 0)
    total = jnp.where(new, new_total.astype(s.total.dtype), total)
    other_kind = jnp.where(writes_atom, new_kind, s.species[partner].astype(jnp.int32))
    own_kind = s.species[here].astype(jnp.int32)
    end = jnp.where(writes_atom, jnp.minimum(s.atoms, len(places) - 1), partner)
    binds = bound & (writes_atom | closes)
    in_ring = binds & rings
    own_becomes, other_becomes = beside_metal(t, own_kind, other_kind), beside_metal(t, other_kind, own_kind)
    species = jnp.where(in_ring & (places == s.current), own_becomes.astype(s.species.dtype), species)
    species = jnp.where(in_ring & (places == end), other_becomes.astype(s.species.dtype), species)
    foreign = s.foreign | binds & (places == s.current) & ~t.oxygen[other_kind]
    foreign |= binds & (places == end) & ~t.oxygen[own_kind]

    joins = binds & can_be_double(s.bond) & t.aromatic[other_kind] & t.aromatic[own_kind]
    fused = s.fused + (joins & ((places == s.current) | (places == end))).astype(s.fused.dtype)

    # ---- a bit for a new conjugated atom
    wants = writes_atom & t.conjugated[new_kind]
    new_bit = jnp.where(wants, ~s.used & (s.used + jnp.uint32(1)), jnp.uint32(0))  # none where all are used
    bits = jnp.where(new, new_bit, s.bit)
    used = s.used | new_bit

    # ---- where the double bonds may be
    mine = s.bit[here]
    other = jnp.where(writes_atom, new_bit, s.bit[partner])
    plain = can_be_double(s.bond) & (writes_atom | can_be_double(s.ring_bond[slot]))
    pairing = binds & plain & rings & t.conjugated[own_kind] & t.conjugated[other_kind]
    pairing &= has_sum(t.may_pair[own_kind], total[here]) & has_sum(t.may_pair[other_kind], total[end])
    both = mine | other
    ways = jnp.concatenate([s.paired, s.paired | both])
    live = jnp.concatenate([s.live, s.live & pairing & ((s.paired & both) == 0)])
    pairs_free = pairing & (both == 0)  # of atoms no longer followed: nothing to keep
    live &= ~pairs_free | (jnp.arange(2 * WAYS) < WAYS)

    # ---- rings: the one closed, the one opened
    free = jnp.argmin(is_open)
    slots = jnp.arange(SLOTS)
    opened = opens & (slots == free)
    ring_atom = jnp.where(opened, s.current, jnp.where(match, -1, s.ring_atom))
    ring_number = jnp.where(opened, value, s.ring_number)
    ring_bond = jnp.where(opened, s.bond, s.ring_bond)
    near = jnp.where(writes_atom, s.ring_atom == s.current, s.near | closes & (s.ring_atom == partner))
    near &= ring_atom >= 0

    # ---- the atom that has all its bonds leaves; one that has but a ring open keeps the ways that can be right for it
    leaver = jnp.where(closes, partner, here)
    pops, pushes, dot = kind == kinds.CLOSE_BRANCH, kind == kinds.BRANCH, kind == kinds.DOT
    on_stack = jnp.any((s.stack == leaver) & (jnp.arange(DEPTH) < s.depth))
    moves = (writes_atom & bound | closes | pops | dot) & ~on_stack & (bits[leaver] != 0)
    held = jnp.any(ring_atom == leaver)
    pairs_held = jnp.any((ring_atom == leaver) & can_be_double(ring_bond))
    leaver_bit, leaver_kind = bits[leaver], species[leaver].astype(jnp.int32)
    leaver_total = total[leaver].astype(jnp.int32)
    is_paired = (ways & leaver_bit) != 0
    right = is_settled(t, leaver_kind, leaver_total, is_paired)
    right |= pairs_held & ~is_paired & has_sum(t.paired[leaver_kind], leaver_total)
    live &= ~moves | right
    gone = jnp.where(moves & ~held, leaver_bit, jnp.uint32(0))
    ways &= ~gone
    used &= ~gone
    earlier = jnp.tril(jnp.ones((2 * WAYS, 2 * WAYS), bool), -1)
    live &= ~jnp.any((ways[:, None] == ways[None]) & live[None] & earlier, axis=1)
    # too many ways, or atoms, to follow: from now on the atoms written so far are not followed
    lost = (jnp.sum(live) > WAYS) | wants & (new_bit == 0)
    species = jnp.where(lost & ((bits != 0) | new & wants), t.free[species].astype(species.dtype), species)
    bits = jnp.where(lost, jnp.uint32(0), bits)
    used = jnp.where(lost, jnp.uint32(0), used)
    ways = jnp.where(lost, jnp.uint32(0), ways)
    live = jnp.where(lost, jnp.arange(2 * WAYS) == 0, live)
    place = jnp.cumsum(live) - 1
    chosen = (place[None] == jnp.arange(WAYS)[:, None]) & live[None]
    paired = jnp.sum(jnp.where(chosen, ways[None], jnp.uint32(0)), axis=1, dtype=jnp.uint32)

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
        species=species,
        total=total,
        foreign=foreign,
        fused=fused,
        bit=bits,
        ring_number=ring_number,
        ring_atom=ring_atom,
        ring_bond=ring_bond,
        near=near,
        paired=paired,
        live=jnp.any(chosen, axis=1),
        used=used,
        **_spelling(t, s, token_class),
    )


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
    hydrogens = jnp.where(names & ~unnamed, 1, s.hydrogens)
    hydrogens = jnp.where(digit & (s.phase == HYDROGEN), value, hydrogens)
    charge = s.charge + jnp.where(inside & (piece == kinds.SIGN), value, 0)
    charge = jnp.where(digit & (s.phase == SIGNED), jnp.where(s.charge < 0, -value, value), charge)
    return {
        "symbol": jnp.where(fresh, 0, symbol),
        "hydrogens": jnp.where(fresh, 0, hydrogens),
        "charge": jnp.clip(jnp.where(fresh, 0, charge), -CHARGES, CHARGES),
    }
