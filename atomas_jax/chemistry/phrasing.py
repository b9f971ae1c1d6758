"""Facts into sentences: openings, bodies and orders are drawn, what is said is not."""

import random
from collections.abc import Sequence

from atomas_jax.chemistry.classes import Kind
from atomas_jax.chemistry.components import Part
from atomas_jax.chemistry.facts import Decorated, Facts
from atomas_jax.chemistry.grammar import Clause, Mention, counted, listed, sentence, words
from atomas_jax.chemistry.stereo import StereoFact

LONGEST_CAPTION = 48
"""Words after which no further sentence is begun; the opening and what makes up the whole molecule always come."""
_SHORTEST_CAPTION = 15

_RINGS = ("It contains {}", "It is built on {}", "Its ring framework comprises {}", "It incorporates {}", "It has {}")
_GROUPS = ("It carries {}", "It bears {}", "It also has {}", "Its functional groups include {}", "It features {}")
_CHAINS = ("It has {}", "Its carbon chains include {}", "It includes {}", "Its aliphatic part comprises {}")
_DECORATED = ("{} carries {}", "{} is substituted by {}", "{} bears {}")
_STEREO = ("It has {}", "It exhibits {}", "Its configuration shows {}", "It possesses {}")
_CHARGE = ("It is {}", "It is present as {}", "It takes the form of {}")
_ISOTOPES = ("It is isotopically labelled with {}", "It carries {} as an isotopic label", "It is labelled with {}")
_PARTNERS = (
    "It is combined with {}",
    "It is accompanied by {}",
    "The structure is completed by {}",
    "It occurs with {}",
)
_FORMS = ("It is {} with {}", "It takes the form of {} with {}")
_RESIDUES = ("It is composed of {}", "Its sequence is made up of {}", "It consists of {}")
_ELEMENTS = ("It is made up of {}", "It consists of {}", "Its skeleton is formed by {}")
_MEMBERS = ("It is {}", "It is also {}", "It can be classed as {}")


def _filled(template: str, *clauses: Clause) -> Clause:
    """The template with each {} replaced by a clause."""
    pieces: Clause = []
    for position, text in enumerate(template.split("{}")):
        if text:
            pieces.append(text)
        if position < len(clauses):
            pieces.extend(clauses[position])
    return pieces


def _parts(parts: Sequence[Part | StereoFact]) -> Clause:
    return listed([counted(part.name, part.atoms, part.count) for part in parts])


def _member(kind: Kind) -> Clause:
    return counted(kind.name, kind.atoms)


def compose(facts: Facts, rng: random.Random) -> list[Clause]:
    """The sentences of a caption, in order."""
    rings = facts.detailed_rings if rng.random() < 0.5 else facts.rings
    rings = rings[:4]
    head, *others = facts.kinds
    told = set(head.groups)
    opening, used, told_by_opening = _opening(facts, rings, others, rng)
    told |= told_by_opening
    sentences = [sentence(opening)]
    length = words(opening)

    whole = _whole(facts, rng)
    length += sum(words(clause) for clause in whole)
    body: list[Clause] = []
    for clause, names in _body(facts, rings, others, told, used, rng):
        if told.intersection(names) or length + words(clause) > LONGEST_CAPTION:
            continue
        told.update(names)
        body.append(sentence(clause))
        length += words(clause)
    if length < _SHORTEST_CAPTION:
        extra = _filled(rng.choice(_ELEMENTS), _parts(facts.elements[:6]))
        body.append(sentence(extra))
        length += words(extra)
    if length < _SHORTEST_CAPTION and not facts.rings:
        body.append(["It is acyclic."])
    rng.shuffle(body)
    body.sort(key=_definite)
    rng.shuffle(whole)
    tail = [sentence(clause) for clause in whole]
    return sentences + (tail + body if rng.random() < 0.2 else body + tail)


def _definite(clause: Clause) -> bool:
    """Whether a sentence takes up a ring as known ("The pyridine ring carries ..."): it follows those that name it."""
    return not clause[0].startswith("It")


