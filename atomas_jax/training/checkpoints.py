"""Checkpoints by Orbax: the latest states to resume from, the best weights to use."""

import json
import logging
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import jax
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from atomas_jax.errors import UserError
from atomas_jax.run_folder import RunFolder, find_checkpoint, saved_steps
from atomas_jax.training import processes

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax tells every stage of every save, and failures twice
logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # where a disk is full, every array's write says so at its end


class Checkpoints:
    """Saves and restores the training state of a run.

    Two items a step: `weights` (the averaged parameters, what every other command loads) and `state` (all the rest).
    Saves run in the background and appear under their final name only when complete, so a kill leaves the last good
    one. In a job of several processes all call every method alike; each writes and reads what its devices hold.

    A context manager: leaving it waits for what is being written. Every method that writes or waits raises UserError
    where the disk refuses.
    """

    def __init__(self, run: RunFolder, keep: int, metric: str):
        self._latest = ocp.CheckpointManager(
            run.checkpoints.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
        )
        if processes.is_first():
            _sweep(run)
        self._folder = run.checkpoints.absolute()
        self._best = ocp.CheckpointManager(
            run.best.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=1, create=True),
        )
        self.metric = metric

    def save(self, step: int, weights, state) -> None:
        """Save in the background; returns once the arrays are copied."""
        with self._writing():
            self._best.wait_until_finished()  # a checkpoint says that everything up to its step is on disk
            if step != self._latest.latest_step():
                self._latest.save(
                    step,
                    args=ocp.args.Composite(weights=ocp.args.StandardSave(weights), state=ocp.args.StandardSave(state)),
                )

    def check(self) -> None:
        """Raise UserError if a save in the background has failed since the last look; waits for nothing."""
        with self._writing():
            for manager in (self._latest, self._best):
                manager.check_for_errors()

    def restore_newest(self, weights, state):
        """(step, weights, state, damaged steps) of the newest checkpoint that can be read; None without any checkpoint.

        Laid out like the given trees of `jax.ShapeDtypeStruct` with shardings, whatever mesh wrote them. Damaged newer
        ones are removed, for their steps will be saved again; not before an older one was read, so that settings of
        another model remove nothing.

        Raises:
          UserError: when none can be read; says what is wrong with the newest.
        """
        damaged, wrong = [], None
        for step in sorted(self._latest.all_steps(), reverse=True):
            found = failure = None
            try:
                found = self._restore(step, weights, state)
            except UserError as error:
                failure = error
            if not processes.all_agree(failure is None):
                damaged.append(step)
                wrong = wrong or failure or UserError(f"checkpoint {step} cannot be restored by another process")
                continue
            for other in damaged:
                self._latest.delete(other)
            return (step, *found, damaged)
        if wrong:
            raise wrong
        return None

    def _restore(self, step: int, weights, state):
        # by the handler: the manager waits for the other processes, and one that cannot read its part never comes
        handler, folder = ocp.StandardCheckpointHandler(), self._folder / str(step)
        try:
            return tuple(
                handler.restore(folder / item, args=ocp.args.StandardRestore(like))
                for item, like in (("weights", weights), ("state", state))
            )
        except (ValueError, KeyError, OSError) as error:
            _hush_orbax()
            raise UserError(
                f"checkpoint {step} cannot be restored ({_first_line(error)}), nor any before it: is it of this "
                f"experiment? With another --run training starts afresh"
            ) from None

    def save_if_best(self, step: int, weights, metrics: dict[str, float]) -> bool:
        """Keep these weights if their metric beats the best so far."""
        best = self.best_metrics()
        value = metrics[self.metric]
        better = best is None or is_better(self.metric, value, best["metrics"][self.metric])
        if not processes.first_decides(better):  # the last bit of a rank is every machine's own
            return False
        for old in self._best.all_steps():  # a resumed run may come by a step again
            if old >= step:
                self._best.delete(old)
        with self._writing():
            self._best.save(
                step,
                args=ocp.args.Composite(
                    weights=ocp.args.StandardSave(weights),
                    metrics=ocp.args.JsonSave({"step": step, "metrics": metrics}),
                ),
            )
        return True

    def best_metrics(self) -> dict | None:
        """{"step", "metrics"} of the best checkpoint so far; None without one."""
        with self._writing():
            self._best.wait_until_finished()
        step = self._best.latest_step()
        if step is None:
            return None
        return self._best.restore(step, args=ocp.args.Composite(metrics=ocp.args.JsonRestore()))["metrics"]

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind, error, trace) -> None:
        with suppress(UserError) if error else nullcontext():  # of a disk that is full, one line says enough
            for manager in (self._latest, self._best):
                with self._writing():
                    manager.wait_until_finished()
                    manager.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turns what the disk refuses into one line."""
        try:
            yield
        except (OSError, ValueError) as error:
            told = str(error)
            code = error.errno if isinstance(error, OSError) else None
            if found := re.search(r"os_error_code='?(\d+)", told):  # how TensorStore says it, in a ValueError
                code = int(found[1])
            if code is None:
                raise
            _hush_orbax()
            raise UserError(
                f"cannot save a checkpoint in {self._folder} ({os.strerror(code)}): put that right, and the same "
                f"command goes on from the last one"
            ) from None


def _sweep(run: RunFolder) -> None:
    """Remove what a kill or a full disk left half written, and best checkpoints nobody can compare with: Orbax reads
    the metrics of all when it starts."""
    for folder in (run.checkpoints, run.best):
        for unfinished in folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished)
    for step in saved_steps(run.best):
        try:
            json.loads((run.best / str(step) / "metrics" / "metrics").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(run.best / str(step))


def _hush_orbax() -> None:
    """After a failed save or restore Orbax's coroutines are left half run, and each tells of it when it is collected,
    up to the end of the program: one line has said it."""
    told = sys.unraisablehook

    def hook(unraisable) -> None:
        code = getattr(unraisable.object, "cr_code", None)
        if code is None or "orbax" not in code.co_filename:
            told(unraisable)

    sys.unraisablehook = hook


def is_better(metric: str, value: float, than: float) -> bool:
    """Shares (accuracies, R1, MRR) are better the higher they are, losses the lower; anything beats not a number."""
    if math.isnan(value) or math.isnan(than):
        return not math.isnan(value)
    return value > than if metric.endswith(("accuracy", "R1", "MRR")) else value < than


def write_weights(run: RunFolder, step: int, weights) -> None:
    """A checkpoint of weights alone, to use and to start from, not to resume; returns when it is on disk.

    In the foreground, uncompressed and 1 GB at a time, so that no second copy of the weights is ever held; Orbax copies
    NumPy arrays whole, so the leaves should be jax's.
    """
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False, save_concurrent_gb=1)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(run.checkpoints.absolute() / str(step) / "weights", weights)


def load_weights(run: RunFolder, which: str, like):
    """The averaged parameters of a run: `which` is "best", "latest" or a step; `like` a tree of shapes.

    "best" falls back to the latest where no validation has been run. Raises UserError when there is no such checkpoint
    or it does not fit the configuration.
    """
    folder, step = find_checkpoint(run, which)
    # said, or Orbax looks for the devices that wrote it
    one = SingleDeviceSharding(jax.local_devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=getattr(leaf, "sharding", None) or one), like
    )
    try:
        weights = ocp.StandardCheckpointer().restore(folder / "weights", like)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"checkpoint {folder} cannot be read ({_first_line(error)})") from None
    return jax.tree.map(jax.numpy.asarray, weights), step


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
