"""`atomas caption` and `atomas generate`: one language into the other, line by line."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands import Unprefixed
from atomas_jax.commands.continued import ContinuedOutput, rejects_of
from atomas_jax.commands.lines import Line, any_lines, arriving, count_lines, sections
from atomas_jax.commands.molecule_lines import molecule_check, smiles_of
from atomas_jax.commands.writable import check_writable
from atomas_jax.config import DecodingOverrides
from atomas_jax.decoding.steering import Steering
from atomas_jax.errors import UserError

if TYPE_CHECKING:
    from atomas_jax.decoding.answers import Answer

LONGEST = 8_000
"""Characters of one input: attention over it takes memory by its square."""
FAULTS = 4_096
"""Refused lines that wait in memory at most for the answers to those before them."""


def caption(
    run: Positional[Path],
    molecules: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    checkpoint: str = "best",
    batch_size: int = 64,
    scores: bool = False,
    decoding: Annotated[DecodingOverrides, Unprefixed] = DecodingOverrides(),  # noqa: B008  (frozen)
) -> None:
    """Captions for SMILES. Output: tab-separated lines of input and caption, in input order.

    A line that is no molecule gets an empty caption, its reason goes to OUT.rejects.jsonl.

    Args:
      run: A run folder.
      molecules: SMILES, or none to read them from --file.
      file: One SMILES a line, a name may follow it; gzip'd where it ends in .gz; "-" is standard input.
      out: File to write; standard output when absent. The same command continues one that was stopped.
      checkpoint: best, latest, or a step that was kept.
      batch_size: Strings decoded together.
      scores: Add a column with the natural logarithm of the answer's probability.
    """
    _rewrite(run, "caption", molecules, file, out, checkpoint, batch_size, scores, decoding)


def generate(
    run: Positional[Path],
    texts: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    checkpoint: str = "best",
    batch_size: int = 64,
    scores: bool = False,
    decoding: Annotated[DecodingOverrides, Unprefixed] = DecodingOverrides(),  # noqa: B008  (frozen)
    steering: Annotated[Steering, Unprefixed] = Steering(),  # noqa: B008  (frozen)
) -> None:
    """SMILES for texts. Output: tab-separated lines of text and SMILES, in input order.

    Conditions on the molecules are met by trying more strings, up to the budget; how many is told at the end:

        atomas generate RUN "An analgesic." --require-smarts "C(=O)[OH]" --weight 150:250
        atomas generate RUN "A phenol." --prefix "Oc1ccc" --method sample --results 5 --budget 1000

    Args:
      run: A run folder.
      texts: Descriptions, or none to read them from --file.
      file: One description a line; gzip'd where it ends in .gz; "-" is standard input.
      out: File to write; standard output when absent. The same command continues one that was stopped.
      checkpoint: best, latest, or a step that was kept.
      batch_size: Strings decoded together.
      scores: Add a column with the natural logarithm of the answer's probability.
    """
    _rewrite(run, "generate", texts, file, out, checkpoint, batch_size, scores, decoding, steering)


def _rewrite(
    run: Path, task: str, given, file, out, checkpoint, batch_size: int, scores: bool, decoding: DecodingOverrides,
    steering: Steering | None = None,
) -> None:  # fmt: skip
    from atomas_jax.decoding.answers import NOTHING
    from atomas_jax.decoding.generate import typed
    from atomas_jax.trained import load

    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}: want 1 or more")
    if steering is not None:
        steering.check()
        steering = None if steering == Steering() else steering
    check_writable(out)
    lines, fault_of = any_lines(given, file, "inputs"), _fault_of(task)
    lines = chain([next(lines)], lines)  # what is wrong with the file is said before a model is loaded
    for string in given:
        if fault := fault_of(string):
            raise UserError(fault)
    model = load(run, checkpoint)
    chosen = model.decoding(**decoding.given())
    # by the type itself: what was begun on one kind of device is not continued in another's
    settings = asdict(chosen) | {"dtype": typed(model.config.transformer, chosen).dtype}
    header = {"command": task, "run": str(run.resolve()), "step": model.step, "scores": scores, **settings}
    options = {} if steering is None else {"steering": steering}
    if steering is not None:
        header["steering"] = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(steering).items()}
    total = count_lines(given, file)
    with ContinuedOutput(out, header) as output:
        rest = output.skip(lines)
        with progress.bar(task, total, "strings", completed=output.done) as bar:
            if output.done:
                bar.print(f"continuing {out} at input {output.done + 1:,}")

            def answers_to(strings: Iterator[str]) -> "Iterator[list[Answer]]":
                numbers = count(output.done - output.counts.get("refused", 0))
                return model.answers(
                    task,
                    strings,
                    bar.advance,
                    numbers=numbers,
                    batch_size=batch_size,
                    **options,
                    **decoding.given(),
                )

            rest = (line if line.fault else line._replace(fault=fault_of(line.string)) for line in rest)
            # a stream may be slow: what has come is answered without waiting for more
            for group in sections(rest, FAULTS) if total is not None else arriving(rest, batch_size):
                for line, answers in _in_order(group, task, answers_to):
                    if line.fault:
                        bar.advance()
                        output.refuse(line, str(file), _line(line.string, NOTHING, scores))
                        continue
                    wanted = settings["results"] if task == "generate" else len(answers)
                    counts = _counts(answers, wanted, steering is not None)
                    output.write(line, [_line(line.string, answer, scores) for answer in answers], counts)
        _report(output.counts, steering is not None, out)


def _fault_of(task: str) -> Callable[[str], str]:
    """Says why a string can be no input; an empty string where it can."""
    no_molecule = molecule_check() if task == "caption" else lambda string: ""

    def fault_of(string: str) -> str:
        if not string.strip():
            return "an input is empty"
        if len(string) > LONGEST:
            return f"{len(string):,} characters, at most {LONGEST:,} are read: {string[:57]!r}..."
        return no_molecule(string)

    return fault_of


def _subject(task: str, string: str) -> str:
    """What of a line is read: its SMILES without the name behind it, or the text."""
    return smiles_of(string) if task == "caption" else string


def _in_order(
    lines: Iterable[Line], task: str, answers_to: "Callable[[Iterator[str]], Iterator[list[Answer]]]"
) -> "Iterator[tuple[Line, list[Answer]]]":
    """Each line with its answers, with none where it has a fault: those are kept from the model."""
    waiting: deque[Line] = deque()

    def sound() -> Iterator[str]:
        for line in lines:
            waiting.append(line)
            if not line.fault:
                yield _subject(task, line.string)

    for answers in answers_to(sound()):
        while waiting[0].fault:
            yield waiting.popleft(), []
        yield waiting.popleft(), answers
    for line in waiting:
        yield line, []


def _line(string: str, answer: "Answer", scores: bool) -> str:
    # a tab in the input, as before a molecule's name, would begin another column
    line = "\t".join((string.replace("\t", " "), " ".join(answer.string.split())))
    if not scores:
        return line
    return f"{line}\t{answer.log_probability:.4f}" if answer.log_probability > float("-inf") else f"{line}\t"


def _counts(answers: "list[Answer]", wanted: int, steered: bool) -> dict[str, int]:
    """Counts of answers as the model gave them, replaced ones and missing ones; of steered ones the strings tried."""
    found = [answer for answer in answers if answer.string or not answer.replaced]
    replaced = sum(answer.replaced for answer in found)
    counts = {"kept": len(found) - replaced, "replaced": replaced, "missing": wanted - len(found)}
    return counts | ({"tried": answers[0].tried} if steered else {})


def _report(counts: dict[str, int], steered: bool, out: Path | None) -> None:
    """How many answers the model did not give by itself, if any, what it took, and how many inputs were refused."""
    if refused := counts.get("refused"):
        print(f"{refused:,} inputs were refused{f': see {rejects_of(out)}' if out else ''}", file=sys.stderr)
    total = sum(counts.get(what, 0) for what in ("kept", "replaced", "missing"))
    refused = "did not meet what was asked" if steered else "was no molecule"
    parts = [f"{counts['replaced']:,} replaced one that {refused}"] if counts.get("replaced") else []
    if counts.get("missing"):
        parts.append(f"{counts['missing']:,} are missing, for no such molecule was found")
    if parts:
        print(f"of {total:,} answers {' and '.join(parts)}", file=sys.stderr)
    if steered:
        print(f"{counts.get('tried', 0):,} strings tried for {total:,} answers", file=sys.stderr)
