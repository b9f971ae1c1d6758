"""Sets of tokens for the validity constraint, made once from its tables: 32 tokens a number.

What may follow is put together from a few such sets a row, by what its state says, and spread out to one flag a token
at the very end: the vocabulary costs next to nothing. Words that hold no token of SMILES are left out.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from atomas_jax.decoding import validity_tables as kinds
from atomas_jax.decoding.valence import UNLIMITED
from atomas_jax.decoding.validity_state import (
    AFTER_ATOM,
    AFTER_BRANCH,
    BONDED,
    IN_BRANCH,
    ISOTOPE,
    OPENED,
    PHASES,
    START,
)
from atomas_jax.decoding.validity_tables import CHARGES, Tables

ORDERS = 5
"""Orders of bonds, 0 among them."""
OUTLOOKS = 1 << 7
"""Outlooks on the next atom: flags of `outlook`, from the lowest bit."""

END, BRANCH, CLOSE_BRANCH, BRACKET, CLOSE_BRACKET, HYDROGEN, CHIRAL, MINUS, PLUS = range(9)
BONDS, DIGITS, MARKS = 9, 14, 24
"""Groups of tokens that are allowed or not by themselves: dots are with the end; then bonds (aromatic, single,
double, triple, quadruple), then digits inside brackets."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Sets:
    """V vocabulary, W words that hold tokens of SMILES, G kinds of atoms."""

    place: Float[Array, "4*W V/8"]
    """1 where a byte of the W words is that of the vocabulary, else 0."""
    atoms: UInt32[Array, "F W"]
    """Atoms, and symbols inside brackets, that may follow: by outlook, order of the bond, and whether a metal binds."""
    sums: Int[Array, "outlooks G"]
    """Sums of bond orders and hydrogens, as bits, that an atom of a kind may start with, by outlook."""
    phases: UInt32[Array, "phases W"]
    """Of the atoms and symbols, those possible at all, by what was written last."""
    marks: UInt32[Array, "3 256 W"]
    """Union of the groups among 8 whose bits are set."""
    rings: UInt32[Array, "100 W"]
    """The ring closures of a number."""
    ring: UInt32[Array, " W"]
    """All ring closures."""
    conjugated: UInt32[Array, " W"]
    aromatic: UInt32[Array, " W"]
    metals: UInt32[Array, " W"]
    oxides: UInt32[Array, "2 W"]
    """Oxygens that halogens beyond their valence bind by one bond, by two: any, and those that have no other bonds."""
    halogens: UInt32[Array, " W"]
    """Those that take oxygens beyond their valence."""
    hydroxyls: UInt32[Array, " W"]
    """"O"."""
    ends: UInt32[Array, " W"]
    wildcards: UInt32[Array, " W"]
    carbons: UInt32[Array, "2 W"]
    """Aromatic ones: any, and "c"."""
    doubles: UInt32[Array, " W"]
    closing: UInt32[Array, " W"]
    end: UInt32[Array, " W"]


def spread(sets: Sets, words: UInt32[Array, "R W"]) -> Bool[Array, "R V"]:
    """One flag a token, of the vocabulary rounded up to 128.

    A matrix product puts the bytes where they belong, for XLA fuses a gather into whatever reads the flags, where it
    costs more than all the rest; a byte is exact in any precision.
    """
    octets = words[:, :, None] >> jnp.arange(0, 32, 8, dtype=jnp.uint32) & 255
    whole = octets.reshape(len(words), -1).astype(jnp.float32) @ sets.place
    flags = whole.astype(jnp.int32)[:, :, None] >> jnp.arange(8) & 1 > 0
    return flags.reshape(len(words), -1)


def outlook(may, with_ring, with_cover, forced, exposed) -> Int[Array, ""]:
    """The number of an outlook (`Onward`)."""
    flags = (*may, with_ring, *with_cover, forced, exposed)
    return sum(flag.astype(jnp.int32) << bit for bit, flag in enumerate(flags))


def follower(outlook, order, beside_metal):
    """The row of `Sets.atoms`."""
    return (outlook * ORDERS + order) * 3 + beside_metal


def sets(tables: Tables) -> Sets:
    """The sets of a tokenizer's tables."""
    t = jax.tree.map(np.asarray, tables)
    sums = _sums(t)
    meaning = {name: getattr(t, name)[t.token_class] for name in ("kind", "value", "hydrogens", "inner")}
    kind, value, inner = meaning["kind"], meaning["value"], meaning["inner"]
    used = _words(kind != kinds.NEVER) != 0
    place = np.kron(np.eye(len(used))[used], np.eye(4)).astype(np.float32)

    def words(flags) -> np.ndarray:
        return _words(flags)[..., used]

    is_atom = kind == kinds.ATOM
    symbol = (kind == kinds.INNER) & (inner == kinds.SYMBOL)
    species = np.where(is_atom, value, np.where(symbol, t.spelled[np.where(symbol, value, 0), CHARGES], 0))
    written = is_atom | symbol
    outside, bonded = [START, AFTER_ATOM, AFTER_BRANCH, IN_BRANCH], range(BONDED, OPENED)
    phases = np.zeros((PHASES, len(kind)), bool)
    phases[[*outside, *bonded]] = is_atom
    phases[[OPENED, ISOTOPE]] = symbol
    oxygen = written & t.oxygen[species]
    bare = oxygen & (meaning["hydrogens"] == 0) & (t.most[species] == 2)
    oxidised = is_atom & (meaning["hydrogens"] == 0) & (t.oxidised[species] > 0)
    carbon = is_atom & (value == t.carbon)
    arrays = {
        "place": place,
        "atoms": words(_following(t, sums, species, meaning, symbol)),
        "sums": sums,
        "phases": words(phases),
        "marks": np.stack([_unions(words(group)) for group in _groups(t, meaning).reshape(3, 8, -1)]),
        "rings": words((kind == kinds.RING) & (value == np.arange(100)[:, None])),
        "ring": words(kind == kinds.RING),
        "conjugated": words(written & t.conjugated[species]),
        "aromatic": words(written & t.aromatic[species]),
        "metals": words(written & t.metal[species]),
        "oxides": words(np.stack([oxygen, bare])),
        "halogens": words(oxidised),
        "hydroxyls": words(is_atom & bare & t.plain),
        "ends": words((kind == kinds.END) | (kind == kinds.CLOSE_BRANCH)),
        "wildcards": words(is_atom & (value == t.wildcard)),
        "carbons": words(np.stack([carbon, carbon & t.plain])),
        "doubles": words((kind == kinds.BOND) & (t.before[np.where(kind == kinds.BOND, value, 0)] == 2)),
        "closing": words(kind == kinds.CLOSE_BRACKET),
        "end": words(kind == kinds.END),
    }
    return Sets(**{name: jnp.asarray(array) for name, array in arrays.items()})


