"""The parts of the main job, each from folder to folder: prepare, train. (`evaluate` is in `evaluate.py`.)"""

import json
from dataclasses import replace
from pathlib import Path

from atomas_jax.config import Experiment, difference, from_json, to_json
from atomas_jax.errors import UserError
from atomas_jax.files import write_json, write_whole
from atomas_jax.run_folder import RunFolder, read_json


def prepare(experiment: Experiment, folder: Path, overwrite: bool = False) -> dict:
    """Make the experiment's prepared corpus in a folder; returns its manifest. See `corpus.prepare.prepare`."""
    from atomas_jax.corpus.prepare import prepare as prepare_corpus

    return prepare_corpus(experiment.corpus, folder, overwrite=overwrite)


def train(experiment: Experiment, corpus_folder: Path, run_folder: Path):
    """Start the experiment in a new run folder, or go on with it in its own; returns a `training.loop.Outcome`.

    Raises:
      UserError: the run folder holds another experiment or one with another corpus; anything `training.loop.train`
        raises.
    """
    from atomas_jax.corpus.prepared import PreparedCorpus
    from atomas_jax.model.configuration import with_vocabulary
    from atomas_jax.training import processes

    processes.join(experiment.training.distributed)  # before anything else asks for devices
    run = RunFolder(run_folder)

    def checked():
        import jax

        from atomas_jax.training.loop import check

        corpus = PreparedCorpus.open(corpus_folder)
        model = with_vocabulary(experiment.model, corpus.tokenizer.vocab_size)
        if experiment.training.initial and run.exists():  # its start is behind it, and may be gone
            model = _with_rows_of(model, run)
        elif experiment.training.initial:
            model = _fitting(model, RunFolder(experiment.training.initial), corpus)
        check(corpus, model, experiment.objectives, experiment.batches, experiment.training)
        return corpus, replace(experiment, model=model), [device.device_kind for device in jax.devices()]

    corpus, experiment, devices = processes.together(checked)

    def claim() -> None:
        if run.exists():
            _check_same(run, experiment, corpus)
        else:
            _start(run, experiment, corpus, corpus_folder, devices)

    processes.first_does(claim)

    from atomas_jax.training.loop import train as loop

    return loop(
        run, corpus, experiment.model, experiment.objectives, experiment.batches, experiment.optimizer,
        experiment.training, write_samples=_sampler(run, experiment, corpus),
    )  # fmt: skip


def _start(run: RunFolder, experiment: Experiment, corpus, corpus_folder: Path, devices: list[str]) -> None:
    run.claim()
    corpus.tokenizer.save(run.tokenizer)
    write_json(run.corpus, {"folder": str(Path(corpus_folder).resolve()), "manifest": corpus.manifest})
    if experiment.training.initial and (record := RunFolder(experiment.training.initial).imported).is_file():
        write_json(run.imported, read_json(record))
    run.write_versions(devices)
    write_json(run.config, to_json(experiment))  # last: it makes the folder a run folder


def _fitting(model, initial: RunFolder, corpus):
    """The model with the rows of vocabulary of the run it starts from. Raises UserError where that run's weights are
    no weights of it."""
    from atomas_jax.tokens.tokenizer import Tokenizer

    begun = _begun(initial).model
    if Tokenizer.load(initial.tokenizer).sha256 != corpus.tokenizer.sha256:
        raise UserError(
            f"training.initial {initial.path} has another tokenizer than the corpus: prepare the corpus with "
            f"--corpus.tokenizer {initial.tokenizer}"
        )
    model = _with_rows_of(model, initial)
    of_training = ("dropout", "dtype", "remat")  # everything else of a transformer decides what weights mean
    same = {name: getattr(begun.transformer, name) for name in of_training}
    if replace(model, transformer=replace(model.transformer, **same)) != begun:
        raise UserError(
            f"training.initial {initial.path} is of another model: name that run folder as the experiment to train "
            f"with its settings"
        )
    return model


def _with_rows_of(model, run: RunFolder):
    """The model with as many rows of vocabulary as a run has."""
    rows = _begun(run).model.transformer.vocab_size
    return replace(model, transformer=replace(model.transformer, vocab_size=rows))


def _begun(run: RunFolder) -> Experiment:
    """The experiment of a run folder."""
    return from_json(run.read_config(), str(run.config))


FREE = {
    "training": (
        "log_every", "validate_every", "validation_pairs", "samples", "save_every", "save_minutes", "keep", "best",
        "refusals", "tensorboard", "mesh", "distributed",
    ),
    "batches": ("workers",),
}  # fmt: skip
"""Settings that change no step: they may differ between the calls that make up a run, like all of decoding and
evaluation."""


def _check_same(run: RunFolder, experiment: Experiment, corpus) -> None:
    """Refuse to go on with other settings or another corpus; note the free settings that changed."""
    begun = _begun(run)
    neutral = {
        group: replace(getattr(experiment, group), **{name: getattr(getattr(begun, group), name) for name in names})
        for group, names in FREE.items()
    }
    asked = replace(
        experiment,
        **neutral,
        evaluation=begun.evaluation,
        decoding=begun.decoding,
        corpus=begun.corpus,
        name=begun.name,
    )
    if changed := difference(begun, asked):
        raise UserError(
            f"{run.path} holds a run with other settings ({'; '.join(changed[:3])}): resume it with its own, "
            f"or name another --run"
        )
    before = read_json(run.corpus)["manifest"]
    if _content(before) != _content(corpus.manifest):
        raise UserError(f"{run.path} was begun on another corpus: resume it with that one, or name another --run")
    write_json(run.config, to_json(replace(experiment, corpus=begun.corpus, name=begun.name)))


def _content(manifest: dict) -> tuple:
    """What makes two prepared corpora the same: the bytes of the splits and the tokenizer."""
    return {name: split["sha256"] for name, split in manifest["splits"].items()}, manifest["tokenizer"]["sha256"]


def _sampler(run: RunFolder, experiment: Experiment, corpus):
    """Writes what the model says of a few validation pairs to samples/, one JSON line a pair."""
    from atomas_jax.trained import TrainedModel

    count = experiment.training.samples
    if not count or "validation" not in corpus.splits:
        return None
    split = corpus.split("validation")
    rows = [split.row(i) for i in range(min(count, len(split)))]

    def write(step: int, params: dict) -> None:
        model = TrainedModel(experiment, corpus.tokenizer, params)
        # what the model says by itself: nothing is forbidden, nothing replaced
        length = min(128, experiment.decoding.max_length)
        short = {"method": "greedy", "max_length": length, "results": 1, "candidates": 0}
        short |= {"constrained": False, "valid": False}
        captions = model.caption([row["smiles"] for row in rows], **short)
        molecules = model.generate([row["text"] for row in rows], **short)
        lines = [
            {"smiles": row["smiles"], "text": row["text"], "caption": caption, "generated": molecule}
            for row, caption, molecule in zip(rows, captions, molecules)
        ]
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_whole(run.samples / f"step_{step:07d}.jsonl", text)

    return write
