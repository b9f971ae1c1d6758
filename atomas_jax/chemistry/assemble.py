"""Distinct small molecules from fragments: drug-like, acyclic, lipids, peptides, natural products, salts, isotopes.

A grammar over SMILES strings proposes; RDKit's parser disposes: what does not parse, is too long, or has been made
before is dropped. The sequence is a function of the seed alone and `assemble(n)` is a prefix of `assemble(m)`, n < m.
"""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b

from rdkit import Chem

from atomas_jax.chemistry import fragments as made_of
from atomas_jax.chemistry.molecules import inchikey
from atomas_jax.errors import UserError

MOST_MOLECULES = 1_000_000
"""The most one sequence gives: the grammar holds many more, but digests of those made are kept in memory."""

_LONGEST = 80
# Radicals left by an empty site; halogens on hetero atoms; chains of three hetero atoms of a kind.
_UNWANTED = tuple(
    Chem.MolFromSmarts(smarts)
    for smarts in (
        "[#6;v3,v2;+0]",
        "[#7,#8,#16;!$(*=O)]-[F,Cl,Br,I]",
        "[NX3][NX3][NX3]",
        "[OX2][OX2][!#6;!#1]",
        "[B,Si][N,O,S][N,O]",
    )
)
_RING_DIGIT = re.compile(r"\[[^\]]*\]|\d")
_SITE = re.compile(r"\{n?\}")


def _nested(fragment: str, depth: int) -> str:
    """The fragment with ring closures no outer fragment has open: three numbers for each depth."""

    def renumbered(found: re.Match) -> str:
        text = found[0]
        if not text.isdigit():
            return text
        closure = int(text) + 3 * depth
        return str(closure) if closure < 10 else f"%{closure}"

    return _RING_DIGIT.sub(renumbered, fragment)


def _fill(fragment: str, depth: int, fillers: Sequence[Callable[[int], str]], rng: random.Random) -> str:
    """The fragment with its sites filled, in random order, by as many fillers as there are; the rest stay empty."""
    sites = len(_SITE.findall(fragment))
    chosen = [""] * sites
    for place, filler in zip(rng.sample(range(sites), min(sites, len(fillers))), fillers, strict=False):
        chosen[place] = filler(depth + 1)
    filled = iter(chosen)

    def written(site: re.Match) -> str:
        branch = next(filled)
        if site[0] == "{n}":
            return f"n({branch})" if branch else "[nH]"
        return f"({branch})" if branch else ""

    return _SITE.sub(written, _nested(fragment, depth))