def _words(flags: np.ndarray) -> np.ndarray:
    """Flags [..., V] as bits of numbers [..., V / 32]."""
    padded = np.pad(flags, [(0, 0)] * (flags.ndim - 1) + [(0, -flags.shape[-1] % 128)])
    return np.packbits(padded, axis=-1, bitorder="little").view("<u4").astype(np.uint32)


def _unions(group: np.ndarray) -> np.ndarray:
    """All unions [256, W] of 8 sets."""
    chosen = np.arange(256)[:, None] >> np.arange(8) & 1 > 0
    return np.bitwise_or.reduce(np.where(chosen[:, :, None], group[None], np.uint32(0)), axis=1)


def _groups(t: Tables, meaning: dict[str, np.ndarray]) -> np.ndarray:
    """The groups [MARKS, V]."""
    kind, value, inner = meaning["kind"], meaning["value"], meaning["inner"]
    groups = np.zeros((MARKS, len(kind)), bool)
    alone = {END: (kinds.END, kinds.DOT), BRANCH: (kinds.BRANCH,), CLOSE_BRANCH: (kinds.CLOSE_BRANCH,)}
    alone |= {BRACKET: (kinds.BRACKET,), CLOSE_BRACKET: (kinds.CLOSE_BRACKET,)}
    for group, members in alone.items():
        groups[group] = np.isin(kind, members)
    inside = kind == kinds.INNER
    groups[HYDROGEN] = inside & (inner == kinds.SYMBOL) & (value == 0)
    groups[CHIRAL] = inside & (inner == kinds.CHIRAL)
    groups[MINUS], groups[PLUS] = (inside & (inner == kinds.SIGN) & (value == sign) for sign in (-1, 1))
    bond = np.where(kind == kinds.BOND, value, 0)
    orders = np.where((kind == kinds.BOND) & (t.before == t.after)[bond], t.before[bond], 0)
    orders[(kind == kinds.BOND) & (value == kinds.AROMATIC_BOND)] = 0
    groups[BONDS] = (kind == kinds.BOND) & (value == kinds.AROMATIC_BOND)
    groups[BONDS + 1 : BONDS + ORDERS] = orders == np.arange(1, ORDERS)[:, None]
    groups[DIGITS:] = inside & (inner == kinds.DIGIT) & (value == np.arange(10)[:, None])
    return groups


def _sums(t: Tables) -> np.ndarray:
    """`Sets.sums`: what an atom may start with, all outlooks by all kinds."""
    may, pair, ring, cover, pair_cover, forced, exposed = (
        (np.arange(OUTLOOKS) >> bit & 1 > 0)[:, None, None] for bit in range(7)
    )
    total = np.arange(16)

    def has(masks, more):
        return masks[:, None] >> np.minimum(total + more, 15) & 1 > 0

    most = t.most[:, None]
    go, turn, either = total + 1 <= most, total + 2 <= most, t.without | t.paired
    conjugated = t.conjugated[:, None]
    alone = may & (~forced & has(t.without, 0) | go & has(t.without, 1)) | ring & go & has(t.paired, 1)
    paired = pair & (~forced & has(t.paired, 0) | go & has(t.paired, 1))
    bare = cover & go & has(either, 1) | may & turn & has(either, 2)
    bare_paired = pair_cover & go & has(t.paired, 1) | pair & turn & has(t.paired, 2)
    fits = np.where(
        t.aromatic[:, None] & exposed, bare | bare_paired & conjugated, alone | paired & conjugated
    )  # an aromatic atom that needs a ring from further out, and all others
    fits &= (total <= most) | (most >= UNLIMITED)
    return (fits << total).sum(-1).astype(np.int32)


def _following(t: Tables, sums, species, meaning, symbol) -> np.ndarray:
    """`Sets.atoms` as flags [F, V]: atoms whose sum fits; symbols where some number of hydrogens does."""
    outlooks = np.arange(OUTLOOKS)
    may, forced = outlooks[:, None] & 1 > 0, outlooks[:, None] >> 5 & 1
    room = t.room[:, np.where(symbol, meaning["value"], 0)]
    found = np.zeros((OUTLOOKS, ORDERS, 3, len(species)), bool)
    for order in range(ORDERS):
        for metal, become in enumerate((species, t.loose[species], t.bound[species])):
            fitting = sums[:, become]
            atoms = fitting >> (meaning["hydrogens"] + order) & 1 > 0
            spelled = np.where(t.conjugated[species], fitting >> order & 3 > 0, may) & (room[metal] >= order + forced)
            found[:, order, metal] = np.where(symbol, spelled, atoms & (meaning["kind"] == kinds.ATOM))
    return found.reshape(-1, len(species))
