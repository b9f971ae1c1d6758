"""What each subcommand does with its parsed arguments. Signatures are the command line: names, types, defaults,
help."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TextIO

import tyro
from tyro.conf import Positional

from atomas_jax import progress
from atomas_jax.config import DecodingOverrides, EvaluationConfig, Experiment
from atomas_jax.errors import UserError

Unprefixed = tyro.conf.arg(name="")
SHIPPED_TOKENIZER = Path(__file__).parents[1] / "tokenizers" / "atomas-embedded"
"""There in a checkout of the project."""


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
        from atomas_jax.config import to_json
        from atomas_jax.corpus.prepared import MANIFEST, PreparedCorpus
        from atomas_jax.evaluate import evaluate as evaluate_run

        if not (corpus / MANIFEST).is_file():
            _print_corpus(corpus, jobs.prepare(settings, corpus))
        elif PreparedCorpus.open(corpus).manifest.get("settings") != to_json(settings)["corpus"]:
            raise UserError(f"{corpus} was prepared with other settings: name another --corpus, or remove it")
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
    batch_size: int = 64,
    decoding: Annotated[DecodingOverrides, Unprefixed] = DecodingOverrides(),  # noqa: B008  (frozen)
) -> None:
    """Captions for SMILES. Output: tab-separated lines of input and caption, in input order.

    Args:
      run: A run folder.
      molecules: SMILES, or none to read them from --file.
      file: One SMILES a line; "-" is standard input.
      out: File to write; standard output when absent.
      checkpoint: best, latest, or a step that was kept.
      batch_size: Strings decoded together.
    """
    _rewrite(run, "write_captions", "caption", molecules, file, out, checkpoint, batch_size, decoding)


def generate(
    run: Positional[Path],
    texts: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    out: Path | None = None,
    checkpoint: str = "best",
    batch_size: int = 64,
    decoding: Annotated[DecodingOverrides, Unprefixed] = DecodingOverrides(),  # noqa: B008  (frozen)
) -> None:
    """SMILES for texts. Output: tab-separated lines of text and SMILES, in input order.

    Args:
      run: A run folder.
      texts: Descriptions, or none to read them from --file.
      file: One description a line; "-" is standard input.
      out: File to write; standard output when absent.
      checkpoint: best, latest, or a step that was kept.
      batch_size: Strings decoded together.
    """
    _rewrite(run, "write_molecules", "generate", texts, file, out, checkpoint, batch_size, decoding)


def retrieve(
    run: Positional[Path],
    queries: Positional[tuple[str, ...]] = (),
    library: Path = Path(),
    file: Path | None = None,
    find: Literal["molecules", "texts"] = "molecules",
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10,
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

    if k < 1:
        raise UserError(f"-k is {k}: want 1 or more")
    asked = [query for _, query in _lines(queries, file, "queries")]
    if not library.is_file():
        raise UserError(f"no library at {library}: give --library a file of one {find[:-1]} a line")
    numbers, candidates = zip(*_lines((), library, "library"))
    model = load(run, checkpoint)
    search = model.find_molecules if find == "molecules" else model.find_texts
    with progress.bar("embed and search", len(asked) + len(candidates), "strings") as bar:
        hits = search(asked, candidates, k, progress=bar.advance)
    for query, indices, scores in zip(asked, hits.index, hits.score):
        for rank, (index, score) in enumerate(zip(indices, scores), 1):
            print(f"{query}\t{rank}\t{score:.4f}\t{numbers[index]}\t{candidates[index]}")


def evaluate(
    run: Positional[Path],
    corpus: Path | None = None,
    checkpoint: str = "best",
    settings: Annotated[EvaluationConfig, Unprefixed] = EvaluationConfig(),  # noqa: B008  (frozen)
    # by its name, as in `train`: the evaluation has a seed of its own
    decoding: DecodingOverrides = DecodingOverrides(),  # noqa: B008  (frozen)
) -> None:
    """Measure a run on a split of its corpus: captions, molecules, rankings, beside floors; writes report.html.

    Args:
      run: A run folder.
      corpus: A prepared corpus; the one it was trained on when absent.
      checkpoint: best, latest, or a step that was kept.
    """
    from atomas_jax.evaluate import evaluate as evaluate_run

    evaluate_run(run, settings, corpus, checkpoint, decoding.given())
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
        for record in progress.track(read(Source(str(file), smiles=smiles, text=text)), f"read {name}"):
            if isinstance(record, Record):
                yield getattr(record, name)

    trained = train_tokenizer(column("text"), column("smiles"), vocab_size, at_most=True, seed=seed)
    trained.save(out)
    print(f"{out}: {trained.vocab_size:,} ids, sha256 {trained.sha256[:16]}")


def tokenizer_check(
    file: Positional[Path],
    tokenizer: Path | None = None,
    smiles: str = "",
    text: str = "",
) -> int:
    """Does a tokenizer give every SMILES and text of a file back as it was? Exit code 1 when it does not.

    Args:
      file: TSV, CSV, JSONL or Parquet of pairs, or a .smi list of SMILES.
      tokenizer: Folder of a tokenizer, run or prepared corpus, or T5's own spiece.model; the shipped one when absent.
      smiles: Column of the SMILES; found by its usual names when absent.
      text: Column of the text; found by its usual names when absent.
    """
    from atomas_jax.corpus.configuration import Source
    from atomas_jax.corpus.readers import Record, Reject, read
    from atomas_jax.tokens.checking import check

    loaded = _tokenizer_at(tokenizer)
    rows = list(progress.track(read(Source(str(file), smiles=smiles, text=text)), "read"))
    records = [row for row in rows if isinstance(row, Record)]
    refused = [row for row in rows if isinstance(row, Reject)]
    first = f" (the first on line {refused[0].line}: {refused[0].reason})" if refused else ""
    print(f"rows read {len(records):,}, refused by the reader {len(refused):,}{first}")
    lossless = True
    for what, strings in (("smiles", [r.smiles for r in records]), ("text", [r.text for r in records if r.text])):
        if strings:
            report = check(progress.track(strings, f"check {what}"), loaded, what)
            print(report.table())
            lossless &= report.lossless == report.count
    return 0 if lossless else 1


def _tokenizer_at(path: Path | None):
    """The tokenizer of its own folder, of a run or prepared corpus, of T5's file, or the shipped one."""
    from atomas_jax.tokens.tokenizer import Tokenizer

    if path is None:
        path = SHIPPED_TOKENIZER
        if not path.is_dir():
            raise UserError("no tokenizer is shipped with this installation: name one with --tokenizer")
    if path.is_file():
        return Tokenizer.from_t5(path)
    inner = path / "tokenizer"
    return Tokenizer.load(inner if inner.is_dir() else path)


