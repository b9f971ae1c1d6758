"""What each token means to the validity constraint: tables made once from the tokenizer."""

import re
from dataclasses import dataclass, fields, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from atomas_jax.decoding.valence import Species, species, unfollowed
from atomas_jax.tokens.smiles import AROMATIC, ELEMENTS
from atomas_jax.tokens.tokenizer import Role, Tokenizer

NEVER, END, ATOM, BOND, RING, BRANCH, CLOSE_BRANCH, DOT, BRACKET, INNER, CLOSE_BRACKET = range(11)
"""What a token is; the atoms are those written by one token."""

SYMBOL, DIGIT, CHIRAL, SIGN = range(4)
"""What a token inside a bracket atom is."""

CHARGES = 8
"""Greatest charge of a bracket atom spelled piece by piece."""

BONDS = {"": (1, 1), "-": (1, 1), "=": (2, 2), "#": (3, 3), "$": (4, 4), ":": (1, 1), "/": (1, 1), "\\": (1, 1)}
BONDS |= {"~": (0, 0), "->": (0, 1), "<-": (1, 0)}
"""Orders that a bond adds to the atom before and to the atom after."""
NO_BOND, AROMATIC_BOND = 0, list(BONDS).index(":")

_TURN = r"(?:@(?:@|(?:TH|AL|SP|TB|OH)\d+)?)?"
_ATOM = re.compile(rf"\[\d*([A-Z][a-z]?|[a-z][a-z]?|\*){_TURN}(?:(H)(\d?))?(\++\d*|-+\d*)?(?::\d+)?\]")
_SYMBOLS = (*ELEMENTS, *AROMATIC, "si", "as", "se", "te", "*")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tables:
    """A classes of tokens (tokens of a class mean the same), G kinds of atoms."""

    token_class: Int[Array, " V"]
    kind: Int[Array, " A"]
    value: Int[Array, " A"]
    """Species of an atom, number of a ring, a bond; for pieces inside brackets, symbol, digit or sign."""
    hydrogens: Int[Array, " A"]
    inner: Int[Array, " A"]
    most: Int[Array, " G"]
    aromatic: Bool[Array, " G"]
    conjugated: Bool[Array, " G"]
    without: Int[Array, " G"]
    paired: Int[Array, " G"]
    may_pair: Int[Array, " G"]
    oxidised: Int[Array, " G"]
    oxygen: Bool[Array, " G"]
    metal: Bool[Array, " G"]
    bound: Int[Array, " G"]
    """Kind that an atom becomes once it is bound to a metal within what may be a ring: it takes fewer bonds."""
    loose: Int[Array, " G"]
    """The same outside rings."""
    free: Int[Array, " G"]
    """Kind that an aromatic atom becomes where its double bonds are no longer followed: any sum will do."""
    before: Int[Array, " bonds"]
    after: Int[Array, " bonds"]
    wildcard: Int[Array, ""]
    """Kind of "*"."""
    carbon: Int[Array, ""]
    """Kind of "c"."""
    plain: Bool[Array, " V"]
    """Tokens without brackets."""
    spelled: Int[Array, "symbols charges"]
    """Kind of a symbol with a charge (`CHARGES` is none) in a bracket atom spelled piece by piece."""
    room: Int[Array, "3 symbols"]
    """Most bonds with any charge: without a bond to a metal, with one, with one within what may be a ring."""


