"""From strings written to what the user gets: candidates ranked, those that are no molecules replaced."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, tee
from typing import NamedTuple

import numpy as np

from atomas_jax.decoding.generate import Written
from atomas_jax.decoding.settings import DecodingConfig

REDRAWS = (8, 64, 64)
"""Samples drawn, round after round, for an input whose candidates are too few valid ones: as the settings have it, from
the model's whole distribution, and from all that the constraint allows alike."""
LOT = 8
"""Further samples of an input are written so many at a time."""
LOTS = 8
"""Lots written together, several of an input where inputs are few: one shape, so one program to compile."""

_FLAT = 1e4
"""Temperature at which all that may follow is as probable."""


class Answer(NamedTuple):
    """One string for one input."""

    string: str
    """Empty where a valid one was demanded and none was found among all that were drawn."""
    log_probability: float
    """Of the string under the model, natural logarithm."""
    score: float
    """What the answers of an input were ordered by: of the method, or the agreement with the input (`rerank`)."""
    finished: bool
    """False where the string was cut at the greatest length."""
    replaced: bool = False
    """Whether it stands for a candidate that was refused."""
    tried: int = 0
    """Strings looked at for the input until its answers were together, further samples by the lot; of all its answers
    the same."""


NOTHING = Answer("", float("-inf"), float("-inf"), finished=False, replaced=True)
"""For an input that none of all draws gave a valid string for."""


def _nobody(count: int) -> None:
    """Is told of progress."""


