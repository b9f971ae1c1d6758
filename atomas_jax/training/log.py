"""The run's log: JSON lines as the truth, TensorBoard events beside them."""

import json
import math
import time

from atomas_jax.errors import UserError
from atomas_jax.files import write_whole
from atomas_jax.run_folder import RunFolder

_GOES_ON = "and the same command goes on from the last checkpoint"


class Log:
    """Appends lines {"step", "kind", "time", name: value ...} to log.jsonl.

    Only the first process of a job has one that writes. A resumed run passes the step it restarts from: lines after
    it are dropped, for they will be written again.
    """

    def __init__(self, run: RunFolder, resume_step: int, tensorboard: bool, writes: bool = True):
        self._file = self._events = None
        if not writes:
            return
        if run.log.exists():
            kept = [line for line in run.log.read_text(encoding="utf-8").splitlines() if _step(line) <= resume_step]
            write_whole(run.log, "".join(line + "\n" for line in kept))
        self._path = run.log
        self._file = run.log.open("ab", buffering=0)
        if tensorboard:
            from tensorboardX import SummaryWriter

            self._events = SummaryWriter(str(run.tensorboard), purge_step=resume_step + 1 if resume_step else None)

    def write(self, step: int, kind: str, values: dict) -> None:
        """One line. `kind` is "train", "validation" or "event"; `values` are numbers (null where not
        finite) or short strings. Raises UserError where the disk refuses."""
        if not self._file:
            return
        finite = {name: None if isinstance(v, float) and not math.isfinite(v) else v for name, v in values.items()}
        line = {"step": step, "kind": kind, "time": round(time.time(), 3), **finite}
        written = json.dumps(line, allow_nan=False).encode() + b"\n"
        try:
            whole = self._file.write(written) == len(written)
        except OSError as error:
            raise UserError(f"cannot write {self._path} ({error.strerror}): put that right, {_GOES_ON}") from None
        if not whole:
            raise UserError(f"cannot write {self._path} (the disk is full): make room, {_GOES_ON}")
        if self._events:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._events.add_scalar(f"{kind}/{name}", value, step)

    def close(self) -> None:
        if self._file:
            self._file.close()
        if self._events:
            self._events.close()


def _step(line: str) -> float:
    """Step of a log line; a line cut short by a kill sorts last and is dropped."""
    try:
        return json.loads(line)["step"]
    except ValueError:
        return float("inf")