def tables(tokenizer: Tokenizer) -> Tables:
    """The tables of an atom-wise tokenizer."""
    kinds: dict[Species, int] = {}

    def kind_of(*spec) -> int:
        return kinds.setdefault(species(*spec), len(kinds))

    spelled = [[kind_of(symbol, charge) for charge in range(-CHARGES, CHARGES + 1)] for symbol in _SYMBOLS]
    classes: dict[tuple[int, int, int, int], int] = {(NEVER, 0, 0, 0): 0}
    token_class = [
        classes.setdefault(_meaning(tokenizer, i, kind_of), len(classes)) for i in range(tokenizer.vocab_size)
    ]
    kind, value, hydrogens, inner = np.array(list(classes), np.int32).T
    for one in list(kinds):
        kinds.setdefault(replace(one, most=one.bound), len(kinds))
        kinds.setdefault(replace(one, most=min(one.most, one.loose)), len(kinds))
    bound = [kinds[replace(one, most=one.bound)] for one in kinds]
    loose = [kinds[replace(one, most=min(one.most, one.loose))] for one in kinds]
    free = [kinds.setdefault(unfollowed(one), len(kinds)) for one in list(kinds)]
    for become in (bound, loose, free):
        become += range(len(become), len(kinds))
    names = [field.name for field in fields(Species) if field.name not in ("bound", "loose", "wild")]
    of_kinds = {name: [getattr(kind, name) for kind in kinds] for name in names}
    most = np.array(of_kinds["most"])[np.stack([spelled, np.array(loose)[spelled], np.array(bound)[spelled]])]
    lower = np.array([symbol.islower() for symbol in _SYMBOLS])
    far = abs(np.arange(-CHARGES, CHARGES + 1)) > 1
    most[:, lower[:, None] & far] = 0  # aromatic atoms have no more than one charge
    orders = np.array(list(BONDS.values()), np.int32).T
    return Tables(
        token_class=jnp.asarray(token_class, jnp.int32),
        kind=jnp.asarray(kind),
        value=jnp.asarray(value),
        hydrogens=jnp.asarray(hydrogens),
        inner=jnp.asarray(inner),
        **{
            name: jnp.asarray(values, bool if isinstance(values[0], bool) else jnp.int32)
            for name, values in of_kinds.items()
        },
        bound=jnp.asarray(bound, jnp.int32),
        loose=jnp.asarray(loose, jnp.int32),
        free=jnp.asarray(free, jnp.int32),
        before=jnp.asarray(orders[0]),
        after=jnp.asarray(orders[1]),
        wildcard=jnp.asarray(kind_of("*")),
        carbon=jnp.asarray(kind_of("c", 0, False)),
        plain=jnp.asarray([not surface.startswith(b"[") for surface in tokenizer.surfaces[: tokenizer.vocab_size]]),
        spelled=jnp.asarray(spelled, jnp.int32),
        room=jnp.asarray(most.max(-1), jnp.int32),
    )


def _meaning(tokenizer: Tokenizer, i: int, kind_of) -> tuple[int, int, int, int]:
    """Kind, value, hydrogens and inner kind of a token."""
    role, piece = tokenizer.roles[i], tokenizer.surfaces[i].decode("utf-8", "replace")
    if i == tokenizer.eos_id:
        return END, 0, 0, 0
    if role == Role.OPEN:
        return BRACKET, 0, 0, 0
    if role == Role.CLOSE:
        return CLOSE_BRACKET, 0, 0, 0
    if role == Role.INNER:
        return _inner_meaning(piece)
    if role != Role.OUTER:
        return NEVER, 0, 0, 0
    if piece in BONDS:
        return BOND, list(BONDS).index(piece), 0, 0
    if piece in (marks := {"(": BRANCH, ")": CLOSE_BRANCH, ".": DOT}):
        return marks[piece], 0, 0, 0
    if piece.lstrip("%").isdigit():
        return RING, int(piece.lstrip("%")), 0, 0
    if not piece.startswith("["):
        return ATOM, kind_of(piece, 0, False), 0, 0
    found = _ATOM.fullmatch(piece)
    if not found or found[1] not in _SYMBOLS:
        return NEVER, 0, 0, 0
    symbol, hydrogen, count, charge = found.groups()
    return ATOM, kind_of(symbol, _charge(charge or "")), int(count or 1) if hydrogen else 0, 0


def _charge(text: str) -> int:
    if not text:
        return 0
    return int(text.strip("+-") or len(text)) * (1 if text[0] == "+" else -1)


def _inner_meaning(piece: str) -> tuple[int, int, int, int]:
    if piece in _SYMBOLS:
        return INNER, _SYMBOLS.index(piece), 0, SYMBOL
    if piece.isdigit():
        return INNER, int(piece), 0, DIGIT
    if piece in ("@", "@@"):
        return INNER, 0, 0, CHIRAL
    if piece in ("+", "-"):
        return INNER, 1 if piece == "+" else -1, 0, SIGN
    return NEVER, 0, 0, 0  # atom classes and rare stereo classes