def info(folder: Positional[Path]) -> None:
    """What a run folder, a prepared corpus or a tokenizer is.

    Args:
      folder: Any of the three.
    """
    from atomas_jax.corpus.prepared import MANIFEST, PreparedCorpus
    from atomas_jax.tokens.tokenizer import Tokenizer

    if (folder / "config.json").is_file():
        _print_run(folder)
    elif (folder / MANIFEST).is_file():
        _print_corpus(folder, PreparedCorpus.open(folder).manifest)
    elif (folder / "tokenizer.json").is_file():
        loaded = Tokenizer.load(folder)
        print(f"tokenizer {folder}: {loaded.kind}, {loaded.vocab_size:,} ids, sha256 {loaded.sha256}")
    else:
        raise UserError(f"{folder} is no run folder, prepared corpus or tokenizer")


def _print_run(folder: Path) -> None:
    from atomas_jax.config import from_json
    from atomas_jax.run_folder import RunFolder, read_json, read_log, saved_steps

    run = RunFolder(folder)
    experiment = from_json(run.read_config(), str(run.config))
    entries = read_log(run.log) if run.log.exists() else []
    step = entries[-1]["step"] if entries else 0
    print(f"run {folder}: experiment {experiment.name}, step {step:,} of {experiment.training.steps:,}")
    kept = {"checkpoints": saved_steps(run.checkpoints), "best": saved_steps(run.best)}
    for name, steps in kept.items():
        print(f"{name}: {', '.join(map(str, steps)) or 'none'}")
    validations = [entry for entry in entries if entry.get("kind") == "validation"]
    if validations:
        values = {name: value for name, value in validations[-1].items() if name not in ("step", "kind", "time")}
        told = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, int | float))
        print(f"last validation, at step {validations[-1]['step']:,}: {told}")
    versions = read_json(run.versions)
    if isinstance(versions, dict):
        print("versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    print(json.dumps(run.read_config(), indent=2))


def _print_corpus(folder: Path, manifest: dict) -> None:
    print(f"prepared corpus {folder}")
    shown = {name: manifest[name] for name in ("counts", "lengths", "tokenizer") if name in manifest}
    print(json.dumps(shown, indent=2))


def _rewrite(
    run: Path, method: str, title: str, given, file, out, checkpoint, batch_size: int, decoding: DecodingOverrides
) -> None:
    from atomas_jax.trained import load

    if batch_size < 1:
        raise UserError(f"--batch-size is {batch_size}: want 1 or more")
    inputs = [string for _, string in _lines(given, file, "inputs")]
    with _output(out) as stream:
        model = load(run, checkpoint)
        with progress.bar(title, len(inputs), "strings") as bar:
            written = getattr(model, method)(inputs, progress=bar.advance, batch_size=batch_size, **decoding.given())
            for string, outputs in zip(inputs, written):
                for output in outputs:
                    print(f"{string}\t{' '.join(output.split())}", file=stream, flush=out is None)


@contextlib.contextmanager
def _output(out: Path | None) -> Iterator[TextIO | None]:
    """Where lines go: standard output, or a file that appears whole or not at all."""
    if out is None:
        # None lets `print` find the standard output of the moment: on a terminal the bar's, which keeps lines above it
        yield None if sys.stdout.isatty() else sys.stdout
        return
    if not out.parent.is_dir():
        raise UserError(f"no folder {out.parent} to write {out.name} in: make it first")
    if out.is_dir():
        raise UserError(f"{out} is a folder: give --out the name of a file")
    partial = out.with_name(out.name + ".partial")
    try:
        with partial.open("w", encoding="utf-8", errors="backslashreplace") as stream:
            yield stream
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


def _lines(given: tuple[str, ...], file: Path | None, what: str) -> Iterator[tuple[int, str]]:
    """(number from 1, string) of the command line's strings, or of the lines of a file that are not blank."""
    if given and file:
        raise UserError(f"{what} are given both as arguments and by --file {file}: use one")
    if given:
        yield from enumerate(given, 1)
        return
    if file is None:
        raise UserError(f"no {what}: write them as arguments, or name a file with --file")
    try:
        # not by `splitlines`: it cuts at form feeds and U+2028 too, and numbers would not be an editor's
        text = (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read as UTF-8 text: {error}") from None
    kept = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not kept:
        raise UserError(f"{file} holds no {what}")
    yield from kept