class _Grammar:
    """Draws one proposal after another from one random stream."""

    def __init__(self, seed: int):
        self.rng = random.Random(f"assemble {seed}")
        self.families: tuple[tuple[Callable[[], str], int], ...] = (
            (self.drug_like, 54),
            (self.acyclic, 13),
            (self.lipid, 8),
            (self.peptide, 8),
            (self.natural, 17),
        )

    def proposal(self) -> str:
        makers, weights = zip(*self.families, strict=True)
        return self.stereo(self.partnered(self.rng.choices(makers, weights)[0]()))

    def group(self, depth: int) -> str:
        draw = self.rng.random()
        if draw < 0.03:
            return self.rng.choice(made_of.ISOTOPE_GROUPS)
        if draw < 0.08:
            return self.rng.choice(made_of.CHARGED_GROUPS)
        # Early groups (alkyl, hydroxy, methoxy, amino, halogen) are the common ones.
        pool = made_of.GROUPS[:16] if draw < 0.55 else made_of.GROUPS
        return self.rng.choice(pool)

    def core(self, depth: int) -> str:
        pool = made_of.AROMATIC_CORES if self.rng.random() < 0.62 else made_of.SATURATED_CORES
        groups = self.rng.choices((0, 1, 2), (45, 45, 10))[0]
        return _fill(self.rng.choice(pool), depth, [self.group] * groups, self.rng)

    def arm(self, depth: int) -> str:
        """A linker with a core at its end."""
        linker = self.rng.choice(made_of.LINKERS)
        return linker.replace("{}", "") + self.core(depth)

    def drug_like(self) -> str:
        pool = made_of.AROMATIC_CORES if self.rng.random() < 0.7 else made_of.SATURATED_CORES
        group, arm = self.group, self.arm
        plans = ([group], [group] * 2, [group] * 3, [arm], [arm, group], [arm, arm])
        body = _fill(self.rng.choice(pool), 0, self.rng.choices(plans, (14, 18, 6, 24, 30, 8))[0], self.rng)
        return self.rng.choice(made_of.LEADING) + body if self.rng.random() < 0.35 else body

    def acyclic(self) -> str:
        length = self.rng.randint(1, 7)
        atoms = []
        for position in range(length):
            draw = self.rng.random()
            if 0 < position < length - 1 and draw < 0.1:
                atoms.append(self.rng.choice(("O", "N", "S", "N(C)")))
            elif draw < 0.35:
                atoms.append(f"[C@H]({self.group(0)})" if position else self.group(0) + "C")
            elif draw < 0.42 and position < length - 1:
                atoms.append("/C=C/")
            else:
                atoms.append("C")
        return re.sub(r"/(?=[/\\])", "", "".join(atoms)).strip("/") + self.group(0)

    def lipid(self) -> str:
        length = self.rng.randint(5, 20)
        chain = ["C"] * length
        for place in self.rng.sample(range(2, length - 1), k=min(length - 3, self.rng.choice((0, 0, 1, 1, 2)))):
            if chain[place - 1] == chain[place] == "C" and place + 1 < length and chain[place + 1] == "C":
                chain[place] = self.rng.choice(("/C=C\\", "/C=C\\", "/C=C/", "[C@H](O)", "C(=O)", "C(C)", "[C@H](C)"))
        head = self.rng.choice(made_of.LIPID_HEADS)
        return "".join(chain) + head

    def peptide(self) -> str:
        residues = [
            self.rng.choice(made_of.AMINO_ACIDS) for _ in range(self.rng.choices((1, 2, 3, 4), (15, 50, 28, 7))[0])
        ]
        residues = [self.mirrored(residue) if self.rng.random() < 0.1 else residue for residue in residues]
        return self.rng.choice(made_of.N_CAPS) + "".join(residues) + self.rng.choice(made_of.C_CAPS)

    def natural(self) -> str:
        fragment = self.rng.choice(made_of.NATURAL_CORES)
        oxygens = ("O", "OC", "O", "C", "OC(C)=O", "CC=C(C)C", "C(C)C", "O", "N", "OC", "CO", "C(C)=O", "F")
        count = self.rng.randint(0, 3)
        body = _fill(fragment, 0, [lambda depth: self.rng.choice(oxygens)] * count, self.rng)
        return self.rng.choice(("O", "O", "CO", "CC(=O)O", "C", "N", "", "CCO", "OC(=O)C", "C=CC")) + body

    def partnered(self, smiles: str) -> str:
        """Salts and solvates: charges balanced where that is easy, neutral partners now and then."""
        if "." in smiles:
            return smiles
        charge = len(re.findall(r"\+\]", smiles)) - len(re.findall(r"-\]", smiles))
        draw = self.rng.random()
        if charge > 0 and draw < 0.6:
            return ".".join([smiles, *[self.rng.choice(made_of.ANIONS)] * charge])
        if charge < 0 and draw < 0.6:
            return ".".join([smiles, *[self.rng.choice(made_of.CATIONS)] * -charge])
        if charge == 0 and draw < 0.03:
            return f"{smiles}.{self.rng.choice(made_of.NEUTRAL_PARTNERS)}"
        return smiles

    def stereo(self, smiles: str) -> str:
        """As drawn, mirrored, or without stereo marks."""
        draw = self.rng.random()
        if draw < 0.2:
            return smiles.replace("@", "").replace("[CH]", "C").replace("[C]", "C").replace("/", "").replace("\\", "")
        return self.mirrored(smiles) if draw < 0.4 else smiles

    @staticmethod
    def mirrored(smiles: str) -> str:
        return smiles.replace("@@", "\0").replace("@", "@@").replace("\0", "@")


def assemble(count: int, seed: int = 0) -> Iterator[str]:
    """Makes molecules one after another.

    Args:
      count: how many, at most `MOST_MOLECULES`.
      seed: which sequence; the same seed gives the same molecules in the same order.

    Returns:
      An iterator of canonical SMILES of at most 80 characters, no two with the same InChIKey.

    Raises:
      UserError: at once if `count` is negative or more than can be made.
    """
    if not 0 <= count <= MOST_MOLECULES:
        raise UserError(f"{count:,} molecules cannot be assembled: ask for 0 to {MOST_MOLECULES:,}")
    return _molecules(count, seed)


def _molecules(count: int, seed: int) -> Iterator[str]:
    grammar = _Grammar(seed)
    seen: set[bytes] = set()
    made = 0
    while made < count:
        mol = Chem.MolFromSmiles(grammar.proposal())
        if mol is None or any(mol.HasSubstructMatch(pattern) for pattern in _UNWANTED):
            continue
        smiles = Chem.MolToSmiles(mol)
        if len(smiles) > _LONGEST or not _new(smiles, seen):
            continue
        # Two tautomers are two SMILES but one InChIKey.
        key = inchikey(mol)
        if not key or not _new(key, seen):
            continue
        made += 1
        yield smiles


def _new(text: str, seen: set[bytes]) -> bool:
    """Whether `text` comes for the first time; remembers a digest of it."""
    digest = blake2b(text.encode(), digest_size=10).digest()
    if digest in seen:
        return False
    seen.add(digest)
    return True
