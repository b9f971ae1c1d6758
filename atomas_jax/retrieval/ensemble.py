"""Several runs asked as one: each ranks the library by its own index, and the ranks are added.

Source: the ensemble of Text2Mol (Edwards et al., EMNLP 2021), which adds ranks because cosines of different models are
no common measure.
"""

from collections.abc import Sequence

import numpy as np

from atomas_jax.errors import UserError
from atomas_jax.retrieval.conditions import Conditions
from atomas_jax.retrieval.finder import Answer, Finder, Question, SearchSettings


def find_together(
    finders: Sequence[Finder],
    questions: Sequence[Question],
    settings: SearchSettings = SearchSettings(),  # noqa: B008  (frozen)
    conditions: Conditions = Conditions(),  # noqa: B008  (looks at no row, so remembers none)
    similar_to: str = "",
) -> list[Answer]:
    """`Finder.find` by several runs: hits are molecules all their indices hold, the least sum of ranks first.

    Every row is looked at. Equal sums stand in the order of the first finder, whose cosines, columns, conditions and
    calibration are those of the answers; `Hit.score` is minus the sum of ranks.

    Raises:
      UserError: the indices have no molecule in common that meets the conditions.
    """
    first = finders[0]
    numbers = _common(finders, conditions)
    if not numbers.shape[1]:
        raise UserError("the indices have no molecule in common that meets the conditions")
    asked, of_first = _ranked(first, numbers[0], questions)
    totals = sum((_ranked(finder, own, questions)[1] for finder, own in zip(finders[1:], numbers[1:])), of_first)
    names = first.index.rows.column("key" if settings.twins else "flat_key").take(numbers[0]).to_pylist()
    seen: dict[str, int] = {}
    group_of = np.array([seen.setdefault(name, len(seen)) for name in names])
    answers = []
    for question, vector, ranks, total in zip(questions, asked, of_first, totals):
        order = np.lexsort((ranks, total))
        order = order[_leading(first, numbers[0][order], group_of[order], conditions, settings.k)]
        groups, scores = first.grouped(numbers[0][order].tolist(), (-total[order]).tolist(), conditions, settings.twins)
        answers.append(first.answer(question, vector, groups, np.array(scores), settings, similar_to))
    return answers


def _common(finders: Sequence[Finder], conditions: Conditions) -> np.ndarray:
    """int64 [finders, n]: the row numbers of the same molecules in every index."""
    first = finders[0].index
    numbers = np.flatnonzero(conditions.mask(first))
    keys = first.rows.column("key").take(numbers).to_pylist()
    columns = [dict(zip(keys, numbers.tolist()))]
    for finder in finders[1:]:
        left = np.flatnonzero(finder.index.alive)
        columns.append(dict(zip(finder.index.rows.column("key").take(left).to_pylist(), left.tolist())))
    shared = [key for key in keys if all(key in column for column in columns)]
    return np.array([[column[key] for key in shared] for column in columns], np.int64)


def _ranked(finder: Finder, numbers: np.ndarray, questions: Sequence[Question]) -> tuple[np.ndarray, np.ndarray]:
    """What is asked [Q, E], and the ranks int32 [Q, n] of the rows for each question."""
    asked, wanted = finder.vectors(questions)
    vectors = finder.index.rows.take(numbers)
    return asked, np.stack([_ranks(vectors @ vector) for vector in wanted])


def _leading(
    finder: Finder, numbers: np.ndarray, group_of: np.ndarray, conditions: Conditions, count: int
) -> np.ndarray:
    """bool [n]: the ranked rows of the first `count` groups that meet the conditions, twins far behind too."""
    begun: set[int] = set()
    for number, group in zip(numbers, group_of):
        if len(begun) == count:
            break
        if group not in begun and conditions.has_structure(finder.index, int(number)):
            begun.add(int(group))
    return np.isin(group_of, list(begun))


def _ranks(cosines: np.ndarray) -> np.ndarray:
    """1 for the highest; of equal ones the first."""
    ranks = np.empty(len(cosines), np.int32)
    ranks[np.argsort(-cosines, kind="stable")] = np.arange(1, len(cosines) + 1)
    return ranks