@dataclass(frozen=True)
class Chooser:
    """Chooses among candidates, a group of inputs at a time."""

    settings: DecodingConfig
    write: Callable[..., Iterator[Written]]
    """Strings for inputs: called with (inputs, their numbers, settings, and for progress as `generate`), and of further
    samples with (inputs, their numbers, settings, samples=the number of each one's first)."""
    spell: Callable[[list[int]], str]
    """Tokens to a string."""
    accept: Callable[[str], bool] | None = None
    """Whether a string may be given; None takes all."""
    agreement: Callable[[Sequence[tuple[object, str]]], np.ndarray] | None = None
    """How well inputs and strings go together, float32 [pairs]; None keeps the method's order."""
    budget: int | None = None
    """Strings tried for an input at most, its candidates counted; None is all of `REDRAWS` beside the candidates."""

    def answers(
        self, inputs: Iterable, numbers: Iterable[int], group: int, largest: int | None = None, on_progress=None
    ) -> Iterator[list[Answer]]:
        """`settings.results` answers an input, in input order. Fewer where no more strings are found, but never none.

        `numbers` name the inputs' random numbers. Inputs are chosen for `group` at a time, then for twice as many, up
        to `largest` (`group` by itself): the more there are, the fuller the batches of further samples.
        """
        # the writer reads ahead of what it yields, and the inputs are wanted again here
        named, items, names = tee(zip(inputs, numbers), 3)
        # what takes time is the writing; on a budget it is the further samples, so that an input is done when chosen
        while_writing, when_chosen = (on_progress, None) if self.budget is None else (None, on_progress)
        written = self.write((item for item, _ in items), (name for _, name in names), self.settings, while_writing)
        while chunk := list(islice(written, group)):
            here, numbered = zip(*islice(named, len(chunk)))
            yield from self._chosen(here, numbered, chunk, when_chosen or _nobody)
            group = min(2 * group, largest or group)

    def _chosen(self, inputs: Sequence, numbers: Sequence[int], written: list[Written], progress) -> list[list[Answer]]:
        wanted = self.settings.results
        candidates = self._ranked(inputs, written)
        if self.accept is None:
            progress(len(inputs))
            return [[a._replace(tried=len(answers)) for a in answers[:wanted]] for answers in candidates]
        # a candidate from behind the first `wanted` comes in only where one of those was refused
        marked = [[a._replace(replaced=i >= wanted) for i, a in enumerate(answers)] for answers in candidates]
        chosen = [self._good(answers)[:wanted] for answers in marked]
        tried = [len(answers) for answers in candidates]
        progress(sum(len(answers) == wanted for answers in chosen))
        for round_, draws, lots in self._lots(chosen):
            for (i, first), strings in zip(lots, self._drawn(inputs, numbers, lots, round_)):
                # what was drawn ahead and is not needed is as if it had not been
                if first < draws and len(chosen[i]) < wanted:
                    counted = min(LOT, draws - first)
                    (answers,) = self._ranked([inputs[i]], [strings], counted)
                    further = [a._replace(replaced=True) for a in answers]
                    chosen[i] += self._good(further, chosen[i])[: wanted - len(chosen[i])]
                    tried[i] += counted
                    progress(int(len(chosen[i]) == wanted))
                    if all(len(answers) == wanted for answers in chosen):
                        break
        progress(sum(len(answers) < wanted for answers in chosen))
        return [
            [a._replace(tried=strings) for a in answers or [NOTHING]]
            for answers, strings in zip(chosen, tried, strict=True)
        ]

    def _lots(self, chosen: list[list[Answer]]) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
        """What to draw next for those with too few answers, until there are none: a round, its samples, and lots of
        them (which input, first sample)."""
        for round_, draws in enumerate(REDRAWS if self.budget is None else (self.budget - self.settings.written,), 1):
            first = 0
            while first < draws:
                short = [i for i, answers in enumerate(chosen) if len(answers) < self.settings.results]
                if not short:
                    return
                firsts = range(first, first + LOT * max(1, LOTS // len(short)), LOT)
                yield round_, draws, [(i, each) for each in firsts for i in short]
                first = firsts.stop

    def _drawn(
        self, inputs: Sequence, numbers: Sequence[int], lots: list[tuple[int, int]], round_: int
    ) -> Iterator[Written]:
        """The strings of lots: draws of their own for every round, input and sample, whatever else is in the list."""
        settings = replace(self._redrawn(round_), results=LOT, candidates=0, seed=self.settings.seed + (round_ << 24))
        filled = lots + lots[-1:] * (-len(lots) % LOTS)
        which, firsts = zip(*filled)
        return self.write([inputs[i] for i in which], [numbers[i] for i in which], settings, samples=firsts)

    def _redrawn(self, round_: int) -> DecodingConfig:
        """How the samples of a round are drawn: where molecules have to be valid, under the constraint. Without a
        budget each round is less the model's than the one before, so that one finds what the model does not."""
        settings = replace(self.settings, method="sample", constrained=self.settings.constrained or self.settings.valid)
        if round_ == 1 or self.budget is not None:
            return settings
        temperature = _FLAT if round_ == len(REDRAWS) else max(settings.temperature, 1.0)
        return replace(settings, temperature=temperature, top_k=0, top_p=1.0, min_p=0.0)

    def _good(self, candidates: list[Answer], chosen: Sequence[Answer] = ()) -> list[Answer]:
        """Those that are accepted; where the method's strings all differ, the first of equal ones, not chosen yet:
        several sequences of tokens may spell one string."""
        good = [a for a in candidates if self.accept(a.string)]
        if self.settings.method in ("greedy", "sample"):
            return good
        known, different = {a.string for a in chosen}, {}
        for a in good:
            if a.string not in known:
                different.setdefault(a.string, a)
        return list(different.values())

    def _ranked(self, inputs: Sequence, written: list[Written], most: int | None = None) -> list[list[Answer]]:
        """The strings written, `most` an input, the best first."""
        candidates = [
            [
                Answer(self.spell(tokens), *rest)
                for tokens, *rest in islice(zip(w.tokens, w.log_probability, w.score, w.finished, strict=True), most)
            ]
            for w in written
        ]
        if self.agreement is None:
            return candidates
        pairs = [(item, a.string) for item, answers in zip(inputs, candidates, strict=True) for a in answers]
        scores = iter(self.agreement(pairs).tolist())
        rescored = [[a._replace(score=next(scores)) for a in answers] for answers in candidates]
        return [sorted(answers, key=lambda a: -a.score) for answers in rescored]
