"""What each subcommand does with its parsed arguments. Signatures are the command line: names, types, defaults,
help."""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.config import EvaluationConfig, Experiment
from atomas_jax.errors import UserError

Unprefixed = tyro.conf.arg(name="")


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

        given = {"sources": sources, "held_out": held_out, "validation": validation, "test": test, "describe": describe}
        added = {
            name: getattr(settings.corpus, name) + tuple(map(Source.parse, words)) for name, words in given.items()
        }
        job = replace(settings, corpus=replace(settings.corpus, **added))
        manifest = jobs.prepare(job, out, overwrite)
        _print_corpus(out, manifest)

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
        from atomas_jax.corpus.prepared import MANIFEST
        from atomas_jax.evaluate import evaluate as evaluate_run

        if not (corpus / MANIFEST).is_file():
            _print_corpus(corpus, jobs.prepare(settings, corpus))
        code = _say_outcome(jobs.train(settings, corpus, run), run)
        if code == 0:
            evaluate_run(run, settings.evaluation, corpus)
            print(f"report: {run / 'report.html'}")
        return code

    return run


def _say_outcome(outcome, run: Path) -> int:
    if outcome.finished:
        print(f"trained to step {outcome.step:,} in {run}")
        return 0
    print(f"stopped at step {outcome.step:,}, saved in {run}: the same command resumes", file=sys.stderr)
    return 143


def caption(
    run: Positional[Path],
    molecules: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    checkpoint: str = "best",
    method: Literal["greedy", "sample", "beam"] | None = None,
    max_length: int | None = None,
    temperature: float | None = None,
    results: int | None = None,
    seed: int | None = None,
    batch_size: int = 64,
) -> None:
    """Captions for SMILES. Output: tab-separated lines of input and caption, in input order.

    Args:
      run: A run folder.
      molecules: SMILES, or none to read them from --file.
      file: One SMILES a line; "-" is standard input.
      out: File to write; standard output when absent.
      checkpoint: best, latest, or a step that was kept.
      method: How to decode; the run's own setting when absent, as for the following.
      max_length: Longest caption in tokens.
      temperature: Of sampling.
      results: Captions for each molecule.
      seed: Of sampling.
      batch_size: Strings decoded together.
    """
    settings = _given(method=method, max_length=max_length, temperature=temperature, results=results, seed=seed)
    _rewrite(run, "write_captions", "caption", molecules, file, out, checkpoint, batch_size, settings)


def generate(
    run: Positional[Path],
    texts: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    checkpoint: str = "best",
    method: Literal["greedy", "sample", "beam"] | None = None,
    max_length: int | None = None,
    temperature: float | None = None,
    results: int | None = None,
    seed: int | None = None,
    batch_size: int = 64,
) -> None:
    """SMILES for texts. Output: tab-separated lines of text and SMILES, in input order.

    Args:
      run: A run folder.
      texts: Descriptions, or none to read them from --file.
      file: One description a line; "-" is standard input.
      out: File to write; standard output when absent.
      checkpoint: best, latest, or a step that was kept.
      method: How to decode; the run's own setting when absent, as for the following.
      max_length: Longest SMILES in tokens.
      temperature: Of sampling.
      results: SMILES for each text.
      seed: Of sampling.
      batch_size: Strings decoded together.
    """
    settings = _given(method=method, max_length=max_length, temperature=temperature, results=results, seed=seed)
    _rewrite(run, "write_molecules", "generate", texts, file, out, checkpoint, batch_size, settings)


