"""SMILES that can become molecules: a constraint on what is written, inside the compiled loop.

A state machine of fixed size a row. It knows the atoms written (sum of bond orders, kind, whether in a ring), the path
from the first atom to the last, open branches and ring closures. Aromatic systems: of the ways to place their double
bonds, it keeps each way's paired atoms among those whose bonds are not all written yet (`CANDIDATES` sets of
`OPEN_ATOMS` bits); an atom leaves with its last bond, and with it the ways that are wrong for it.

Where a bound overflows, the test is dropped for that row, rather than a molecule forbidden; branches deeper than
`DEPTH` and strings of more atoms than `atoms` are not written.
"""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from atomas_jax.decoding import validity_tables as kinds
from atomas_jax.decoding.valence import UNLIMITED
from atomas_jax.decoding.validity_tables import AROMATIC_BOND, CHARGES, NO_BOND, Tables, tables
from atomas_jax.errors import UserError
from atomas_jax.tokens.tokenizer import Tokenizer

DEPTH, CANDIDATES, RINGS = 32, 16, 100

START, AFTER_ATOM, AFTER_BRANCH, IN_BRANCH, BONDED, BONDED_IN_BRANCH = range(6)
"""What was written last: nothing (or a dot), an atom or ring closure, ")", "(", a bond after an atom, another bond."""
ISOTOPE, NAMED, TURNED, HYDROGEN, COUNTED, SIGNED, CHARGED = range(6, 13)
"""The same inside a bracket atom."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """Of every row: M atoms, K ways to place double bonds. Leaves [R, ...]."""

    phase: Int[Array, " R"]
    current: Int[Array, " R"]
    """Atom that the next bond starts from; -1 is none."""
    atoms: Int[Array, " R"]
    bond: Int[Array, " R"]
    stack: Int[Array, "R D"]
    depth: Int[Array, " R"]
    species: Int[Array, "R M"]
    total: Int[Array, "R M"]
    """Bond orders and hydrogens."""
    on_path: Bool[Array, "R M"]
    in_ring: Bool[Array, "R M"]
    touched: Bool[Array, "R M"]
    """Atoms that the current one is bound to and must not be again."""
    bit: UInt32[Array, "R M"]
    ring_atom: Int[Array, "R rings"]
    ring_bond: Int[Array, "R rings"]
    paired: UInt32[Array, "R K"]
    live: Bool[Array, "R K"]
    used: UInt32[Array, " R"]
    unchecked: Bool[Array, " R"]
    symbol: Int[Array, " R"]
    hydrogens: Int[Array, " R"]
    charge: Int[Array, " R"]


@partial(jax.tree_util.register_dataclass, data_fields=["tables"], meta_fields=["atoms"])
@dataclass(frozen=True)
class Validity:
    """The constraint (see `constraint.Constraint`); `smiles_validity` makes one."""

    tables: Tables
    atoms: int

    def start(self, rows: int) -> State:
        def full(value, *shape, dtype=jnp.int32):
            return jnp.full((rows, *shape), value, dtype)

        m, zero = self.atoms, full(0)
        return State(
            phase=zero,
            current=full(-1),
            atoms=zero,
            bond=zero,
            stack=full(-1, DEPTH),
            depth=zero,
            species=full(0, m),
            total=full(0, m),
            on_path=full(False, m, dtype=bool),
            in_ring=full(False, m, dtype=bool),
            touched=full(False, m, dtype=bool),
            bit=full(0, m, dtype=jnp.uint32),
            ring_atom=full(-1, RINGS),
            ring_bond=full(0, RINGS),
            paired=full(0, CANDIDATES, dtype=jnp.uint32),
            live=jnp.broadcast_to(jnp.arange(CANDIDATES) == 0, (rows, CANDIDATES)),
            used=full(0, dtype=jnp.uint32),
            unchecked=full(False, dtype=bool),
            symbol=zero,
            hydrogens=zero,
            charge=zero,
        )

    def allowed(self, state: State, remaining: Int[Array, ""]) -> Bool[Array, "R V"]:
        classes = jax.vmap(_allowed, in_axes=(None, 0, None))(self.tables, state, remaining)
        return classes[:, self.tables.token_class]

    def advance(self, state: State, tokens: Int[Array, " R"]) -> State:
        return jax.vmap(_advance, in_axes=(None, 0, 0))(self.tables, state, self.tables.token_class[tokens])


def smiles_validity(tokenizer: Tokenizer, atoms: int = 256) -> Validity:
    """The constraint that SMILES become molecules, for strings of at most `atoms` atoms (the greatest length will do).

    Raises:
      UserError: the tokenizer does not cut SMILES at atoms.
    """
    if tokenizer.kind != "atomwise":
        raise UserError("valid SMILES are ensured while they are written for atom-wise tokenizers only")
    return Validity(tables(tokenizer), atoms)


def _has(mask, total):
    return (mask >> jnp.minimum(total, 15)) & 1 > 0


def _allowed(t: Tables, s: State, remaining) -> Bool[Array, " A"]:
    """Classes of tokens that may follow, of one row."""
    places = jnp.arange(s.species.shape[0])
    here = jnp.maximum(s.current, 0)
    started = s.current < 0
    mine = s.species[here]
    total, most = s.total[here], t.most[mine]
    conjugated = t.conjugated[mine] & ~started
    open_rings = s.ring_atom >= 0
    rings = jnp.sum(open_rings)
    last_opened = jnp.max(s.ring_atom)
    opens_here = jnp.any(s.ring_atom == s.current) & ~started
    in_branch = (s.depth > 0) & (s.stack[jnp.maximum(s.depth - 1, 0)] == s.current)
    open_places = jnp.arange(DEPTH) < s.depth
    branch_atom = jnp.max(jnp.where(open_places & (s.stack < s.current), s.stack, -1))

    # aromatic atoms that no ring passes yet; those up to an atom with a ring open will be in it
    bare = s.on_path & t.aromatic[s.species] & ~s.in_ring
    owes = jnp.any(bare & (places > branch_atom) & (places > last_opened))
    # open rings are closed before a dot: beyond it, a closure might make no ring
    in_trunk = branch_atom < 0
    owes |= in_trunk & (rings > 0)

    bit = s.bit[here]
    is_paired = (s.paired & bit) != 0
    unpaired_way = jnp.any(s.live & ~is_paired)
    paired_way = jnp.any(s.live & is_paired)

    def complete(total, pairing):
        """Whether the current atom may be left with these bonds, the last of which may be a double one."""
        without = unpaired_way & _has(t.without[mine], total)
        paired = (paired_way | pairing & unpaired_way) & _has(t.paired[mine], total)
        return without | paired | s.unchecked | opens_here & hopeful(total, True)

    def hopeful(total, pairing):
        """Whether it may be completed by bonds still to come."""
        without = unpaired_way & _has(t.may_without[mine], total)
        paired = (paired_way | (pairing | opens_here) & unpaired_way) & _has(t.may_pair[mine], total)
        return without | paired | s.unchecked

    # ---- atoms: those of one token, and the spelled one where a bracket closes
    spelled = t.spelled[s.symbol, s.charge + CHARGES]
    closing = t.kind == kinds.CLOSE_BRACKET
    names = (t.kind == kinds.INNER) & (t.inner == kinds.SYMBOL)
    named = t.spelled[jnp.where(names, t.value, 0), CHARGES]
    kind = jnp.where(closing, spelled, jnp.where(names, named, jnp.where(t.kind == kinds.ATOM, t.value, 0)))
    hydrogens = jnp.where(closing, s.hydrogens, t.hydrogens)
    before = jnp.where(started, 0, t.before[s.bond])
    after = jnp.where(started, 0, t.after[s.bond])
    aromatic, conjugates = t.aromatic[kind], t.conjugated[kind]
    is_bound = t.most[kind] < UNLIMITED
    must_go_on = (owes & ~in_branch) | aromatic
    room = jnp.where(must_go_on, 1, 0) + jnp.where(aromatic & (rings == 0), 1, 0)
    fits_new = (hydrogens + after + room <= t.most[kind]) | ~is_bound
    fits_here = started | (total + before + (in_branch & owes) <= most)
    oxidised = (total + 2 <= t.oxidised[mine]) & ~jnp.any(s.touched & (places != here) & ~t.oxygen[s.species])
    fits_here |= oxidised & (before == 2) & t.oxygen[kind] & (hydrogens + 2 == t.most[kind])
    aromatic_bond = (s.bond == NO_BOND) | (s.bond == AROMATIC_BOND)
    pairing = conjugated & conjugates & aromatic_bond & (rings > 0) & _has(t.may_pair[kind], hydrogens + after + 1)
    leaves = jnp.where(in_branch, hopeful(total + before, pairing), complete(total + before, pairing)) | started
    agrees = (s.bond != AROMATIC_BOND) | conjugated & conjugates
    space = s.atoms < s.species.shape[0]
    atom = fits_new & fits_here & leaves & agrees & space
    bracket_pairs = conjugated & aromatic_bond & (rings > 0)
    bracket = jnp.where(in_branch, hopeful(total + before, bracket_pairs), complete(total + before, bracket_pairs)) & (
        total + before + (in_branch & owes) <= most
    )
    bracket = (bracket & ((s.bond != AROMATIC_BOND) | conjugated) | started) & space
    spelled_room = (owes & ~in_branch | t.aromatic[spelled]) + (t.aromatic[spelled] & (rings == 0))
    wanted = after + jnp.where(names & (s.phase == ISOTOPE), room, spelled_room)

    # ---- ring closures
    number = jnp.where(t.kind == kinds.RING, t.value, 0)
    partner = jnp.maximum(s.ring_atom, 0)
    theirs = s.species[partner]
    order = jnp.maximum(t.before[s.bond], t.before[s.ring_bond])
    no_bond, their_no_bond = s.bond == NO_BOND, s.ring_bond == NO_BOND
    same = no_bond | their_no_bond | (t.before[s.bond] == t.before[s.ring_bond])
    their_total = s.total[partner] + order - t.before[s.ring_bond]
    others = jnp.where(
        jnp.sum(s.ring_atom == last_opened) > 1,
        last_opened,
        jnp.max(jnp.where(s.ring_atom == last_opened, -1, s.ring_atom)),
    )
    protected = jnp.maximum(jnp.where(s.ring_atom == last_opened, others, last_opened), branch_atom)
    bare_until = jnp.cumsum(bare)
    still_bare = (bare_until[partner] - bare[partner] > jnp.where(protected < 0, 0, bare_until[protected])) & (
        partner > protected
    )
    ring_pairing = conjugated & t.conjugated[theirs] & (order == 1)
    their_bit = s.bit[partner]
    they_paired = (s.paired[None] & their_bit[:, None]) != 0
    they_stay = jnp.any((s.stack[None] == partner[:, None]) & open_places[None], axis=1)
    they_stay |= jnp.sum(s.ring_atom[None] == s.ring_atom[:, None], axis=1) > 1

    # every way, with the ring bond single and, where both ends are free, double
    def they_may(pairs):
        now, later = (t.paired, t.may_pair) if pairs else (t.without, t.may_without)
        return s.unchecked | _has(jnp.where(they_stay, later[theirs] | t.may_pair[theirs], now[theirs]), their_total)

    def i_may(pairs):
        return s.unchecked | _has(t.may_pair[mine] | (0 if pairs else t.may_without[mine]), total + order)

    single = jnp.where(they_paired, they_may(True)[:, None], they_may(False)[:, None])
    single &= jnp.where(is_paired[None], i_may(True)[:, None], i_may(False)[:, None])
    double = ~they_paired & ~is_paired[None] & (ring_pairing & they_may(True) & i_may(True))[:, None]
    they_agree = jnp.any((single | double) & s.live[None], axis=1)
    closes = (
        same
        & (partner != s.current)
        & ~s.touched[partner]
        & (total + order + (still_bare | in_trunk & (rings > 1)) <= most)
        & (their_total <= t.most[theirs])
        & they_agree
        & ((s.bond != AROMATIC_BOND) | ring_pairing)
    )
    opens = (total + t.before[s.bond] + in_trunk <= most) & hopeful(total + t.before[s.bond], True)
    ring = ~started & (t.before[s.bond] == t.after[s.bond]) & (t.before[s.bond] > 0)
    ring &= jnp.where(open_rings, closes, opens)[number]
    closes_ring = open_rings[number] & (t.kind == kinds.RING)

    # ---- bonds, branches, ends
    bond = jnp.where(t.kind == kinds.BOND, t.value, 0)
    ahead = t.before[bond]
    bonds = (total + ahead + (in_branch & owes) <= most) | oxidised & (ahead == 2)
    bonds &= (bond != AROMATIC_BOND) | conjugated
    goes_on = complete(total + ahead, conjugated & (ahead == 1) & (rings > 0))
    goes_on = jnp.where(in_branch | (s.phase == AFTER_ATOM), hopeful(total + ahead, conjugated & (ahead == 1)), goes_on)
    bonds &= goes_on & ~started & (ahead == t.after[bond]) & (ahead > 0)
    may_leave = complete(total, False) & ~owes
    branch = (s.depth < DEPTH) & ((total + 1 + owes <= most) | oxidised) & hopeful(total + 1, conjugated)
    dot = may_leave & (s.depth == 0)
    may = jnp.stack([
        jnp.zeros_like(ring),
        jnp.broadcast_to(dot & (rings == 0), ring.shape),
        atom,
        bonds,
        ring,
        jnp.broadcast_to(branch, ring.shape),
        jnp.broadcast_to(may_leave & (s.depth > 0), ring.shape),
        jnp.broadcast_to(dot, ring.shape),
        jnp.broadcast_to(bracket, ring.shape),
        _inside(t, s, wanted, leaves & agrees),
        atom,
    ])  # fmt: skip
    phased = jnp.asarray(_FOLLOWS)[s.phase]
    # an aromatic atom that no ring passes opens one at once
    ring_now = (s.phase == AFTER_ATOM) & t.aromatic[mine] & ~s.in_ring[here] & (rings == 0)
    phased &= ~ring_now | jnp.asarray([k in (kinds.RING, kinds.BOND) for k in range(len(_FOLLOWS[0]))])
    may = jnp.take_along_axis(may, t.kind[None], axis=0)[0] & phased[t.kind]

    # ---- what is left to write: a wildcard, which closes whatever is open, the numbers, and a wildcard a branch
    need = 2 * s.depth + rings + 4 + jnp.where(s.phase >= ISOTOPE, 2, 0)
    more = jnp.asarray(_COSTS)[t.kind] + jnp.where((t.kind == kinds.ATOM) & aromatic & (rings == 0), 2, 0)
    ends = (t.kind == kinds.END) | (t.kind == kinds.CLOSE_BRANCH) | (t.kind == kinds.CLOSE_BRACKET) | closes_ring
    in_time = may & (ends | (need + more <= remaining - 1))
    wild = may & (t.kind == kinds.ATOM) & conjugates & ~aromatic
    last_resort = t.kind == kinds.END
    result = jnp.where(jnp.any(may), may, last_resort)
    result = jnp.where(jnp.any(wild), wild, result)
    return jnp.where(jnp.any(in_time), in_time, result)


def _inside(t: Tables, s: State, after, binds) -> Bool[Array, " A"]:
    """Which pieces may follow inside a bracket atom, as long as a charge can make the atom fit."""
    piece, value = t.inner, t.value
    symbol = jnp.where(piece == kinds.SYMBOL, value, 0)
    hydrogen = symbol == 0
    named = (s.phase == ISOTOPE) & (t.room[1, symbol] >= after) & binds
    counts = ((s.phase == NAMED) | (s.phase == TURNED)) & hydrogen & (s.symbol != 0) | (
        (s.phase == NAMED) & hydrogen & (after == 0)
    )
    names = named | counts & (t.room[1, s.symbol] >= after + 1)
    digit = jnp.where(piece == kinds.DIGIT, value, 0)
    sign = jnp.where(s.charge < 0, -1, 1)
    aromatic = t.aromatic[t.spelled[s.symbol, CHARGES]]
    charged = t.spelled[s.symbol, jnp.clip(sign * digit, -CHARGES, CHARGES) + CHARGES]
    digits = (
        (s.phase == ISOTOPE)
        | (s.phase == HYDROGEN) & (t.room[1, s.symbol] >= after + digit)
        | (s.phase == SIGNED)
        & (jnp.abs(s.charge) == 1)
        & (digit <= CHARGES)
        & (digit > 0)
        & ~aromatic
        & (t.most[charged] >= after + s.hydrogens)
    )
    ready = (s.phase >= NAMED) & (s.phase <= COUNTED)
    way = jnp.where(value > 0, 2, 0)
    again = (s.phase == SIGNED) & (value == sign) & ~aromatic & (jnp.abs(s.charge) < CHARGES)
    signs = ready & (t.room[way, s.symbol] >= after + s.hydrogens) | again
    turned = jnp.broadcast_to(s.phase == NAMED, names.shape)
    return jnp.stack([names, digits, turned, signs])[piece, jnp.arange(len(piece))]


def _follows():
    free = {kinds.ATOM, kinds.BRACKET}
    chain = free | {kinds.BOND, kinds.BRANCH, kinds.CLOSE_BRANCH, kinds.DOT, kinds.END}
    may = {START: free, AFTER_ATOM: chain | {kinds.RING}, AFTER_BRANCH: chain, IN_BRANCH: free | {kinds.BOND}}
    may |= {BONDED: free | {kinds.RING}, BONDED_IN_BRANCH: free, ISOTOPE: {kinds.INNER}}
    may |= {phase: {kinds.INNER, kinds.CLOSE_BRACKET} for phase in (NAMED, TURNED, HYDROGEN, COUNTED, SIGNED, CHARGED)}
    return [[kind in may[phase] for kind in range(kinds.CLOSE_BRACKET + 1)] for phase in range(CHARGED + 1)]


_FOLLOWS = _follows()
_COSTS = [
    {kinds.BOND: 1, kinds.BRANCH: 3, kinds.RING: 1, kinds.DOT: 1, kinds.BRACKET: 2}.get(kind, 0) for kind in range(11)
]


def _advance(t: Tables, s: State, token_class) -> State:
    """One token more, of one row."""
    kind, value = t.kind[token_class], t.value[token_class]
    writes_atom = (kind == kinds.ATOM) | (kind == kinds.CLOSE_BRACKET)
    is_ring = kind == kinds.RING
    here = jnp.maximum(s.current, 0)
    bound = s.current >= 0
    places = jnp.arange(s.species.shape[0])
    number = jnp.where(is_ring, value, 0)
    opened = s.ring_atom[number]
    closes, opens = is_ring & (opened >= 0), is_ring & (opened < 0)
    rings = jnp.any(s.ring_atom >= 0)

    # ---- the other end of the bond written: a new atom or the one that opened the ring
    spelled = t.spelled[s.symbol, s.charge + CHARGES]
    new_kind = jnp.where(kind == kinds.CLOSE_BRACKET, spelled, value)
    new_hydrogens = jnp.where(kind == kinds.CLOSE_BRACKET, s.hydrogens, t.hydrogens[token_class])
    new = writes_atom & (places == s.atoms)
    species = jnp.where(new, new_kind, s.species)
    partner = jnp.maximum(opened, 0)
    order = jnp.maximum(t.before[s.bond], t.before[s.ring_bond[number]])
    before = jnp.where(writes_atom, t.before[s.bond], 0)
    before += jnp.where(opens, t.before[s.bond], 0) + jnp.where(closes, order, 0)
    total = s.total + jnp.where(bound & (places == s.current), before, 0)
    total += jnp.where(closes & (places == partner), order - t.before[s.ring_bond[number]], 0)
    total = jnp.where(new, new_hydrogens + jnp.where(bound, t.after[s.bond], 0), total)

    # ---- a bit for a new conjugated atom
    wants = writes_atom & t.conjugated[new_kind]
    free = ~s.used & (s.used + jnp.uint32(1))
    new_bit = jnp.where(wants, free, jnp.uint32(0))
    unchecked = s.unchecked | (wants & (free == 0))
    bits = jnp.where(new, new_bit, s.bit)
    used = s.used | new_bit

    # ---- where the double bonds may be
    mine = s.bit[here]
    other = jnp.where(writes_atom, new_bit, s.bit[partner])
    plain = (s.bond == NO_BOND) | (s.bond == AROMATIC_BOND)
    plain &= writes_atom | (order == 1)
    pairing = bound & (writes_atom | closes) & plain & rings & (mine != 0) & (other != 0)
    end = jnp.where(writes_atom, jnp.minimum(s.atoms, len(places) - 1), partner)
    pairing &= _has(t.may_pair[species[here]], total[here]) & _has(t.may_pair[species[end]], total[end] + writes_atom)
    both = mine | other
    ways = jnp.concatenate([s.paired, s.paired | both])
    live = jnp.concatenate([s.live, s.live & pairing & ((s.paired & both) == 0)])

    # ---- the atom that has all its bonds leaves
    ring_atom = jnp.where((jnp.arange(RINGS) == number) & is_ring, jnp.where(closes, -1, s.current), s.ring_atom)
    ring_bond = jnp.where((jnp.arange(RINGS) == number) & is_ring, jnp.where(opens, s.bond, 0), s.ring_bond)
    leaver = jnp.where(closes, partner, here)
    on_stack = jnp.any((s.stack == leaver) & (jnp.arange(DEPTH) < s.depth))
    moves = writes_atom & bound | closes | (kind == kinds.CLOSE_BRANCH) | (kind == kinds.DOT)
    leaves = moves & ~on_stack & ~jnp.any(ring_atom == leaver) & (bits[leaver] != 0)
    leaver_bit, leaver_kind, leaver_total = bits[leaver], species[leaver], total[leaver]
    right = jnp.where(
        (ways & leaver_bit) != 0, _has(t.paired[leaver_kind], leaver_total), _has(t.without[leaver_kind], leaver_total)
    )
    live &= ~leaves | right
    gone = jnp.where(leaves, leaver_bit, jnp.uint32(0))
    ways &= ~gone
    used &= ~gone
    earlier = jnp.tril(jnp.ones((2 * CANDIDATES, 2 * CANDIDATES), bool), -1)
    live &= ~jnp.any((ways[:, None] == ways[None]) & live[None] & earlier, axis=1)
    place = jnp.cumsum(live) - 1
    unchecked |= place[-1] >= CANDIDATES
    chosen = (place[None] == jnp.arange(CANDIDATES)[:, None]) & live[None]
    paired = jnp.sum(jnp.where(chosen, ways[None], jnp.uint32(0)), axis=1, dtype=jnp.uint32)

    # ---- path and rings
    pops = kind == kinds.CLOSE_BRANCH
    pushes = kind == kinds.BRANCH
    top = s.stack[jnp.maximum(s.depth - 1, 0)]
    meet = jnp.max(jnp.where(s.on_path & (places <= partner), places, 0))
    in_ring = s.in_ring | closes & s.on_path & (places >= meet)
    on_path = (s.on_path | new) & ~(pops & (places > top)) & (kind != kinds.DOT)
    touched = jnp.where(writes_atom, places == s.current, s.touched | closes & (places == partner))
    current = jnp.where(writes_atom, s.atoms, jnp.where(pops, top, jnp.where(kind == kinds.DOT, -1, s.current)))

    return replace(
        s,
        phase=_phase(t, s, token_class),
        current=current,
        atoms=s.atoms + writes_atom,
        bond=jnp.where(kind == kinds.BOND, value, jnp.where((kind >= kinds.BRACKET) & ~writes_atom, s.bond, NO_BOND)),
        stack=jnp.where(pushes & (jnp.arange(DEPTH) == s.depth), s.current, s.stack),
        depth=s.depth + pushes - pops,
        species=species,
        total=total,
        on_path=on_path,
        in_ring=in_ring,
        touched=touched,
        bit=bits,
        ring_atom=ring_atom,
        ring_bond=ring_bond,
        paired=paired,
        live=jnp.any(chosen, axis=1),
        used=used,
        unchecked=unchecked,
        **_spelling(t, s, token_class),
    )


def _phase(t: Tables, s: State, token_class):
    """The phase after a token."""
    by_kind = [START, START, AFTER_ATOM, BONDED, AFTER_ATOM, IN_BRANCH, AFTER_BRANCH, START, ISOTOPE, 0, AFTER_ATOM]
    bonded = jnp.where(s.phase == AFTER_ATOM, BONDED, BONDED_IN_BRANCH)
    piece = t.inner[token_class]
    named = jnp.where(s.phase == ISOTOPE, NAMED, HYDROGEN)
    after_digit = jnp.asarray([0] * 6 + [ISOTOPE, 0, 0, COUNTED, 0, CHARGED, 0])[s.phase]
    inside = jnp.stack([named, after_digit, jnp.asarray(TURNED), jnp.asarray(SIGNED)])[piece]
    kind = t.kind[token_class]
    outside = jnp.where(kind == kinds.BOND, bonded, jnp.asarray(by_kind)[kind])
    return jnp.where(kind == kinds.INNER, inside, outside)


def _spelling(t: Tables, s: State, token_class) -> dict:
    """Symbol, hydrogens and charge of the bracket atom being spelled."""
    kind, value, piece = t.kind[token_class], t.value[token_class], t.inner[token_class]
    fresh, inside = kind == kinds.BRACKET, kind == kinds.INNER
    names, digit = inside & (piece == kinds.SYMBOL), inside & (piece == kinds.DIGIT)
    symbol = jnp.where(names & (s.phase == ISOTOPE), value, s.symbol)
    hydrogens = jnp.where(names & (s.phase != ISOTOPE), 1, s.hydrogens)
    hydrogens = jnp.where(digit & (s.phase == HYDROGEN), value, hydrogens)
    charge = s.charge + jnp.where(inside & (piece == kinds.SIGN), value, 0)
    charge = jnp.where(digit & (s.phase == SIGNED), jnp.where(s.charge < 0, -value, value), charge)
    return {
        "symbol": jnp.where(fresh, 0, symbol),
        "hydrogens": jnp.where(fresh, 0, hydrogens),
        "charge": jnp.clip(jnp.where(fresh, 0, charge), -CHARGES, CHARGES),
    }
