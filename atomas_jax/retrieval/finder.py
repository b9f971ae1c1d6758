"""Questions to an index and their answers: texts or molecules in, hits out, with all a chemist wants to know of them.

Letters: Q questions, E embedding width, N rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from atomas_jax.chemistry.fingerprints import morgan, tanimoto
from atomas_jax.chemistry.molecules import canonical_smiles
from atomas_jax.decoding.rerank import agreement
from atomas_jax.errors import UserError
from atomas_jax.retrieval.approximate import Engine, engine_of
from atomas_jax.retrieval.calibration import calibration_of
from atomas_jax.retrieval.conditions import Conditions
from atomas_jax.retrieval.index import Index
from atomas_jax.retrieval.search import Hits, nearest
from atomas_jax.trained import TrainedModel

LONGEST_TEXT = 10_000
"""Characters of a text that is asked."""
MOST_HITS = 10_000
DEEP = 1024
"""Hits looked at one by one for a substructure; where these do not hold enough, every molecule is looked at."""
AGAINST = 0.5
"""What a text that is not wanted counts beside the one that is."""
INTERACTION = 0.5
"""What the interaction of tokens counts in the second stage; the cosine of the whole strings has the rest."""


@dataclass(frozen=True)
class Question:
    """A text that describes molecules, or a molecule whose like are sought; `but_not`: texts that do not describe
    them. Raises UserError for none, both, or a text that is empty or too long."""

    text: str = ""
    smiles: str = ""
    but_not: tuple[str, ...] = ()

    def __post_init__(self):
        given = bool(self.text.strip()) + bool(self.smiles.strip())
        if given != 1:
            raise UserError(f"a question is a text or a molecule: this one is {'both' if given else 'empty'}")
        for text in (self.text, *self.but_not):
            if len(text) > LONGEST_TEXT:
                raise UserError(f"the text has {len(text):,} characters; at most {LONGEST_TEXT:,} are read")
        if any(not text.strip() for text in self.but_not):
            raise UserError("a text that is not wanted is empty")

    @property
    def words(self) -> str:
        return self.text or self.smiles


@dataclass(frozen=True)
class SearchSettings:
    """How to search."""

    k: int = 10
    """Hits of a question."""
    rerank: int = 0
    """Hits of the first stage that are ranked again by the interaction of their tokens with the text's, before the
    rest, which stay in their order; 0: none."""
    twins: bool = False
    """Give stereo twins as hits of their own, not as one hit with twins."""
    exact: bool = False
    """Look at every row, though the index has an approximate engine."""
    answer_always: bool = False
    """Give hits where nothing matches."""

    def __post_init__(self):
        if not 1 <= self.k <= MOST_HITS:
            raise UserError(f"-k is {self.k}: want 1 to {MOST_HITS:,}")
        if not 0 <= self.rerank <= MOST_HITS:
            raise UserError(f"--rerank is {self.rerank}: want 0 to {MOST_HITS:,}")


@dataclass(frozen=True)
class Hit:
    """A molecule found. `cosine` with the question; `score` it was ranked by: the same unless texts were not wanted,
    the hits were reranked, or several runs ranked (see `ensemble`); `probability` that it is the molecule meant (see
    `calibration`), None where that is not known; `similarity`: Tanimoto of Morgan counts with a reference molecule;
    `row`: columns of the index; `twins`: canonical SMILES of its stereo twins that were found behind it."""

    number: int
    score: float
    cosine: float
    probability: float | None
    similarity: float | None
    row: dict
    twins: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """`hits`, best first. `nothing`: the best cosine is one that texts without a molecule here have: nothing here
    matches, and there are no hits unless they were asked for always."""

    question: Question
    hits: list[Hit] = field(default_factory=list)
    nothing: bool = False


class Finder:
    """Asks one index with the model that made it, under conditions.

    Raises UserError where the model did not make the index.
    """

    def __init__(self, index: Index, model: TrainedModel):
        index.check_model(model)
        self.index, self.model = index, model
        self._calibration = calibration_of(index)
        self._engine: Engine | None = None

    def find(
        self,
        questions: Sequence[Question],
        settings: SearchSettings = SearchSettings(),
        conditions: Conditions = Conditions(),  # noqa: B008  (looks at no row, so remembers none)
        similar_to: str = "",
    ) -> list[Answer]:
        """Answers in the order of the questions; `similar_to`: a molecule to compare hits with; a question's own when
        empty."""
        asked, wanted = self.vectors(questions)
        mask = conditions.mask(self.index)
        found = self._candidates(wanted, max(settings.rerank, settings.k), mask, conditions, settings)
        return [
            self.answer(question, vector, groups, np.array(scores), settings, similar_to)
            for question, vector, (groups, scores) in zip(questions, asked, found)
        ]

    def answer(
        self,
        question: Question,
        vector: np.ndarray,
        groups: Sequence[Sequence[int]],
        scores: np.ndarray,
        settings: SearchSettings,
        similar_to: str = "",
    ) -> Answer:
        """The answer that groups of row numbers (a hit, then its twins) with their scores make, the best first;
        `vector` [E] is what is asked."""
        numbers = np.array([group[0] for group in groups], np.int64)
        cosines = self.index.rows.take(numbers) @ vector
        rows = [self.index.rows.at(int(number)) for number in numbers]
        order = np.arange(len(rows))
        if settings.rerank and question.text and rows:
            again = self.rerank(question.text, rows[: settings.rerank], scores[: settings.rerank])
            order[: len(again)] = np.argsort(-again, kind="stable")
            scores = np.concatenate([again, scores[len(again) :]])
        threshold = self._calibration.threshold if self._calibration and question.text else -np.inf
        nothing = not rows or float(cosines.max()) < threshold
        against = similar_to or question.smiles
        reference = morgan(against) if against else None
        hits = [
            Hit(
                int(numbers[i]),
                float(scores[i]),
                float(cosines[i]),
                self._probability(question, float(cosines[i])),
                tanimoto(reference, morgan(rows[i]["canonical"])) if reference else None,
                rows[i],
                tuple(self.index.rows.at(twin)["canonical"] for twin in groups[i][1:]),
            )
            for i in order[: settings.k]
        ]
        return Answer(question, [] if nothing and not settings.answer_always else hits, nothing)

    def vectors(self, questions: Sequence[Question]) -> tuple[np.ndarray, np.ndarray]:
        """Unit vectors [Q, E] of what is asked, and of what is wanted once the texts not wanted are taken off."""
        texts = list(dict.fromkeys(text for q in questions for text in (q.text, *q.but_not) if text))
        molecules = list(dict.fromkeys(canonical_smiles(q.smiles) for q in questions if q.smiles))
        of_text = dict(zip(texts, self.model.embed_text(texts))) if texts else {}
        of_molecule = dict(zip(molecules, self.model.embed_molecules(molecules))) if molecules else {}
        asked = [of_text[q.text] if q.text else of_molecule[canonical_smiles(q.smiles)] for q in questions]
        wanted = [v - AGAINST * sum(of_text[text] for text in q.but_not) for v, q in zip(asked, questions)]
        asked, wanted = (np.array(each, np.float32) for each in (asked, wanted))
        return asked, wanted / np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-12)

    def rerank(self, text: str, rows: Sequence[dict], scores: np.ndarray) -> np.ndarray:
        """Scores of the second stage: the weighted token interaction of the three levels with the first stage's."""
        tokenizer = self.model.tokenizer
        smiles = [tokenizer.encode_smiles(row["canonical"]) for row in rows]
        agree = agreement(
            self.model.params, self.model.config, smiles, [tokenizer.encode_text(text)] * len(smiles), by="tokens"
        )
        return (1 - INTERACTION) * scores + INTERACTION * agree

    def _candidates(self, wanted, count: int, mask, conditions: Conditions, settings: SearchSettings):
        """For each question groups of row numbers, a hit and its twins, and their scores; `count` groups or all."""
        left, sifted = int(mask.sum()), False
        depth, results = min(2 * count, max(left, 1)), [([], [])] * len(wanted)
        open_ = np.arange(len(wanted))
        while True:
            hits = self._nearest(wanted[open_], depth, mask, settings)
            for place, index, score in zip(open_, hits.index, hits.score):
                results[place] = self.grouped(index.tolist(), score.tolist(), conditions, settings.twins)
            # the last group may have twins further down: one more must have begun
            open_ = np.array([q for q in open_ if len(results[q][0]) <= count], np.int64)
            if not len(open_) or depth >= left:
                return [(groups[:count], scores[:count]) for groups, scores in results]
            depth = min(8 * depth, left)
            if conditions.structure and not sifted and depth > DEEP:
                mask, sifted = conditions.with_structure(self.index, mask), True
                left = int(mask.sum())
                depth = min(2 * count, max(left, 1))

    def _nearest(self, wanted: np.ndarray, depth: int, mask: np.ndarray, settings: SearchSettings) -> Hits:
        if settings.exact or not self.index.manifest["approximate"]:
            return nearest(wanted, self.index.rows, depth, mask)
        self._engine = self._engine or engine_of(self.index)
        return self._engine.nearest(wanted, self.index.rows, depth, mask)

    def grouped(
        self, index: Sequence[int], score: Sequence[float], conditions: Conditions, apart: bool
    ) -> tuple[list[list[int]], list[float]]:
        """Ranked rows that meet conditions on substructures as groups, stereo twins in one unless `apart`, and the
        best score of each."""
        groups: dict[str, list[int]] = {}
        scores: list[float] = []
        for number, value in zip(index, score):
            if number < 0 or not conditions.has_structure(self.index, number):
                continue
            row = self.index.rows.at(number)
            members = groups.setdefault(row["key"] if apart else row["flat_key"], [])
            if not members:
                scores.append(value)
            members.append(number)
        return list(groups.values()), scores

    def _probability(self, question: Question, cosine: float) -> float | None:
        known = self._calibration and question.text and not question.but_not
        return float(self._calibration.probability(cosine)) if known else None