def retrieve(
    run: Positional[Path],
    queries: Positional[tuple[str, ...]] = (),
    library: Path = Path(),
    file: Path | None = None,
    find: Literal["molecules", "texts"] = "molecules",
    k: int = 10,
    checkpoint: str = "best",
) -> None:
    """The molecules of a library nearest to texts, or the texts nearest to molecules.

    Output: tab-separated lines of query, rank, score (cosine), line number in the library, hit.

    Args:
      run: A run folder.
      queries: Texts (SMILES with --find texts), or none to read them from --file.
      library: What is searched: one SMILES (or text) a line.
      file: One query a line; "-" is standard input.
      find: What the library holds.
      k: Hits a query.
      checkpoint: best, latest, or a step that was kept.
    """
    from atomas_jax.trained import load

    asked = list(_lines(queries, file, "queries"))
    if not library.is_file():
        raise UserError(f"no library at {library}: give --library a file of one {find[:-1]} a line")
    candidates = list(_lines((), library, "library"))
    model = load(run, checkpoint)
    search = model.find_molecules if find == "molecules" else model.find_texts
    with progress.bar("search", None, "queries") as bar:
        hits = search(asked, candidates, k)
        bar.advance(len(asked))
    for query, indices, scores in zip(asked, hits.index, hits.score):
        for rank, (index, score) in enumerate(zip(indices, scores), 1):
            print(f"{query}\t{rank}\t{score:.4f}\t{index + 1}\t{candidates[index]}")


def evaluate(
    run: Positional[Path],
    corpus: Path | None = None,
    checkpoint: str = "best",
    settings: Annotated[EvaluationConfig, Unprefixed] = EvaluationConfig(),  # noqa: B008  (frozen)
) -> None:
    """Measure a run on a split of its corpus: captions, molecules, rankings, beside floors; writes report.html.

    Args:
      run: A run folder.
      corpus: A prepared corpus; the one it was trained on when absent.
      checkpoint: best, latest, or a step that was kept.
    """
    from atomas_jax.evaluate import evaluate as evaluate_run

    evaluate_run(run, settings, corpus, checkpoint)
    print(f"report: {run / 'report.html'}")


def tokenizer_train(
    file: Positional[Path],
    out: Path,
    vocab_size: int = 4096,
    smiles: str = "",
    text: str = "",
    seed: int = 0,
) -> None:
    """Train one tokenizer for SMILES and text on a file of pairs.

    Args:
      file: TSV, CSV, JSONL or Parquet with a column of SMILES and one of text.
      out: Folder of the tokenizer.
      vocab_size: Ids at most, SMILES pieces and bytes included; a small file yields fewer.
      smiles: Column of the SMILES; found by its usual names when absent.
      text: Column of the text; found by its usual names when absent.
      seed: Of the sampling of long files.
    """
    from atomas_jax.corpus.configuration import Source
    from atomas_jax.corpus.readers import Record, read
    from atomas_jax.tokens.training import train as train_tokenizer

    def column(name: str) -> Iterator[str]:
        for record in read(Source(str(file), smiles=smiles, text=text)):
            if isinstance(record, Record):
                yield getattr(record, name)

    trained = train_tokenizer(column("text"), column("smiles"), vocab_size, at_most=True, seed=seed)
    trained.save(out)
    print(f"{out}: {trained.vocab_size:,} ids, sha256 {trained.sha256[:16]}")


def tokenizer_check(
    file: Positional[Path],
    tokenizer: Path = Path("tokenizers/atomas-embedded"),
    smiles: str = "",
    text: str = "",
) -> int:
    """Does a tokenizer give every SMILES and text of a file back as it was? Exit code 1 when it does not.

    Args:
      file: TSV, CSV, JSONL or Parquet of pairs, or a .smi list of SMILES.
      tokenizer: Folder of a tokenizer, of a run, or T5's own spiece.model.
      smiles: Column of the SMILES; found by its usual names when absent.
      text: Column of the text; found by its usual names when absent.
    """
    from atomas_jax.corpus.configuration import Source
    from atomas_jax.corpus.readers import Record, read
    from atomas_jax.tokens.checking import check
    from atomas_jax.tokens.tokenizer import Tokenizer

    loaded = Tokenizer.from_t5(tokenizer) if tokenizer.is_file() else Tokenizer.load(tokenizer)
    records = [record for record in read(Source(str(file), smiles=smiles, text=text)) if isinstance(record, Record)]
    lossless = True
    for what, strings in (("smiles", [r.smiles for r in records]), ("text", [r.text for r in records if r.text])):
        if strings:
            report = check(progress.track(strings, f"check {what}"), loaded, what)
            print(report.table())
            lossless &= report.lossless == report.count
    return 0 if lossless else 1


