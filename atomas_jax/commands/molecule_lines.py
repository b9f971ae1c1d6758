"""Lines that hold a molecule: a SMILES, and what follows it (a name), which is not read."""

import sys
from collections.abc import Callable


def smiles_of(line: str) -> str:
    """The SMILES of a line; empty where the line is blank."""
    return (line.split() or [""])[0]


def molecule_check() -> Callable[[str], str]:
    """A function that says why a line holds no molecule, nothing where it does. Without RDKit, said once, it takes
    all."""
    try:
        from atomas_jax.chemistry.molecules import InvalidMolecule, parse
    except ModuleNotFoundError as missing:
        print(f"molecules are not checked: {missing.name} is not installed", file=sys.stderr)
        return lambda line: ""

    def fault_of(line: str) -> str:
        try:
            parse(smiles_of(line))
        except InvalidMolecule as error:
            return str(error)
        return ""

    return fault_of
