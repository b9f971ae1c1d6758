"""Ways of ranking, by name: what is ranked among, and which cut-offs are reported.

A rank means nothing without its pool. Everything else is the same in all: cosine (or the scores that are given), rank
1 is best, a tie counts as the mean of the ranks it spans, both directions, R@k, MRR, mean and median rank. Where the
field's own scripts break ties by position, theirs may be better or worse than ours on equal scores, never otherwise.
"""

from dataclasses import dataclass

from atomas_jax.errors import UserError

POSITIVES = {
    "own": "the query's own row",
    "molecule": "every row of the same molecule",
    "twins": "every row of the same molecule, stereo aside",
}
"""What counts as found, by name: rows of the pool that are right for a query. The best of them is ranked and the others
do not stand before it."""


@dataclass(frozen=True)
class RankingProtocol:
    """One row of `RANKINGS`.

    `pool` names the candidates in the stamp; `batch` > 0: queries are ranked within consecutive batches of that many
    rows (the last is smaller); `distractors`: the pool must hold more molecules than the queries' own.
    """

    name: str
    about: str
    pool: str
    cutoffs: tuple[int, ...] = (1, 5, 10, 50)
    batch: int = 0
    distractors: bool = False


RANKINGS: dict[str, RankingProtocol] = {
    one.name: one
    for one in (
        RankingProtocol("split", "all rows of one split, as ORMA's released evaluator ranks", "split"),
        RankingProtocol("in-batch64", "64 consecutive rows at a time", "in-batch 64", (1, 5, 10), 64),
        RankingProtocol(
            "text2mol33k",
            "Text2Mol (Edwards et al., EMNLP 2021): texts of the test split among the molecules of all splits of "
            "ChEBI-20, 33,010; molecules among the texts at hand. Its script ranks the later row first among equals",
            "text2mol33k",
            (1, 5, 10, 50, 100, 500, 1000),
            distractors=True,
        ),
        RankingProtocol(
            "pcdes",
            "KV-PLM (Zeng et al., 2022), whole set: all 3,000 rows of PCdes' ordered test split",
            "pcdes, whole test split",
            (1, 5, 10, 20),
        ),
        RankingProtocol(
            "pcdes-batch64",
            "KV-PLM, MoMu, MolCA: R@1 within consecutive batches of 64 of the 3,000 test rows, their 'accuracy'",
            "pcdes, in-batch 64",
            (1, 5, 10),
            64,
        ),
        RankingProtocol(
            "pcdes-scaffold",
            "MolFM, OpenBioMed: the whole test split of a 70/10/20 scaffold split; no reranking",
            "pcdes, whole scaffold test split",
            (1, 5, 10),
        ),
    )
}


def ranking_protocol(name: str) -> RankingProtocol:
    """The ranking protocol of that name. Raises `UserError` naming those there are."""
    if name not in RANKINGS:
        raise UserError(f"no ranking '{name}'; there are: {', '.join(RANKINGS)}")
    return RANKINGS[name]
