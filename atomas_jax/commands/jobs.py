"""`atomas prepare`, `train`, `run`: commands whose defaults are an experiment's."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional

from atomas_jax.commands import Unprefixed
from atomas_jax.commands.info import print_corpus
from atomas_jax.commands.writable import check_folder
from atomas_jax.config import Experiment
from atomas_jax.errors import UserError


def prepare(default: Experiment) -> Callable:
    """The subcommand with the defaults of an experiment."""

    def prepare(
        experiment: Positional[str],
        out: Path = Path("corpora") / default.name,
        sources: tuple[str, ...] = (),
        held_out: tuple[str, ...] = (),
        validation: tuple[str, ...] = (),
        test: tuple[str, ...] = (),
        describe: tuple[str, ...] = (),
        overwrite: bool = False,
        settings: Annotated[Experiment, Unprefixed] = default,
    ) -> None:
        """Make a prepared corpus: read, check, de-duplicate, remove leaks, split, tokenise.

        Sources are written FILE[,setting=value...] or NAME:SPLIT, as in pairs.csv,text=caption or chebi20:train.

        Args:
          experiment: A Python file, a name in experiments/, or a model preset for its defaults.
          out: Folder of the prepared corpus.
          sources: Pairs to train on, added to the experiment's.
          held_out: Pairs whose molecules and captions must not be trained on.
          validation: Pairs that are validation as given.
          test: Pairs that are test as given.
          describe: SMILES files whose captions are written from structure.
          overwrite: Replace a finished corpus in the folder.
        """
        from atomas_jax import jobs
        from atomas_jax.corpus.configuration import Source

        check_folder(out)
        given = {"sources": sources, "held_out": held_out, "validation": validation, "test": test, "describe": describe}
        added = {
            name: getattr(settings.corpus, name) + tuple(map(Source.parse, words)) for name, words in given.items()
        }
        job = replace(settings, corpus=replace(settings.corpus, **added))
        manifest = jobs.prepare(job, out, overwrite)
        print_corpus(out, manifest)

    return prepare


def train(default: Experiment) -> Callable:
    """The subcommand with the defaults of an experiment."""

    def train(
        experiment: Positional[str],
        corpus: Path = Path("corpora") / default.name,
        run: Path = Path("runs") / default.name,
        settings: Annotated[Experiment, Unprefixed] = default,
    ) -> int:
        """Train in a run folder, or go on where it was stopped: the same call resumes.

        Args:
          experiment: A Python file, a name in experiments/, or a model preset.
          corpus: Folder of a prepared corpus.
          run: The run folder.
        """
        from atomas_jax import jobs

        check_folder(run)
        return _say_outcome(jobs.train(settings, corpus, run), run)

    return train


def run(default: Experiment) -> Callable:
    """The subcommand with the defaults of an experiment."""

    def run(
        experiment: Positional[str],
        corpus: Path = Path("corpora") / default.name,
        run: Path = Path("runs") / default.name,
        settings: Annotated[Experiment, Unprefixed] = default,
    ) -> int:
        """The main job: prepare (unless the corpus is there), train or resume, evaluate, write report.html.

        Args:
          experiment: A Python file, a name in experiments/, or a model preset.
          corpus: Folder of the prepared corpus.
          run: The run folder.
        """
        from atomas_jax import jobs
        from atomas_jax.config import to_json
        from atomas_jax.corpus.prepared import MANIFEST, PreparedCorpus
        from atomas_jax.evaluate import evaluate as evaluate_run
        from atomas_jax.evaluation.measuring import check_means

        prepared = (corpus / MANIFEST).is_file()
        for folder in (run,) if prepared else (corpus, run):  # a corpus that is there is only read
            check_folder(folder)
        if settings.training.distributed:
            raise UserError("several processes train together, one prepares and evaluates: use `atomas train`")
        check_means(settings.evaluation)  # not after days of training
        if not prepared:
            print_corpus(corpus, jobs.prepare(settings, corpus))
        elif PreparedCorpus.open(corpus).manifest.get("settings") != to_json(settings)["corpus"]:
            raise UserError(f"{corpus} was prepared with other settings: name another --corpus, or remove it")
        code = _say_outcome(jobs.train(settings, corpus, run), run)
        if code == 0:
            evaluate_run(run, settings.evaluation, corpus)
            print(f"report: {run / 'report.html'}")
        return code

    return run


def _say_outcome(outcome, run: Path) -> int:
    from atomas_jax.training.processes import STOPPED

    if outcome.finished:
        print(f"trained to step {outcome.step:,} in {run}")
        return 0
    print(f"stopped at step {outcome.step:,}, saved in {run}: the same command resumes", file=sys.stderr)
    return STOPPED
