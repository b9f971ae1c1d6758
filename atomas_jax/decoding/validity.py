"""SMILES that can become molecules: a constraint on what is written, inside the compiled loop.

A state machine of fixed size a row, and one invariant: what is written can be completed by wildcards. From the present
atom on, a chain of them closes the rings that were opened since the last branch point, one wildcard a ring; then the
branch ends, and its branch point goes on the same way. A token is allowed where this remains possible:

- Valence: an atom keeps a bond for going on as long as it may have to.
- Aromatic atoms are in rings: those written while no ring of their branch is open are `naked` until a ring that was
  opened further out is closed behind them.
- Double bonds of aromatic systems: of the ways to place them, the state keeps each way's paired atoms among those
  whose bonds are not all written yet (`WAYS` sets of bits); an atom leaves with its last bond, and with it the ways
  that are wrong for it. A branch point that wants a double bond still can have it with a wildcard in a ring, so that
  it claims one of the open rings, of its own branch or further out: in each way, up to any branch point, the rings
  open have to be as many as the claims (Hall's condition, for sets that contain one another).

Rings are closed in the branch they were opened in or deeper, as depth-first writers do. Bounds: branches deeper than
`DEPTH`, more than `SLOTS` open rings and strings of more atoms than `atoms` are not written.
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

DEPTH, WINDOW, WAYS, SLOTS, FUSED = 128, 16, 16, 16, 3

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


_PLENTY = 99


def _has(mask, total):
    return (mask >> jnp.minimum(total, 15)) & 1 > 0


def _plain(bond):
    """Bonds that can be double ones of an aromatic system."""
    return (bond == NO_BOND) | (bond == AROMATIC_BOND)


@dataclass(frozen=True)
class _Path:
    """What one row has open, as `_allowed` looks at it. Branch points that a branch is about to start from are apart:
    `top` says whether the current atom is one."""

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


def _innermost(s: State) -> State:
    """The state with its `WINDOW` innermost branch points alone; of those further out, nothing is checked."""
    outer = jnp.maximum(s.depth - WINDOW, 0)
    return replace(
        s,
        stack=jax.lax.dynamic_slice(s.stack, (outer,), (WINDOW,)),
        naked=jax.lax.dynamic_slice(s.naked, (outer,), (WINDOW + 1,)),
        depth=s.depth - outer,
    )


def _path(t: Tables, s: State, shared: bool) -> _Path:
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
    ok, needy = _branch_point(t, kind[None], total[None], is_paired, forced[None])
    if shared:
        depths = jnp.arange(WINDOW + 1)
        lacking = s.naked & (depths <= level) | (depths == level) & s.bare
        innermost = jnp.max(jnp.where(lacking, depths, -1))
        needy_alone = needy & (depths[:-1] != innermost)
    else:
        needy_alone = needy
    claims = jnp.cumsum(needy_alone & counted[None], axis=1)
    margin = jnp.where(counted[None], ring_count[None] - claims, _PLENTY)
    margin = jax.lax.cummin(margin, axis=1, reverse=True)
    fine = s.live & jnp.all(ok | needy | ~counted[None], axis=1) & (margin[:, 0] >= 0)
    outer = jnp.where(level > 0, ring_count[jnp.maximum(level - 1, 0)], 0)
    naked = s.naked & (jnp.arange(WINDOW + 1) <= level)
    return _Path(
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
        jnp.concatenate([margin, jnp.full((WAYS, 1), _PLENTY)], axis=1),
        naked,
        level,
    )


def _beside(t: Tables, kind, other, in_ring=True):
    """The kind of an atom once it is bound to another one by a bond that may be in a ring."""
    return jnp.where(t.metal[other] & in_ring, t.bound[kind], kind)


def _settled(t: Tables, kind, total, is_paired):
    """Whether the atom is complete."""
    return _has(jnp.where(is_paired, t.paired[kind], t.without[kind]), total)


def _doubled(t: Tables, kind, total, is_paired):
    """Whether an aromatic atom can be completed by a double bond out of its ring."""
    return t.aromatic[kind] & ~is_paired & (total + 2 <= t.most[kind]) & _has(t.without[kind], total + 2)


def _branch_point(t: Tables, kind, total, is_paired, forced):
    """Whether a branch point can be completed without a ring, and else whether with one. `forced`: it goes on."""
    room = total + 1 <= t.most[kind]
    ok = ~forced & _settled(t, kind, total, is_paired) | room & _settled(t, kind, total + 1, is_paired)
    ok |= _doubled(t, kind, total, is_paired)
    needy = ~ok & ~is_paired & room & _has(t.paired[kind], total + 1)
    return ok, needy


def _lowest(naked):
    """The outermost depth at which an aromatic atom lacks a ring; many where none does."""
    return jnp.where(jnp.any(naked), jnp.argmax(naked), _PLENTY)


def _covered(margin, available, lowest):
    """Ways in which a ring from further out is left for the aromatic atoms that lack one, from depth `lowest` on."""
    outward = margin[:, jnp.clip(lowest - 1, 0, WINDOW)]
    return (lowest >= _PLENTY) | (lowest > 0) & (available >= 1) & (outward >= 1)


@dataclass(frozen=True)
class _Onward:
    """Whether the current atom can be left for another, by order of the bond; the next unpaired, or paired with it."""

    may: Bool[Array, "2"]
    with_ring: Bool[Array, "2"]
    """The same with an open ring to spare."""
    with_cover: Bool[Array, "2"]
    """The same where the next atom needs a ring from further out."""
    forced: Bool[Array, ""]
    exposed: Bool[Array, ""]
    """Whether an aromatic atom that comes next needs a ring from further out."""


def _onward(t: Tables, s: State, p: _Path, order, plain) -> _Onward:
    total = p.total + order
    can_pair = t.conjugated[p.mine] & plain & (p.rings > 0) & ~p.is_paired & ~p.started
    keeps_ring = jnp.any((s.ring_atom == s.current) & _plain(s.ring_bond))
    both = jnp.stack([p.is_paired, jnp.ones_like(p.is_paired)])  # [2, K]
    settled = _settled(t, p.mine, total, both) | keeps_ring & ~both & _has(t.paired[p.mine], total)
    forced_top = (p.rings_here > 0) | s.bare | p.naked[p.level]
    ok, wants = _branch_point(t, p.mine, total, both, forced_top)
    needy = wants & p.top & ~(s.bare | p.naked[p.level])
    left = p.rings - p.claims[None] - needy
    may = jnp.where(p.top, (ok | wants) & (left >= 0), settled) | p.started
    may &= p.fine[None] & jnp.stack([jnp.ones_like(can_pair), can_pair])
    margin = jnp.where(p.top, jnp.minimum(p.margin[None], left[..., None]), p.margin[None])
    naked = p.naked | (jnp.arange(WINDOW + 1) == p.level) & s.bare
    lowest = _lowest(naked)
    level = p.level + p.top
    covered = jax.vmap(_covered, in_axes=(0, 0, None))
    now = may & covered(margin, left, lowest)
    next_naked = may & covered(margin, left, jnp.minimum(lowest, level))
    return _Onward(
        jnp.any(now, axis=1),
        jnp.any(now & (left >= 1), axis=1),
        jnp.any(next_naked, axis=1),
        ~p.top & ((p.rings_here > 0) | naked[p.level]),
        p.top | (p.rings_here == 0),
    )


def _atoms(t: Tables, on: _Onward, kind, total, may_open=True):
    """Whether atoms of some kinds may come next, with so many bonds and hydrogens to begin with."""
    most, without, paired = t.most[kind], t.without[kind], t.paired[kind]
    go, turn = total + 1 <= most, total + 2 <= most
    alone = on.may[0] & (~on.forced & _has(without, total) | go & _has(without, total + 1))
    alone |= on.with_ring[0] & go & _has(paired, total + 1)
    pair = on.may[1] & (~on.forced & _has(paired, total) | go & _has(paired, total + 1))
    bare = t.aromatic[kind] & on.exposed
    bare_alone = on.with_cover[0] & go & _has(without | paired, total + 1)
    bare_alone |= on.may[0] & turn & _has(without | paired, total + 2)
    bare_pair = on.with_cover[1] & go & _has(paired, total + 1) | on.may[1] & turn & _has(paired, total + 2)
    fits = (total <= most) | (most >= UNLIMITED)
    return fits & jnp.where(bare, bare_alone | bare_pair & t.conjugated[kind], alone | pair & t.conjugated[kind])


def _stays(t: Tables, kind, total, is_paired, forced, available):
    """Ways in which the current atom, of a kind, can be completed by what follows."""
    room = total + 1 <= t.most[kind]
    may_pair = ~is_paired & _has(t.paired[kind], total + 1) & (available >= 1)
    on = room & (_settled(t, kind, total + 1, is_paired) | may_pair)
    on |= _doubled(t, kind, total, is_paired)
    return on | ~forced & _settled(t, kind, total, is_paired)


def _closes(t: Tables, s: State, p: _Path) -> Bool[Array, " S"]:
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
    others = jnp.sum((s.ring_atom[None] == s.ring_atom[:, None]) & _plain(s.ring_bond)[None], axis=1)
    more_rings = others - _plain(s.ring_bond) > 0
    depth = jnp.sum((s.stack[None] < partner[:, None]) & (jnp.arange(WINDOW) < p.level)[None], axis=1)  # [S]
    they_paired = (s.paired[None] & s.bit[partner][:, None]) != 0  # [S, K]
    naked = p.naked
    lowest = _lowest(naked)
    left = jnp.where(lowest <= depth, lowest, _PLENTY)  # [S]: naked depths that remain
    margin = p.margin[:, jnp.minimum(depth, WINDOW)].T - 1  # [S, K]: of the depths from there on
    outward = p.margin[:, jnp.clip(left - 1, 0, WINDOW)].T
    inner = jnp.minimum(outward, margin)
    available = p.rings - 1 - p.claims[None]  # [1, K]
    covered = (left >= _PLENTY)[:, None] | (left > 0)[:, None] & (available >= 1) & (inner >= 1)
    same_depth = depth == p.level
    forced = (p.rings_here - same_depth > 0) | (naked[p.level] & same_depth)
    my_kind, their_kind = _beside(t, p.mine, theirs), _beside(t, theirs, p.mine)
    exists = jnp.zeros_like(is_open)
    for pairs in (False, True):
        they = they_paired | pairs
        me = p.is_paired[None] | pairs
        done = _settled(t, theirs[:, None], their_total[:, None], they)
        later = ~they & more_rings[:, None] & _has(t.paired[theirs], their_total)[:, None]
        stack_later = (on_stack & (their_total + 1 <= t.most[their_kind]))[:, None]
        ok = done | later | stack_later
        if pairs:
            free = t.conjugated[theirs] & t.conjugated[p.mine] & (order == 1)
            free &= _plain(s.ring_bond) & _plain(s.bond)
            ok &= ~they_paired & ~p.is_paired[None] & free[:, None]
            ok &= ~on_stack[:, None] | _has(t.paired[theirs] | t.paired[theirs] >> 1, their_total)[:, None]
            relief = on_stack[:, None] & (margin < 0)  # the branch point no longer claims a ring
        else:
            relief = jnp.zeros_like(they_paired)
        room = _stays(t, my_kind[:, None], total[:, None], me, forced[:, None], available + relief)
        ok &= p.fine[None] & covered & room & (margin + relief >= 0) & (available + relief >= 0)
        exists |= jnp.any(ok, axis=1)
    agree &= ~(t.aromatic[p.mine] & t.aromatic[theirs]) | (jnp.maximum(s.fused[partner], s.fused[p.here]) < FUSED)
    valid = is_open & agree & (partner != s.current) & ~s.near & (order > 0)
    return valid & (total <= t.most[my_kind]) & (their_total <= t.most[their_kind]) & exists


def _opens(t: Tables, p: _Path, bond) -> Bool[Array, ""]:
    """Whether a ring may be opened by a bond."""
    order = t.before[bond]
    total = p.total + order
    space = p.rings < SLOTS
    forced = jnp.ones((), bool)
    available = p.rings + 1 - p.claims
    covered = _covered(p.margin, available, _lowest(p.naked))
    room = _stays(t, p.mine, total, p.is_paired, forced, available)
    return space & jnp.any(p.fine & covered & room) & ((bond != AROMATIC_BOND) | t.conjugated[p.mine])


def _allowed(t: Tables, s: State, remaining) -> Bool[Array, " A"]:
    """Classes of tokens that may follow, of one row."""
    depth, s = s.depth, _innermost(s)
    p = _path(t, s, shared=True)
    most = t.most[p.mine]
    orders = jnp.where(p.started, 0, t.before[s.bond])
    on = _onward(t, s, p, orders, _plain(s.bond))
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
    agrees &= ~in_ring | (p.total + orders + reserve <= t.most[_beside(t, p.mine, kind)])
    becomes = _beside(t, kind, p.mine, in_ring)
    atom = _atoms(t, on, becomes, hydrogens + after) & (fits | oxide) & agrees & space
    star = jnp.any(on.may) & space
    bracket = star & fits

    # ---- ring closures
    ring_ok = ~p.started & (t.before[s.bond] == t.after[s.bond]) & (t.before[s.bond] > 0)
    closes, opens = _closes(t, s, _path(t, s, shared=False)), _opens(t, p, s.bond)
    number = jnp.where(t.kind == kinds.RING, t.value, -1)
    match = (s.ring_number[:, None] == number[None]) & (s.ring_atom >= 0)[:, None]
    closes_ring = jnp.any(match, axis=0)
    ring = ring_ok & jnp.where(closes_ring, jnp.any(match & closes[:, None], axis=0), opens)

    # ---- bonds, branches, ends
    bond = jnp.where(t.kind == kinds.BOND, t.value, 0)
    ahead = t.before[bond]
    every = jnp.arange(len(kinds.BONDS))
    leaves = jax.vmap(lambda bond: jnp.any(_onward(t, s, p, t.before[bond], _plain(bond)).may))(every)
    goes_on = (leaves | (s.phase == AFTER_ATOM) & jax.vmap(lambda bond: _opens(t, p, bond))(every))[bond]
    bonds = (p.total + ahead + reserve <= most) | oxidised & (ahead == 2)
    bonds &= ((bond != AROMATIC_BOND) | t.conjugated[p.mine] & (p.rings > 0)) & goes_on & ~p.started & space
    bonds &= (ahead == t.after[bond]) & (ahead > 0)
    clean = ~s.bare & ~p.naked[p.level] & (p.rings_here == 0)
    settled = (
        p.fine & _settled(t, p.mine, p.total, p.is_paired) & _covered(p.margin, p.rings - p.claims, _lowest(p.naked))
    )
    may_leave = clean & jnp.any(settled)
    top = _onward(t, s, replace(p, top=jnp.ones((), bool)), 1, jnp.ones((), bool))
    branch = (depth < DEPTH) & ((p.total + 2 <= most) | oxidised) & jnp.any(top.may) & space
    dot = may_leave & (s.depth == 0)
    bracket_atom = jnp.where(
        t.conjugated[kind], _atoms(t, on, becomes, after) | _atoms(t, on, becomes, after + 1), on.may[0]
    )
    charged = _beside(t, t.spelled[s.symbol], p.mine, in_ring)[None]
    closable = _atoms(t, on, charged, jnp.arange(10)[:, None] + after)
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


def _in_time(t: Tables, depth, p: _Path, may, closes_ring, remaining):
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


def _inside(t: Tables, s: State, on: _Onward, after, binds, closable) -> Bool[Array, " A"]:
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


def _advance(t: Tables, s: State, token_class) -> State:
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
    own_becomes, other_becomes = _beside(t, own_kind, other_kind), _beside(t, other_kind, own_kind)
    species = jnp.where(in_ring & (places == s.current), own_becomes.astype(s.species.dtype), species)
    species = jnp.where(in_ring & (places == end), other_becomes.astype(s.species.dtype), species)
    foreign = s.foreign | binds & (places == s.current) & ~t.oxygen[other_kind]
    foreign |= binds & (places == end) & ~t.oxygen[own_kind]

    joins = binds & _plain(s.bond) & t.aromatic[other_kind] & t.aromatic[own_kind]
    fused = s.fused + (joins & ((places == s.current) | (places == end))).astype(s.fused.dtype)

    # ---- a bit for a new conjugated atom
    wants = writes_atom & t.conjugated[new_kind]
    new_bit = jnp.where(wants, ~s.used & (s.used + jnp.uint32(1)), jnp.uint32(0))  # none where all are used
    bits = jnp.where(new, new_bit, s.bit)
    used = s.used | new_bit

    # ---- where the double bonds may be
    mine = s.bit[here]
    other = jnp.where(writes_atom, new_bit, s.bit[partner])
    plain = _plain(s.bond) & (writes_atom | _plain(s.ring_bond[slot]))
    pairing = binds & plain & rings & t.conjugated[own_kind] & t.conjugated[other_kind]
    pairing &= _has(t.may_pair[own_kind], total[here]) & _has(t.may_pair[other_kind], total[end])
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
    pairs_held = jnp.any((ring_atom == leaver) & _plain(ring_bond))
    leaver_bit, leaver_kind = bits[leaver], species[leaver].astype(jnp.int32)
    leaver_total = total[leaver].astype(jnp.int32)
    is_paired = (ways & leaver_bit) != 0
    right = _settled(t, leaver_kind, leaver_total, is_paired)
    right |= pairs_held & ~is_paired & _has(t.paired[leaver_kind], leaver_total)
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