def info(folder: Positional[Path]) -> None:
    """What a run folder, a prepared corpus or a tokenizer is.

    Args:
      folder: Any of the three.
    """
    from atomas_jax.corpus.prepared import MANIFEST
    from atomas_jax.tokens.tokenizer import Tokenizer

    if (folder / "config.json").is_file():
        _print_run(folder)
    elif (folder / MANIFEST).is_file():
        _print_corpus(folder, json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    elif (folder / "tokenizer.json").is_file():
        loaded = Tokenizer.load(folder)
        print(f"tokenizer {folder}: {loaded.kind}, {loaded.vocab_size:,} ids, sha256 {loaded.sha256}")
    else:
        raise UserError(f"{folder} is no run folder, prepared corpus or tokenizer")


def _print_run(folder: Path) -> None:
    from atomas_jax.config import from_json
    from atomas_jax.run_folder import RunFolder, read_json
    from atomas_jax.training.checkpoints import saved_steps

    run = RunFolder(folder)
    experiment = from_json(run.read_config(), str(run.config))
    lines = run.log.read_text(encoding="utf-8").splitlines() if run.log.exists() else []
    last = json.loads(lines[-1]) if lines else {"step": 0}
    print(f"run {folder}: experiment {experiment.name}, step {last['step']:,} of {experiment.training.steps:,}")
    kept = {"checkpoints": saved_steps(run.checkpoints), "best": saved_steps(run.best)}
    for name, steps in kept.items():
        print(f"{name}: {', '.join(map(str, sorted(steps))) or 'none'}")
    validations = [line for line in map(json.loads, lines) if line["kind"] == "validation"]
    if validations:
        print(
            "last validation: " + ", ".join(f"{k} {v:.4g}" for k, v in validations[-1].items() if isinstance(v, float))
        )
    print("versions: " + ", ".join(f"{name} {version}" for name, version in read_json(run.versions).items()))
    print(json.dumps(run.read_config(), indent=2))


def _print_corpus(folder: Path, manifest: dict) -> None:
    print(f"prepared corpus {folder}")
    print(json.dumps({name: manifest[name] for name in ("counts", "lengths", "tokenizer")}, indent=2))


def _rewrite(run: Path, method: str, title: str, given, file, out, checkpoint, batch_size: int, settings: dict) -> None:
    from atomas_jax.trained import load

    inputs = list(_lines(given, file, "inputs"))
    model = load(run, checkpoint)
    partial = out.with_name(out.name + ".partial") if out else None
    stream = partial.open("w", encoding="utf-8") if partial else sys.stdout
    with progress.bar(title, len(inputs), "strings") as bar:
        written = getattr(model, method)(inputs, progress=bar.advance, batch_size=batch_size, **settings)
        for string, outputs in zip(inputs, written):
            for output in outputs:
                print(f"{string}\t{' '.join(output.split())}", file=stream, flush=stream is sys.stdout)
    if partial:
        stream.close()
        partial.replace(out)


def _lines(given: tuple[str, ...], file: Path | None, what: str) -> Iterator[str]:
    """Strings from the command line or the lines of a file that are not blank."""
    if given and file:
        raise UserError(f"{what} are given both as arguments and by --file {file}: use one")
    if given:
        yield from given
        return
    if file is None:
        raise UserError(f"no {what}: write them as arguments, or name a file with --file")
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as UTF-8 text: {error}") from None
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    if not kept:
        raise UserError(f"{file} holds no {what}")
    yield from kept


def _given(**settings) -> dict:
    """The settings that were given on the command line."""
    return {name: value for name, value in settings.items() if value is not None}
