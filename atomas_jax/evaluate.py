"""A trained model against a split it has not seen: captions, molecules and rankings, beside floors, with a report."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from atomas_jax import progress
from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.prepared import PreparedCorpus, Split
from atomas_jax.decoding.settings import DecodingConfig
from atomas_jax.errors import UserError
from atomas_jax.evaluation import ranking, report, results, slices, tables
from atomas_jax.evaluation.configuration import EvaluationConfig
from atomas_jax.evaluation.examples import Sheet
from atomas_jax.evaluation.measuring import (
    CAPTIONS,
    MODEL,
    MOLECULES,
    Training,
    caption_result,
    check_means,
    cuts_of,
    measure_captions,
    measure_molecules,
    sample_rows,
)
from atomas_jax.evaluation.molecule_keys import Distractors, molecule_keys, read_distractors
from atomas_jax.evaluation.outputs import EXAMPLES, write_outputs
from atomas_jax.evaluation.ranking_protocols import ranking_protocol
from atomas_jax.evaluation.results import DECODING, Results
from atomas_jax.files import write_whole
from atomas_jax.run_folder import RunFolder, read_json
from atomas_jax.trained import TrainedModel, load

CHANCE = "chance"


def evaluate(
    run_folder: Path,
    config: EvaluationConfig,
    corpus_folder: Path | None = None,
    checkpoint: str = "best",
    decoding: Mapping | None = None,
) -> Results:
    """Evaluate a run folder; writes evaluation/SPLIT/ and report.html in it, prints tables, returns the results.

    Args:
      corpus_folder: a prepared corpus; None is the one the run was trained on.
      checkpoint: as `trained.load`.
      decoding: settings of `DecodingConfig` that replace the run's own; the first of several results is measured.
        Molecules that RDKit does not read stay as they are (`valid` False) unless it says otherwise: what is measured
        is the model.

    Raises:
      UserError: no such run, corpus or split; a folder that cannot be written; decoding settings that are none or leave
        nothing to write; a vocabulary or WordNet that is not where the settings say.
    """
    check_means(config)  # before an hour of writing
    run = RunFolder(run_folder)
    model = load(run_folder, checkpoint)
    decoded = model.decoding(**{"valid": False, **(decoding or {})})
    model.check("generate", decoded)
    if not (corpus_folder := corpus_folder or run.own_corpus()):
        raise UserError(f"{run.path} does not say which corpus it was trained on: name one with --corpus")
    corpus = PreparedCorpus.open(corpus_folder)
    if config.split not in corpus.splits or not len(corpus.split(config.split)):
        raise UserError(f"{corpus.folder} has no rows in split {config.split!r}: it has {', '.join(corpus.splits)}")
    if config.floors and "train" not in corpus.splits:
        raise UserError(f"{corpus.folder} has no training pairs to make floors of: do without them (--no-floors)")
    if not os.access(run.path, os.W_OK):
        raise UserError(f"{run.path} cannot be written to: copy the run folder to where results can be put in it")
    split = corpus.split(config.split)
    folder = run.evaluation / config.split
    sample = sample_rows(len(split), config.limit, config.seed)
    rows = [split.row(int(i)) for i in sample]
    smiles, texts = [row["smiles"] for row in rows], [row["text"] for row in rows]

    captions = _write("caption", model.write_captions, smiles, asdict(decoded))
    molecules = _write("generate", model.write_molecules, texts, asdict(decoded))
    _save_predictions(folder / "captions.tsv", "SMILES", smiles, texts, captions)
    _save_predictions(folder / "molecules.tsv", "description", texts, smiles, molecules)
    training = None
    if config.floors:
        train = corpus.split("train")
        training = Training(train.column("smiles"), train.column("text"), train.column("key"))
    tasks = [
        measure_captions(smiles, texts, captions, config, training),
        measure_molecules(texts, smiles, molecules, config, training),
    ]
    measured: Results = {one.sheet.name: one.table for one in tasks}
    for name in (CAPTIONS, MOLECULES):
        measured[name][MODEL].stamp.settings[DECODING] = _decoding_said(decoded, name == MOLECULES, model)
    if config.spellings:
        chosen = sample_rows(len(smiles), config.spellings, config.seed)
        measured["Captions by spelling of the molecule"] = slices.by_spelling(
            [smiles[i] for i in chosen],
            [texts[i] for i in chosen],
            lambda spelled: _write("caption spellings", model.write_captions, spelled, asdict(decoded)),
            lambda references, answers: caption_result(references, answers, config, "spellings"),
            config.seed,
        )
    rankings, ranked_sheets, examples, pooled = _rank(model, split, config, training)
    measured |= rankings
    sheets = [*(one.sheet for one in tasks), *ranked_sheets]
    found = write_outputs(folder, model.experiment.name, measured, sheets, config.seed)
    said = [*notes(model, config, decoded, split, sample), pooled]
    tables.print_results(measured)
    slices.print_slices(found)
    for note in said:
        print(note)
    report.write_report(
        run.path,
        f"{model.experiment.name}: molecules and language in one space",
        measured,
        log=run.log if run.log.exists() else None,
        settings=_settings(run, model, config, decoded, corpus),
        captions=report.caption_examples(measured[CAPTIONS][MODEL], smiles, texts, captions),
        molecules=report.molecule_examples(measured[MOLECULES][MODEL], texts, smiles, molecules),
        retrieval=examples,
        notes=said,
        slices=found,
        examples=(folder / EXAMPLES).relative_to(run.path),
    )
    return measured


def notes(
    model: TrainedModel, config: EvaluationConfig, decoding: DecodingConfig, split: Split, sample: np.ndarray
) -> list[str]:
    """Sentences a reader of the numbers must know."""
    which = "all" if len(sample) == len(split) else f"a sample of {len(sample):,} (seed {config.seed}) of the"
    method = f"beam search of width {decoding.beams}" if decoding.method == "beam" else f"{decoding.method} decoding"
    return [
        f"{model.parameter_count:,} parameters, checkpoint of step {model.step:,} of "
        f"{model.experiment.training.steps:,}, {model.experiment.batches.pairs} pairs a step; "
        f"{method} of at most {decoding.max_length} tokens.",
        f"Captions and molecules are measured on {which} {len(split):,} rows of the {config.split} split.",
        "Numbers on different training data or by different protocols are not comparable.",
    ]


def _rank(model: TrainedModel, split: Split, config: EvaluationConfig, training: Training | None):
    """(tables, sheets, examples, a sentence about the pool) of both directions."""
    sample = sample_rows(len(split), config.retrieval_limit, config.seed)
    rows = [split.row(int(i)) for i in sample]
    smiles, texts = [row["smiles"] for row in rows], [row["text"] for row in rows]
    rule = ranking_protocol(config.ranking)
    others = read_distractors(Source.parse(config.pool), smiles) if config.pool else Distractors([], [])
    all_smiles, all_texts = smiles + others.smiles, texts + others.texts
    keys = None if config.positives == "own" else molecule_keys(all_smiles, config.positives)
    with progress.bar("embed", len(all_texts) + len(all_smiles), "strings") as bar:
        text_vectors = model.embed_text(all_texts, progress=bar.advance)
        molecule_vectors = model.embed_molecules(all_smiles, progress=bar.advance)
    with progress.bar("rank", 2 * len(rows), "queries") as bar:
        found, ranked = ranking.both_directions(
            text_vectors,
            molecule_vectors,
            ranking.Pairs(len(rows), keys, config.positives),
            rule.name,
            data=results.data_hash(all_smiles, all_texts),
            seed=config.seed,
        )
        bar.advance(2 * len(rows))
    sizes = {"text to molecule": len(all_smiles), "molecule to text": len(all_texts)}
    table = {
        direction.capitalize(): {
            MODEL: result,
            CHANCE: ranking.chance(len(rows), sizes[direction], result, rule.batch),
        }
        for direction, result in found.items()
    }
    cuts = cuts_of(smiles, texts, training)
    first = {direction: one.top[:, 0].tolist() for direction, one in ranked.items()}
    found_molecules = {"Molecule": smiles, "First hit": [all_smiles[i] for i in first["text to molecule"]]}
    found_texts = {"Text": texts, "First hit": [all_texts[i] for i in first["molecule to text"]]}
    sheets = [
        Sheet("Text to molecule", found["text to molecule"], found_molecules, {"Text": texts}, cuts=cuts),
        Sheet("Molecule to text", found["molecule to text"], {"Molecule": smiles}, found_texts, True, cuts),
    ]
    shown = report.retrieval_examples(ranked["text to molecule"], texts, all_smiles, keys)
    told = f"Rankings ({rule.name}) are of {len(rows):,} pairs: {rule.about}."
    if config.pool:
        told += (
            f" {len(others.smiles):,} more molecules and {len(others.texts):,} more texts are of {config.pool}, "
            f"without {others.own:,} rows of the queries' own molecules and {others.refused:,} that cannot be read."
        )
    return table, sheets, shown, told


def _write(title: str, write: Callable, inputs: list[str], decoding: dict) -> list[str]:
    with progress.bar(title, len(inputs), "strings") as bar:
        return [written[0] for written in write(inputs, progress=bar.advance, **decoding)]


def _decoding_said(decoding: DecodingConfig, molecules: bool, model: TrainedModel) -> str:
    """The decoding for a stamp: the method, and of molecules whether a constraint or replacement helped them."""
    said = f"beam {decoding.beams}" if decoding.method == "beam" else decoding.method
    if not molecules:
        return said
    constrained = decoding.constrained and model.tokenizer.kind == "atomwise"
    said += f", {'constrained' if constrained else 'not constrained'}"
    return said + f", invalid ones {'replaced' if decoding.valid else 'kept'}"


def _save_predictions(path: Path, given: str, inputs: list[str], references: list[str], outputs: list[str]) -> None:
    """MolT5's layout (three unquoted columns), which every evaluation script of the field reads."""
    lines = [f"{given}\tground truth\toutput"]
    lines += ["\t".join(" ".join(cell.split()) for cell in row) for row in zip(inputs, references, outputs)]
    write_whole(path, "\n".join(lines) + "\n")


def _settings(
    run: RunFolder, model: TrainedModel, config: EvaluationConfig, decoding: DecodingConfig, corpus: PreparedCorpus
) -> dict:
    experiment = model.experiment
    manifest = corpus.manifest
    return {
        "Model": asdict(model.config.transformer) | asdict(model.config.alignment),
        "Objectives": asdict(experiment.objectives),
        "Training": asdict(experiment.batches) | asdict(experiment.optimizer) | asdict(experiment.training),
        "Decoding": asdict(decoding),
        "Evaluation": asdict(config),
        "Corpus": {
            "splits": {name: len(corpus.split(name)) for name in corpus.splits},
            "tokenizer": manifest["tokenizer"],
        },
        "Versions": read_json(run.versions),
    }