def _opening(
    facts: Facts, rings: Sequence[Part], others: list[Kind], rng: random.Random
) -> tuple[Clause, set[str], set[str]]:
    """The first sentence, the topics it has used up, and the groups it has told."""
    start = _filled("The molecule is {}", _member(facts.kinds[0]))
    forms = ["plain"]
    if rings and not facts.residues:
        forms += ["rings", "rings"]
    decorated = [d for d in facts.decorated if not facts.kinds[0].groups.issuperset(p.name for p in d.substituents)]
    if decorated:
        forms += ["decorated", "decorated"]
    if others:
        forms.append("members")
    form = rng.choice(forms)
    if form == "rings":
        joint = rng.choice((" that contains ", " containing ", " built on ", " with "))
        return [*start, joint, *_parts(rings)], {"rings"}, set()
    if form == "decorated":
        chosen = rng.choice(decorated[:3])
        verb = rng.choice((" carries ", " is substituted by ", " bears "))
        ring = counted(chosen.ring.name, chosen.ring.atoms)
        substituents = chosen.substituents[:4]
        clause = [*start, " in which ", *ring, verb, *_parts(substituents)]
        return clause, {"decorated"}, {part.name for part in substituents} | {chosen.ring.name}
    if form == "members":
        members = [facts.kinds[0], *others[:2]]
        told = set().union(*(kind.groups for kind in members))
        return _filled("The molecule is {}", listed([_member(kind) for kind in members])), {"members"}, told
    return start, set(), set()


def _whole(facts: Facts, rng: random.Random) -> list[Clause]:
    """What concerns the molecule as a whole and is always said: stereo, charge, isotopes, partners."""
    clauses = []
    if facts.stereo:
        clauses.append(_filled(rng.choice(_STEREO), _parts(facts.stereo[:5])))
    if facts.charge:
        clauses.append(_filled(rng.choice(_CHARGE), _parts([facts.charge])))
    if facts.isotopes:
        clauses.append(_filled(rng.choice(_ISOTOPES), _parts(facts.isotopes[:4])))
    if facts.partners:
        partners = _parts(facts.partners[:4])
        if facts.salt_form and rng.random() < 0.5:
            clauses.append(_filled(rng.choice(_FORMS), _parts([facts.salt_form]), partners))
        else:
            clauses.append(_filled(rng.choice(_PARTNERS), partners))
    return clauses


def _body(
    facts: Facts, rings: Sequence[Part], others: list[Kind], told: set[str], used: set[str], rng: random.Random
) -> list[tuple[Clause, set[str]]]:
    """Candidate sentences, the most telling first, each with the names it would tell."""
    candidates: list[tuple[Clause, set[str]]] = []
    if facts.residues:
        candidates.append((_filled(rng.choice(_RESIDUES), _parts(facts.residues[:6])), set()))
    left = [ring for ring in rings if ring.name not in told]
    if left and "rings" not in used and not facts.residues:
        candidates.append((_filled(rng.choice(_RINGS), _parts(left)), set()))
    if "members" not in used and rng.random() < 0.3:
        members = [kind for kind in others if not kind.groups & told][:3]
        if members:
            names = set().union(*(kind.groups for kind in members))
            candidates.append((_filled(rng.choice(_MEMBERS), listed([_member(kind) for kind in members])), names))
            told = told | names
    if "decorated" not in used and not facts.residues:
        for chosen in facts.decorated[:1]:
            fresh = tuple(part for part in chosen.substituents if part.name not in told)[:4]
            if fresh and rng.random() < 0.5:
                candidates.append((_ring_sentence(chosen, fresh, rng), {part.name for part in fresh}))
                told = told | {part.name for part in fresh}
    groups = [part for part in facts.groups if part.name not in told][:5]
    for start in range(0, len(groups), 3):
        batch = groups[start : start + 3]
        candidates.append((_filled(rng.choice(_GROUPS), _parts(batch)), {part.name for part in batch}))
    chains = [part for part in facts.chains if part.name not in told][: 1 if facts.residues else 3]
    if chains:
        candidates.append((_filled(rng.choice(_CHAINS), _parts(chains)), {part.name for part in chains}))
    return candidates


def _ring_sentence(chosen: Decorated, substituents: Sequence[Part], rng: random.Random) -> Clause:
    ring: Clause = ["the ", Mention(chosen.ring.name, chosen.ring.atoms)]
    return _filled(rng.choice(_DECORATED), ring, _parts(substituents))
