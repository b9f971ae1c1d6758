"""The loop: validate, save, next batch, step; resumed from wherever it was killed."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

import jax
from jax.sharding import Mesh

from atomas_jax import progress
from atomas_jax.batching.batches import training_batches, training_rows, training_schedule, usable_rows
from atomas_jax.batching.blocks import check_groups, unit_of
from atomas_jax.batching.configuration import BatchConfig
from atomas_jax.batching.schedule import Schedule
from atomas_jax.corpus.prepared import PreparedCorpus, Split
from atomas_jax.errors import UserError
from atomas_jax.model.atomas import Starts
from atomas_jax.model.configuration import ModelConfig
from atomas_jax.objectives.configuration import ObjectiveConfig
from atomas_jax.run_folder import RunFolder
from atomas_jax.training import optimizer as optimizers
from atomas_jax.training import processes
from atomas_jax.training.checkpoints import Checkpoints, load_weights
from atomas_jax.training.configuration import OptimizerConfig, TrainingConfig
from atomas_jax.training.log import Log
from atomas_jax.training.partitioning import batch_sharding, make_mesh, place_rows, rows_here
from atomas_jax.training.programs import Kept
from atomas_jax.training.state import TrainState, make_state, sharded_state, shardings
from atomas_jax.training.step import make_train_step, make_validation_step
from atomas_jax.training.validation import Validation, metric_names


@dataclass(frozen=True)
class Outcome:
    """How a call of `train` ended."""

    step: int
    """Steps done in all."""
    finished: bool
    """False when a signal asked it to stop; the same call goes on from here."""


def train(
    run: RunFolder,
    corpus: PreparedCorpus,
    model: ModelConfig,
    objectives: ObjectiveConfig,
    batches: BatchConfig,
    optimizer: OptimizerConfig,
    training: TrainingConfig,
    write_samples: Callable[[int, dict], None] | None = None,
) -> Outcome:
    """Train, or go on training, in a run folder, with settings that `check` has passed.

    Everything is a function of the settings, the corpus and the step, so a run that was killed and resumed ends with
    the same parameters as one that was not. `write_samples(step, parameters)` is called at each validation. Every
    process of a job calls this alike; the first one writes the log and what people see.

    Raises:
      UserError: a damaged checkpoint, `training.refusals` non-finite steps in a row.
    """
    mesh, first = mesh_of(batches, training), processes.is_first()
    tokenizer = corpus.tokenizer
    starts = Starts(text=tokenizer.text_start_id, smiles=tokenizer.smiles_start_id)
    split = corpus.split("train")
    schedule = training_schedule(split, batches, training.seed)
    sharding = batch_sharding(mesh)
    groups = _groups(mesh, batches, training)
    transformation = optimizers.build(optimizer, training.steps)
    abstract, make = sharded_state(mesh, model, lambda: make_state(model, objectives, transformation, training.seed))
    facts = (model, objectives, optimizer, training.steps, training.seed)
    make = Kept(make, "first state", *facts, [leaf.sharding for leaf in jax.tree.leaves(abstract)])
    validation = None
    if held_out := _held_out(corpus, training):
        validate = make_validation_step(model, objectives, starts, mesh)
        step_function = Kept(validate, "validation step", model, objectives, starts)
        validation = Validation(held_out, step_function, batches, training.validation_pairs, sharding, groups)
    with ExitStack() as leaving:
        leaving.enter_context(jax.set_mesh(mesh))
        checkpoints = leaving.enter_context(Checkpoints(run, training.keep, training.best))
        start, state, damaged = _newest(checkpoints, abstract) or (0, make(), [])
        if training.initial and not start:
            state = _with_weights(state, RunFolder(training.initial), abstract)
        log = Log(run, start, training.tensorboard, writes=first)
        leaving.callback(log.close)
        step = Kept(
            make_train_step(
                model, objectives, transformation, starts, shardings(abstract), training.accumulate, training.seed
            ),
            "train step", *facts, starts, training.accumulate,
        )  # fmt: skip
        rate = optimizers.schedule(optimizer, training.steps)
        loop = _Loop(training, checkpoints, log, validation, write_samples, rate, batches.pairs)
        stopping = leaving.enter_context(processes.stop_requests())
        bar = leaving.enter_context(progress.bar("train", training.steps, "steps", start, shown=first))
        bar.print(_summary(schedule, split, batches, start))
        if mesh.size < len(jax.devices()):
            bar.print(
                f"{mesh.size} of {len(jax.devices())} devices work: batches.unit is {unit_of(batches)}, and begun with "
                f"a multiple of {len(jax.devices()) * training.accumulate}, which divides batches.pairs, all of them do"
            )
        if damaged:
            lost = ", ".join(map(str, damaged))
            bar.print(f"checkpoint {lost} is damaged: going on from {start}")
            log.write(start, "event", {"damaged_checkpoints": lost})
        held = rows_here(sharding, groups)
        stream = training_batches(split, schedule, batches, training.seed, start, training.steps, groups, held)
        placed = (place_rows(batch, sharding, groups, held) for batch in stream)
        return loop.run(state, start, placed, step, bar, stopping)


class _Loop:
    def __init__(self, training, checkpoints, log, validation, write_samples, rate, pairs):
        self.training, self.checkpoints, self.log = training, checkpoints, log
        self.validation, self.write_samples = validation, write_samples
        self.rate, self.pairs = rate, pairs
        self.saved_at = time.monotonic()

    def run(self, state: TrainState, start: int, stream, step, bar, stopping) -> Outcome:
        window, window_start = [], time.monotonic()
        done = start
        for done, batch in enumerate(stream, start + 1):
            state, metrics = step(state, batch)
            window.append(metrics)
            bar.advance()  # of steps handed to the device: it may be a few behind
            last, stop = done == self.training.steps, stopping(done)
            saving = last or stop or done % self.training.save_every == 0
            # a checkpoint closes the window too: a resumed run starts with an empty one
            if saving or done % self.training.log_every == 0:  # the only place that waits for the device
                saving = processes.first_decides(saving or self._minutes_passed())  # clocks differ
                in_a_row = int(state.refused)
                self.checkpoints.check()
                bar.advance(0, self._log_window(done, window, time.monotonic() - window_start, in_a_row))
                window, window_start = [], time.monotonic()
            if last or (self.training.validate_every and done % self.training.validate_every == 0):
                began = time.monotonic()
                self._validate(done, state, bar)
                window_start += time.monotonic() - began
            if saving:
                self._save(done, state)
            if stop and not last:
                return Outcome(done, finished=False)
        return Outcome(done, finished=True)

    def _log_window(self, done: int, window: list, seconds: float, in_a_row: int) -> str:
        window = jax.device_get(window)
        refused = [done - len(window) + 1 + i for i, metrics in enumerate(window) if metrics["refused"]]
        sound = [metrics for metrics in window if not metrics["refused"]]
        means = {name: float(sum(m[name] for m in sound) / len(sound)) for name in window[0]} if sound else {}
        means["refused"] = len(refused)
        means["learning_rate"] = float(self.rate(done - 1))
        means["pairs_per_second"] = round(len(window) * self.pairs / max(seconds, 1e-9), 2)
        self.log.write(done, "train", means)
        if refused:
            steps = ", ".join(map(str, refused[:10])) + (" ..." if len(refused) > 10 else "")
            self.log.write(done, "event", {"refused_steps": steps})
            self._stop_if_hopeless(done, in_a_row)
        return f"loss {means['loss']:.3f}" if sound else "loss not finite"

    def _stop_if_hopeless(self, done: int, in_a_row: int) -> None:
        if in_a_row >= self.training.refusals:
            raise UserError(
                f"the loss or gradient was not finite in the {in_a_row} steps up to {done}: lower "
                f"optimizer.learning_rate or look at the data of those steps; the last checkpoint is sound"
            )

    def _validate(self, done: int, state: TrainState, bar) -> None:
        if self.validation is None:
            return
        metrics = self.validation(state.average)
        self.log.write(done, "validation", metrics)
        best = self.checkpoints.save_if_best(done, state.average, metrics)
        shown = ("caption", "generation", "text_to_molecule_MRR")
        line = "  ".join(f"{name} {metrics[name]:.3f}" for name in shown if name in metrics)
        bar.print(f"step {done:>6}  validation  {line}{'  best so far' if best else ''}")
        if self.write_samples:
            with processes.here(state.average) as params:
                if processes.is_first():
                    self.write_samples(done, params)

    def _minutes_passed(self) -> bool:
        return (time.monotonic() - self.saved_at) / 60 >= self.training.save_minutes

    def _save(self, done: int, state: TrainState) -> None:
        weights, rest = split_state(state)
        self.checkpoints.save(done, weights, rest)
        self.saved_at = time.monotonic()


def split_state(state: TrainState) -> tuple[dict, dict]:
    """(what other commands load, what only training needs)."""
    rest = {"step": state.step, "params": state.params, "optimizer": state.optimizer, "refused": state.refused}
    return state.average, rest if state.queue is None else rest | {"queue": state.queue}


def _newest(checkpoints: Checkpoints, abstract: TrainState) -> tuple[int, TrainState, list[int]] | None:
    """(step, state, damaged steps after it) of the newest checkpoint that can be read, if there is any."""
    found = checkpoints.restore_newest(*split_state(abstract))
    if found is None:
        return None
    step, average, rest, damaged = found
    return step, TrainState(average=average, **{"queue": None, **rest}), damaged


def _with_weights(state: TrainState, initial: RunFolder, abstract: TrainState) -> TrainState:
    """The state before the first step, its parameters those of another run."""
    params, _ = load_weights(initial, "best", abstract.params)
    return replace(state, params=params, average=jax.tree.map(jax.numpy.copy, params))


def mesh_of(batches: BatchConfig, training: TrainingConfig) -> Mesh:
    """The mesh of `training.mesh`. Where that is empty and the job is one process, of as many devices as the batches
    split over: a machine with several trains what one with a single device does."""
    devices = jax.devices()
    if not training.mesh and jax.process_count() == 1:
        unit = unit_of(batches) // max(training.accumulate, 1)
        devices = devices[: max((n for n in range(1, len(devices) + 1) if unit and unit % n == 0), default=1)]
    return make_mesh(training.mesh, devices)


def _groups(mesh: Mesh, batches: BatchConfig, training: TrainingConfig) -> int:
    return check_groups(batches, mesh.shape["data"] * mesh.shape["fsdp"], training.accumulate)


def _held_out(corpus: PreparedCorpus, training: TrainingConfig) -> Split | None:
    """What is validated on, if anything is."""
    if not training.validation_pairs or "validation" not in corpus.splits:
        return None
    split = corpus.split("validation")
    return split if len(split) else None


def check(
    corpus: PreparedCorpus,
    model: ModelConfig,
    objectives: ObjectiveConfig,
    batches: BatchConfig,
    training: TrainingConfig,
) -> None:
    """Raise UserError for what would stop this training later, before anything is written."""
    for name in ("steps", "log_every", "save_every", "keep"):
        if getattr(training, name) < 1:
            raise UserError(f"training.{name} = {getattr(training, name)}: it must be at least 1")
    if training.validation_pairs < 0:
        raise UserError(f"training.validation_pairs = {training.validation_pairs}: it must not be negative")
    if not 0 <= model.transformer.dropout < 1:
        raise UserError(
            f"model.transformer.dropout = {model.transformer.dropout}: it must be at least 0 and less than 1"
        )
    _groups(mesh_of(batches, training), batches, training)
    training_rows(corpus.split("train"), batches)
    held_out = _held_out(corpus, training)
    if held_out and not len(usable_rows(held_out, batches)):
        raise UserError(f"no validation pair has at most batches.max_smiles = {batches.max_smiles} SMILES tokens")
    names = metric_names(objectives, len(model.alignment.ratios) + 1)
    if training.best not in names:
        raise UserError(f"training.best = {training.best!r} is no validation metric: choose one of {', '.join(names)}")


def _summary(schedule: Schedule, split, batches: BatchConfig, start: int) -> str:
    blocks = lambda side: " ".join(f"{block.strings}x{block.length}" for block in side)  # noqa: E731
    left_out = len(split) - len(schedule.rows)
    left = f", {left_out:,} too long left out" if left_out else ""
    resumed = f", resumed at step {start:,}" if start else ""
    return (
        f"{len(split):,} pairs{left}; {schedule.steps_per_epoch:,} steps of {batches.pairs} pairs an epoch; "
        f"{schedule.real_tokens:.0%} of the tokens are real (a batch is SMILES {blocks(schedule.smiles)}, "
        f"texts {blocks(schedule.text)}){resumed}"
    )
