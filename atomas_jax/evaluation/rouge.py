"""ROUGE-1, ROUGE-2 and ROUGE-L F-measures, equal to the `rouge_score` package without stemming.

The words are that package's; its Python table for the longest common subsequence, half the time of a whole caption
suite, is replaced by RapidFuzz's bit-parallel one. Source: Lin, ROUGE: A Package for Automatic Evaluation of
Summaries, 2004.
"""

import itertools
from collections import Counter

from rapidfuzz.distance import LCSseq
from rouge_score.tokenize import tokenize

NAMES = ("ROUGE-1", "ROUGE-2", "ROUGE-L")


def rouge(reference: str, prediction: str) -> tuple[float, float, float]:
    """The three F-measures of `NAMES`, each in [0, 1]; words are lower-cased runs of a-z and 0-9."""
    there, here = tokenize(reference, None), tokenize(prediction, None)
    pairs_there, pairs_here = (Counter(itertools.pairwise(words)) for words in (there, here))
    return (
        _f_measure((Counter(there) & Counter(here)).total(), len(there), len(here)),
        _f_measure((pairs_there & pairs_here).total(), len(there) - 1, len(here) - 1),
        _f_measure(LCSseq.similarity(there, here), len(there), len(here)),
    )


def _f_measure(shared: int, there: int, here: int) -> float:
    # 2PR / (P + R) with P = shared / here and R = shared / there.
    return 2 * shared / (there + here) if shared else 0.0
