"""What is measured of a trained model, and how."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EvaluationConfig:
    """What `atomas evaluate` does with a trained model."""

    split: str = "test"
    """Split of the corpus that is evaluated on."""
    limit: int = 0
    """Rows of it, a fixed sample drawn with `seed` and named in the output; 0 takes all."""
    retrieval_limit: int = 0
    """Rows that search each other, drawn likewise; 0 takes all."""
    seed: int = 0
    """Of the samples, the random floor and the bootstrap."""
    protocol: Literal["plain", "molt5", "molregpt", "biot5plus", "lpm24"] = "plain"
    """How metrics are computed (`atomas protocols`); all but `plain` need `vocabulary`."""
    vocabulary: str = ""
    """The file of the protocol's tokenizer: SciBERT's WordPieces, T5's spiece.model for molregpt; that of
    `atomas assets` when empty."""
    wordnet: str = ""
    """A folder of NLTK data that holds corpora/wordnet. Empty: that of `atomas assets`, but none by `plain`. "none", or
    where there is no WordNet: METEOR does without synonyms, and says so."""
    ranking: Literal["split", "in-batch64", "text2mol33k", "pcdes", "pcdes-batch64", "pcdes-scaffold"] = "split"
    """What rankings are among and which R@k they give (`evaluation.ranking_protocols`)."""
    pool: str = ""
    """More molecules to rank among, FILE[,smiles=COLUMN,...] of SMILES; with text=COLUMN texts too. Rows that are the
    queries' own are not counted twice, so that a file of all splits may be given."""
    positives: Literal["own", "molecule", "twins"] = "own"
    """What counts as found: the query's own row, any row of the same molecule, or of its stereo twins too."""
    fcd: bool = False
    """Measure the Fréchet ChemNet distance of generated molecules too: needs the extra `fcd`, 1,000 molecules, time."""
    floors: bool = True
    """Put the captions of a random row and of the nearest training molecule beside the model's."""
    spellings: int = 0
    """Rows whose molecules are captioned again in other spellings (RDKit-canonical, random, kekulised, explicit
    hydrogens), drawn likewise from those evaluated; 0: none."""
