"""How a prepared corpus becomes batches."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchConfig:
    """Batches of pairs in a few fixed shapes."""

    pairs: int = 32
    """Pairs a step, over all devices and gradient-accumulation parts together."""
    max_smiles: int = 256
    """Longest SMILES in tokens, end mark included. Pairs above are left out of training and counted: half a molecule
    is none."""
    max_text: int = 256
    """Longest text in tokens, end mark included. Longer ones are cut (without an end mark, so that nothing learns to
    stop there)."""
    shapes: int = 10
    """Pairs of padded lengths to choose from the corpus, at most; each is compiled once."""
    random_spelling: float = 0.5
    """Share of encoder inputs that are another spelling of the molecule, where the corpus has any. Targets keep the
    given one."""
    workers: int = 1
    """Threads that assemble batches ahead of the step."""
