"""How a prepared corpus becomes batches."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BatchConfig:
    """Batches of pairs, all of one shape."""

    pairs: int = 32
    """Pairs a step, over all devices and gradient-accumulation parts together."""
    max_smiles: int = 256
    """Longest SMILES in tokens, end mark included. Pairs above are left out of training and counted: half a molecule
    is none."""
    max_text: int = 256
    """Longest text in tokens, end mark included. Longer ones are cut (without an end mark, so that nothing learns to
    stop there)."""
    blocks: int = 6
    """Padded lengths a batch is made of at most, on each side: more leave less padding and take longer to compile."""
    unit: int = 0
    """Strings of a block come in multiples of this, which training.accumulate x devices that split the pairs must
    divide: it fixes the meshes a run may ever move to. More leaves more padding. 0: the largest divisor of the pairs
    that is at most a 32nd of them, so 1 up to 63 pairs, which is for one device."""
    random_spelling: float = 0.5
    """Share of encoder inputs whose spelling is drawn from all that the corpus has of the molecule, the given one
    included. Targets keep the given one."""
    workers: int = 1
    """Threads that assemble batches ahead of the step; 0 assembles each when it is asked for."""
