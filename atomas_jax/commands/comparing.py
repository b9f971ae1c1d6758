"""`atomas compare`: two evaluations, side by side."""

import sys
from pathlib import Path

from tyro.conf import Positional

from atomas_jax.commands.writable import check_writable
from atomas_jax.errors import UserError


def compare(
    a: Positional[Path],
    b: Positional[Path],
    split: str = "test",
    tasks: tuple[str, ...] = (),
    system_a: str = "model",
    system_b: str = "model",
    seed: int = 0,
    json: bool = False,
    out: Path | None = None,
) -> int:
    """Is B better than A? Paired differences with 95 % bootstrap intervals, of results that were measured alike.

    What was measured by another protocol, tokenizer, pool, rule or on other data is refused with the reason, and the
    exit code is 2; tasks that may be compared are compared all the same.

    Args:
      a: A run folder, the folder of an evaluation, or its results.json.
      b: Another.
      split: Of a run: the split whose evaluation is meant.
      tasks: Only these: Captions, Molecules, "Text to molecule", "Molecule to text".
      system_a: The system of A; "another row", "nearest training pair" and "chance" are the floors.
      system_b: The system of B.
      seed: Of the resamples.
      json: Print JSON instead of tables.
      out: A file to write the JSON to.
    """
    from atomas_jax.evaluation import comparison
    from atomas_jax.files import write_json

    check_writable(out)
    one, other = (comparison.load(path, split) for path in (a, b))
    found, refused = comparison.compare_results(one, other, (system_a, system_b), tasks, seed)
    names = tuple(str(path) if s == "model" else f"{path}: {s}" for path, s in ((a, system_a), (b, system_b)))
    body = comparison.as_json(found, refused, names)
    if out is not None:
        write_json(out, body)
    if json:
        import json as text

        print(text.dumps(body, indent=2, ensure_ascii=False))
    elif found:
        print(f"A: {names[0]}\nB: {names[1]}")
        comparison.print_comparisons(found)
    if not found:
        raise UserError("may not be compared: " + "; ".join(f"{task}: {why}" for task, why in refused.items()))
    for task, why in refused.items():
        print(f"atomas compare: {task} may not be compared: {why}", file=sys.stderr)
    return 2 if refused else 0
