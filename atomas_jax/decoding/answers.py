"""From strings written to what the user gets: candidates ranked, those that are no molecules replaced."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import NamedTuple

import numpy as np

from atomas_jax.decoding.generate import Written
from atomas_jax.decoding.settings import DecodingConfig

REDRAWS = (8, 64, 64)
"""Samples drawn, round after round, for an input whose candidates are too few valid ones: as the settings have it, from
the model's whole distribution, and from all that the constraint allows alike."""

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
    """Strings written for the input until its answers were together; of all its answers the same."""


NOTHING = Answer("", float("-inf"), float("-inf"), finished=False, replaced=True)
"""For an input that none of all draws gave a valid string for."""


def _nobody(count: int) -> None:
    """Is told of progress."""


@dataclass(frozen=True)
class Chooser:
    """Chooses among candidates, a group of inputs at a time."""

    settings: DecodingConfig
    write: Callable[..., Iterator[Written]]
    """Strings for inputs: called with (inputs, their numbers, settings, and for progress as `generate`)."""
    spell: Callable[[list[int]], str]
    """Tokens to a string."""
    accept: Callable[[str], bool] | None = None
    """Whether a string may be given; None takes all."""
    agreement: Callable[[Sequence[tuple[object, str]]], np.ndarray] | None = None
    """How well inputs and strings go together, float32 [pairs]; None keeps the method's order."""
    budget: int | None = None
    """Strings written for an input at most, its candidates counted; None is all of `REDRAWS` beside the candidates."""

    def answers(self, inputs: Iterable, first: int, group: int, on_progress=None) -> Iterator[list[Answer]]:
        """`settings.results` answers an input, in input order; inputs count from `first`. Fewer where no more strings
        are found, but never none."""
        # the writer reads ahead of what it yields, and the inputs are wanted again here
        waiting: list = []

        def remembered():
            for item in inputs:
                waiting.append(item)
                yield item

        # what takes time is the writing; on a budget it is the further samples, so that an input is done when chosen
        while_writing, when_chosen = (on_progress, None) if self.budget is None else (None, on_progress)
        written = self.write(remembered(), count(first), self.settings, while_writing)
        while chunk := list(islice(written, group)):
            here, waiting[: len(chunk)] = waiting[: len(chunk)], []
            yield from self._chosen(here, list(range(first, first + len(chunk))), chunk, when_chosen or _nobody)
            first += len(chunk)

    def _chosen(self, inputs: list, numbers: list[int], written: list[Written], progress) -> list[list[Answer]]:
        wanted = self.settings.results
        candidates = self._ranked(inputs, written)
        if self.accept is None:
            progress(len(inputs))
            return [[a._replace(tried=len(answers)) for a in answers[:wanted]] for answers in candidates]
        # a candidate from behind the first `wanted` comes in only where one of those was refused
        marked = [[a._replace(replaced=i >= wanted) for i, a in enumerate(answers)] for answers in candidates]
        chosen = [[a for a in answers if self.accept(a.string)][:wanted] for answers in marked]
        tried = [len(answers) for answers in candidates]
        short = list(range(len(inputs)))
        for round_, (draws, counted) in enumerate(self._redraws(), 1):
            now_short = [i for i, answers in enumerate(chosen) if len(answers) < wanted]
            progress(len(short) - len(now_short))
            short = now_short
            if not short:
                break
            # draws of their own for every round and input, whatever else is in the list
            settings = replace(
                self._redrawn(round_), results=draws, candidates=0, seed=self.settings.seed + (round_ << 24)
            )
            again = list(self.write([inputs[i] for i in short], [numbers[i] for i in short], settings))
            for i, answers in zip(short, self._ranked([inputs[i] for i in short], again, counted), strict=True):
                chosen[i] += self._further(chosen[i], answers)[: wanted - len(chosen[i])]
                tried[i] += counted
        progress(len(short))
        return [
            [a._replace(tried=strings) for a in answers or [NOTHING]]
            for answers, strings in zip(chosen, tried, strict=True)
        ]

    def _redrawn(self, round_: int) -> DecodingConfig:
        """How the samples of a round are drawn: where molecules have to be valid, under the constraint. Without a
        budget each round is less the model's than the one before, so that one finds what the model does not."""
        settings = replace(self.settings, method="sample", constrained=self.settings.constrained or self.settings.valid)
        if round_ == 1 or self.budget is not None:
            return settings
        temperature = _FLAT if round_ == len(REDRAWS) else max(settings.temperature, 1.0)
        return replace(settings, temperature=temperature, top_k=0, top_p=1.0, min_p=0.0)

    def _redraws(self) -> Iterator[tuple[int, int]]:
        """Samples of each further round, and how many of them count: those of `REDRAWS`, the last of them again and
        again while a budget lasts. Rounds of few sizes, for each is a program to compile."""
        if self.budget is None:
            yield from zip(REDRAWS, REDRAWS)
            return
        left, sizes = self.budget - self.settings.written, iter(REDRAWS)
        while left > 0:
            draws = next(sizes, REDRAWS[-1])
            yield draws, min(draws, left)
            left -= draws

    def _further(self, chosen: list[Answer], drawn: list[Answer]) -> list[Answer]:
        """The valid ones of more samples; where the method's strings all differ, those not chosen yet."""
        good = [a._replace(replaced=True) for a in drawn if self.accept(a.string)]
        if self.settings.method in ("greedy", "sample"):
            return good
        known = {a.string for a in chosen}
        return list({a.string: a for a in good if a.string not in known}.values())

    def _ranked(self, inputs: list, written: list[Written], most: int | None = None) -> list[list[Answer]]:
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
