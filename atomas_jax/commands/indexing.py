"""`atomas index`: a library of molecules embedded once, kept on disk, changed in place."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from atomas_jax.commands.writable import check_folder
from atomas_jax.errors import UserError


def build(
    run: Positional[Path],
    molecules: Positional[str],
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    columns: tuple[str, ...] = (),
    checkpoint: str = "best",
    corpus: Path | None = None,
    calibration_pairs: int = 500,
    approximate: Literal["auto", "yes", "no"] = "auto",
    workers: int = 0,
) -> None:
    """Embed a file of molecules into a new index. The same command goes on where a killed one stopped.

    Args:
      run: A run folder.
      molecules: SMILES list, TSV, CSV, JSONL or Parquet, gzip'd or not, as FILE[,SETTING=VALUE...].
      out: Folder of the index.
      columns: Further columns of the file to keep, to filter by and to show.
      checkpoint: best, latest, or a step that was kept.
      corpus: Prepared corpus whose held-out pairs calibrate scores; the run's own when absent.
      calibration_pairs: How many of them; 0 leaves scores uncalibrated.
      approximate: An engine for quick approximate search (needs faiss); auto from 200,000 molecules.
      workers: Processes that read the molecules; 0 is one a core.
    """
    from atomas_jax.retrieval.approximate import WORTHWHILE, attach, installed
    from atomas_jax.retrieval.approximate import faiss as check_faiss
    from atomas_jax.retrieval.building import about, fill
    from atomas_jax.retrieval.calibration import FEWEST
    from atomas_jax.retrieval.held_out import calibrate_on, held_out_split
    from atomas_jax.retrieval.index import MANIFEST, Index, writing
    from atomas_jax.run_folder import RunFolder
    from atomas_jax.trained import load

    if approximate == "yes":
        check_faiss()
    check_folder(out)
    source = _source(molecules)
    if (out / MANIFEST).is_file() and not Index.open(out).manifest["unfinished"]:
        raise UserError(f"{out} is a finished index: `atomas index add` adds to it")
    model = load(run, checkpoint)
    own = RunFolder(run).own_corpus()
    folder = corpus or (own if own and own.is_dir() else None)
    split = held_out_split(folder) if folder and calibration_pairs else None
    if corpus and calibration_pairs and not split:
        raise UserError(f"{corpus} has fewer than {FEWEST} held-out pairs to calibrate on: name another --corpus")
    with writing(out, model, about(run, checkpoint, columns)) as writer:
        filled = fill(writer, model, source, columns, workers)
        if split:
            calibrate_on(writer, model, split, calibration_pairs)
        elif calibration_pairs:
            print("scores are not calibrated: no held-out pairs of the run's corpus here (--corpus)", file=sys.stderr)
        many = approximate == "auto" and len(writer.index) >= WORTHWHILE
        if approximate == "yes" or (many and installed()):
            attach(writer)
        elif many:
            told = "no approximate engine: it needs faiss (pip install 'atomas_jax[search]'); searches are exact"
            print(told, file=sys.stderr)
        writer.finish()
    _told(filled, out)


def add(
    index: Positional[Path],
    molecules: Positional[str],
    columns: tuple[str, ...] = (),
    run: Path | None = None,
    checkpoint: str | None = None,
    workers: int = 0,
) -> None:
    """Add a file of molecules to an index; what it has already is merged. The same command resumes.

    Args:
      index: Folder of the index.
      molecules: As for `atomas index build`.
      columns: The columns the index keeps; as it was built when absent.
      run: The run that made the index, where it has moved.
      checkpoint: Of it; the one that made the index when absent.
      workers: Processes that read the molecules; 0 is one a core.
    """
    from atomas_jax.retrieval.approximate import catch_up
    from atomas_jax.retrieval.building import fill
    from atomas_jax.retrieval.calibration import recalibrate
    from atomas_jax.retrieval.index import Index, writing

    source, opened = _source(molecules), Index.open(index)
    model = model_of(opened, run, checkpoint)
    with writing(index, model) as writer:
        filled = fill(writer, model, source, columns or tuple(opened.columns), workers)
        recalibrate(writer)
        catch_up(writer)
        writer.finish()
    _told(filled, index)


def remove(
    index: Positional[Path],
    molecules: Positional[tuple[str, ...]] = (),
    file: Path | None = None,
    ids: bool = False,
) -> None:
    """Remove molecules, given in any spelling, or by id.

    Args:
      index: Folder of the index.
      molecules: SMILES (or ids), or none to read them from --file.
      file: One a line; "-" is standard input.
      ids: They are ids of the file the index was built from, not SMILES.
    """
    from atomas_jax.chemistry.molecules import identity
    from atomas_jax.commands.lines import read_lines
    from atomas_jax.retrieval.calibration import recalibrate
    from atomas_jax.retrieval.index import writing

    given = [string for _, string in read_lines(molecules, file, "molecules")]
    wanted = given if ids else [identity(smiles).key for smiles in given]
    with writing(index) as writer:
        numbers = writer.index.numbers_of(wanted, "id" if ids else "key")
        if not len(numbers):
            raise UserError(f"{index} holds none of these")
        removed = writer.remove(numbers)
        recalibrate(writer)
        print(f"{removed:,} molecules removed, {len(writer.index):,} left")


def info(index: Positional[Path], verify: bool = False) -> None:
    """What an index holds and which model made it.

    Args:
      index: Folder of the index.
      verify: Read every file against its checksum.
    """
    from atomas_jax.retrieval.index import Index

    opened = Index.open(index)
    if verify:
        opened.verify()
    for line in told(opened):
        print(line)
    if verify:
        print("every file is what was written")


def told(index) -> list[str]:
    """What an index is, in lines."""
    from atomas_jax.retrieval.calibration import calibration_of

    manifest = index.manifest
    made, rejects = manifest["model"], sum(segment["rejects"] for segment in manifest["segments"])
    removed = len(index.rows) - len(index)
    lines = [
        f"index {index.folder}: {len(index):,} molecules, vectors of {made['embedding_dim']}",
        f"{manifest['merged']:,} duplicates merged, {removed:,} removed, {rejects:,} rows refused "
        "(segment-*.rejects.jsonl)",
        f"made by {made['run']}, checkpoint {made['checkpoint']}, step {made['step']}",
        f"weights and tokenizer sha256 {made['fingerprint']}",
        f"tokenizer sha256 {made['tokenizer']}",
        manifest["canonicalisation"],
        f"columns kept: {', '.join(index.columns) or 'none'}",
    ]
    if fit := calibration_of(index):
        lines.append(
            f"calibrated on {manifest['calibration']['source']}: probabilities are off by {fit.error:.3f} on average; "
            f"below a cosine of {fit.threshold:.3f} nothing matches, which turns away {fit.turned_away:.0%} of the "
            "texts without a molecule here and 5% of those with one"
        )
    else:
        lines.append("scores are not calibrated")
    if engine := manifest["approximate"]:
        lines.append(
            f"approximate engine (faiss IVF, SQ8) over {engine['rows']:,} rows, {engine['probes']} lists looked into: "
            f"recall@10 {engine['recall_at_10']:.3f} on {engine['measured_on']}"
        )
    if unfinished := manifest["unfinished"]:
        lines.append(
            f"adding {unfinished['source']} stopped after {unfinished['records']:,} records: repeat the command"
        )
    return lines


def model_of(index, run: Path | None = None, checkpoint: str | None = None):
    """The model that made an index. Raises UserError where its run is not to be found."""
    from atomas_jax.trained import load

    made = index.manifest["model"]
    places = [run] if run else [Path(made["run"]), Path(made["run_at"])]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        raise UserError(f"the run that made {index.folder} is not at {places[0]}: name it with --run")
    return load(found, checkpoint or made["checkpoint"])


def _source(words: str):
    from atomas_jax.corpus.configuration import Source
    from atomas_jax.corpus.readers import locate

    source = Source.parse(words)
    locate(source)
    return source


def _told(filled, folder: Path) -> None:
    refused = f", {filled.rejected:,} rows refused (see {folder}/segment-*.rejects.jsonl)" if filled.rejected else ""
    print(f"{filled.added:,} molecules added to {folder}, {filled.merged:,} duplicates merged{refused}")
