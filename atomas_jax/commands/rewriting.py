"""`atomas caption` and `atomas generate`: one language into the other, line by line."""

import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.commands import Unprefixed
from atomas_jax.commands.continued import ContinuedOutput, check_writable
from atomas_jax.commands.lines import arriving, count_lines, read_lines
from atomas_jax.config import DecodingOverrides
from atomas_jax.decoding.steering import Steering
from atomas_jax.errors import UserError

if TYPE_CHECKING:
    from atomas_jax.decoding.answers import Answer


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

    Args:
      run: A run folder.
      molecules: SMILES, or none to read them from --file.
      file: One SMILES a line; "-" is standard input.
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
      file: One description a line; "-" is standard input.
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
    from atomas_jax.trained import load

    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}: want 1 or more")
    if steering is not None:
        steering.check()
        steering = None if steering == Steering() else steering
    check_writable(out)
    inputs = (string for _, string in read_lines(given, file, "inputs"))
    inputs = chain([next(inputs)], inputs)  # what is wrong with them is said before a model is loaded
    model = load(run, checkpoint)
    settings = asdict(model.decoding(**decoding.given()))
    header = {"command": task, "run": str(run.resolve()), "step": model.step, "scores": scores, **settings}
    options = {} if steering is None else {"steering": steering}
    if steering is not None:
        header["steering"] = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(steering).items()}
    total = count_lines(given, file)
    waiting: deque[str] = deque()

    def remembered(strings: Iterable[str]) -> Iterator[str]:
        for string in strings:
            waiting.append(string)
            yield string

    with ContinuedOutput(out, header) as output:
        rest = output.skip(inputs)
        with progress.bar(task, total, "strings", completed=output.done) as bar:
            if output.done:
                bar.print(f"continuing {out} at input {output.done + 1:,}")
            # a stream may be slow: what has come is answered without waiting for more
            for group in [rest] if total is not None else arriving(rest, batch_size):
                for answers in model.answers(
                    task,
                    remembered(group),
                    bar.advance,
                    first=output.done,
                    batch_size=batch_size,
                    **options,
                    **decoding.given(),
                ):
                    string = waiting.popleft()
                    wanted = settings["results"] if steering else len(answers)
                    _count(output.counts, answers, wanted, steering is not None)
                    output.write(string, [_line(string, answer, scores) for answer in answers])
        _report(output.counts, steering is not None)


def _line(string: str, answer: "Answer", scores: bool) -> str:
    line = f"{string}\t{' '.join(answer.string.split())}"
    return f"{line}\t{answer.log_probability:.4f}" if scores else line


def _count(counts: dict[str, int], answers: "list[Answer]", wanted: int, steered: bool) -> None:
    """Counts of answers as the model gave them, replaced ones and missing ones; of steered ones the strings tried."""
    found = [answer for answer in answers if answer.string or not answer.replaced]
    replaced = sum(answer.replaced for answer in found)
    here = {"kept": len(found) - replaced, "replaced": replaced, "missing": wanted - len(found)}
    if steered:
        here["tried"] = answers[0].tried
    for what, number in here.items():
        counts[what] = counts.get(what, 0) + number


def _report(counts: dict[str, int], steered: bool) -> None:
    """How many answers the model did not give by itself, if any, and what it took."""
    total = sum(counts.get(what, 0) for what in ("kept", "replaced", "missing"))
    refused = "did not meet what was asked" if steered else "was no molecule"
    parts = [f"{counts['replaced']:,} replaced one that {refused}"] if counts.get("replaced") else []
    if counts.get("missing"):
        parts.append(f"{counts['missing']:,} are missing, for no such molecule was found")
    if parts:
        print(f"of {total:,} answers {' and '.join(parts)}", file=sys.stderr)
    if steered:
        print(f"{counts.get('tried', 0):,} strings tried for {total:,} answers", file=sys.stderr)
