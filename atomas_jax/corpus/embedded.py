"""The embedded corpus: described molecules without end and without a download.

Pairs come from `chemistry.assemble` and `chemistry.describe`: a teacher with a limited vocabulary and known
phrase-to-atom truth. No result on it belongs beside results on ChEBI-20.
"""

from collections.abc import Iterator

from atomas_jax.chemistry.assemble import assemble
from atomas_jax.chemistry.describe import describe


def describe_record(smiles: str, seed: int = 0) -> dict:
    """One molecule with its caption, as a pool of processes can map it.

    Returns:
      {"smiles", "text", "phrases"}: phrases [[start, end, [atoms]], ...] over the characters of the text and the atoms
      of `smiles` in the order of the string.

    Raises:
      InvalidMolecule: with the reason, for a string that is no molecule.
    """
    description = describe(smiles, seed)
    phrases = [[phrase.start, phrase.end, list(phrase.atoms)] for phrase in description.phrases]
    return {"smiles": smiles, "text": description.text, "phrases": phrases}


def embedded_pairs(count: int, seed: int = 0) -> Iterator[dict]:
    """`count` distinct molecules with their captions: {"id", "smiles", "text", "phrases", "source"}, source "embedded".

    The same seed gives the same pairs; a smaller count gives the first of them. Raises `UserError` at once for a count
    that cannot be made.
    """
    molecules = assemble(count, seed)
    return (
        {"id": f"embedded-{seed}-{number}", **describe_record(smiles, seed), "source": "embedded"}
        for number, smiles in enumerate(molecules)
    )
