"""Preparing: identities, duplicates, leaks, splits, spellings, and the same bytes from any number of workers."""

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atomas_jax.chemistry.molecules import identity, scaffold
from atomas_jax.corpus.configuration import CorpusConfig, LeakageConfig, Source, SplitConfig
from atomas_jax.corpus.prepare import prepare
from atomas_jax.corpus.prepared import REJECTS, PreparedCorpus
from atomas_jax.corpus.splits import assign, position, slice_of
from atomas_jax.errors import UserError
from atomas_jax.tokens.training import train

ROOT = Path(__file__).parents[1]
RINGS = ("c1ccccc1", "C1CCCCC1", "c1ccncc1", "C1CCOC1", "c1ccsc1", "c1ccc2ccccc2c1")


def molecules():
    """120 distinct molecules: alcohols, acids and amines on chains and rings, with and without stereo."""
    chains = ["C" * n + end for n in range(1, 13) for end in ("O", "C(=O)O", "N", "Cl")]
    rings = [ring + "C" * n + end for ring in RINGS for n in range(1, 4) for end in ("O", "N", "F")]
    stereo = [f"C[C@{at}H]({'C' * n}C)O" for n in range(1, 10) for at in ("", "@")]
    return chains + rings + stereo


def caption(i):
    """A sentence of made-up words, so that a small tokenizer has something to learn."""
    rng = random.Random(i)
    syllables = [a + b for a in "bcdfghlmnprst" for b in ("a", "en", "i", "ol", "yl")]
    return f"Number {i} is " + " ".join("".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(12)) + "."


def write_pairs(path, pairs):
    path.write_text("CID\tSMILES\tdescription\n" + "".join(f"{i}\t{s}\t{t}\n" for i, (s, t) in enumerate(pairs, 1)))
    return Source(str(path))


def read_rejects(folder):
    """The refused rows of a prepared corpus."""
    return [json.loads(line) for line in (Path(folder) / REJECTS).read_text("utf-8").splitlines()]


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    train(map(caption, range(200)), molecules(), 900).save(folder)
    return str(folder)


@pytest.fixture
def prepared(tmp_path, tokenizer):
    """prepared(config settings...) -> (corpus, rejects); one worker, the small tokenizer."""
    count = iter(range(100))

    def make(**settings):
        folder = tmp_path / f"corpus{next(count)}"
        workers = settings.pop("workers", 1)
        prepare(CorpusConfig(**{"tokenizer": tokenizer, **settings}), folder, workers=workers)
        return PreparedCorpus.open(folder), read_rejects(folder)

    return make


@pytest.fixture
def pairs(tmp_path):
    return write_pairs(tmp_path / "pairs.tsv", [(s, caption(i)) for i, s in enumerate(molecules())])


def test_one_identity_a_molecule(tmp_path, prepared):
    rows = [
        ("CCO", "Ethanol."),
        ("OCC", "Ethanol.  "),
        ("C(C)O", "An alcohol."),
        ("CCO", "Ethanol."),
        ("CCN", "Ethanol."),
    ]
    corpus, rejects = prepared(sources=(write_pairs(tmp_path / "a.tsv", rows),))
    split = corpus.split("train")
    # The second and fourth rows repeat the first: the same molecule (however spelled) with the same caption.
    assert split.column("smiles") == ["CCO", "C(C)O", "CCN"] and split.column("text") == [
        "Ethanol.",
        "An alcohol.",
        "Ethanol.",
    ]
    assert split.molecule.tolist() == [0, 0, 1] and split.row(0)["key"] == identity("OCC").key
    assert corpus.manifest["counts"]["duplicates"] == 2 and not rejects
    assert corpus.manifest["splits"]["train"]["molecules"] == 2


def test_tokens_are_of_the_strings(prepared, pairs):
    corpus, _ = prepared(sources=(pairs,))
    split, tokenizer = corpus.split("train"), corpus.tokenizer
    for i in (0, 50, 119):
        assert tokenizer.decode_smiles(split.smiles_tokens(i)) == split.row(i)["smiles"] == molecules()[i]
        assert tokenizer.decode_text(split.text_tokens(i)) == split.row(i)["text"]
        assert split.smiles_tokens(i)[-1] == split.text_tokens(i)[-1] == tokenizer.eos_id
    lengths = corpus.manifest["lengths"]["train"]
    assert lengths["smiles"]["p100"] == split.smiles_length.max()
    assert lengths["text"]["mean"] == pytest.approx(split.text_length.mean(), abs=0.01)


def test_refused_rows_carry_file_line_and_reason(tmp_path, prepared):
    path = tmp_path / "a.tsv"
    path.write_text(
        "SMILES\tdescription\nCCO\tEthanol.\nC1CC\tAn open ring.\nO=Cl(=O)(=O)F\tNo valence.\n\tNothing.\nCC\n"
    )
    corpus, rejects = prepared(sources=(Source(str(path)),))
    assert [(each["file"], each["line"]) for each in rejects] == [(str(path), line) for line in (3, 4, 5, 6)]
    assert corpus.manifest["counts"]["rejected"] == {
        "empty SMILES": 1,
        "invalid molecule": 2,
        "wrong number of columns": 1,
    }
    (account,) = corpus.manifest["sources"]
    assert account["rows"] == 5 == sum(account["kept"].values()) + sum(account["rejected"].values())
    assert all(each["reason"] and each["source"] == "a" for each in rejects)


def leaky(tmp_path):
    train_rows = [
        ("OCC", "Another caption of ethanol."),
        ("C[C@H](N)C(=O)O", "One hand of alanine."),
        ("CCCC", "A  Caption that\twas held OUT.".replace("\t", " ")),
        ("CCCCC", "Pentane."),
    ]
    held = [
        ("CCO", "Ethanol."),
        ("C[C@@H](N)C(=O)O", "The other hand."),
        ("not a molecule", "A caption that was held out."),
    ]
    return write_pairs(tmp_path / "train.tsv", train_rows), write_pairs(tmp_path / "held.tsv", held)


def test_leaks_are_refused_by_identity_and_caption(tmp_path, prepared):
    source, held = leaky(tmp_path)
    reasons = {
        1: "in held-out held by identity",
        2: "in held-out held by identity without stereo",
        3: "in held-out held by caption",
    }
    for leakage, refused in [
        (LeakageConfig(), {1, 3}),
        (LeakageConfig(ignore_stereo=True), {1, 2, 3}),
        (LeakageConfig(by_caption=False), {1}),
        (LeakageConfig(by_identity=False), {3}),
    ]:
        corpus, rejects = prepared(sources=(source,), held_out=(held,), leakage=leakage)
        found = {each["line"] - 1: each["reason"] for each in rejects if each["source"] == "train"}
        assert found == {line: reasons[line] for line in refused}
        assert len(corpus.split("train")) == 4 - len(refused)


def test_given_splits_are_held_out_from_the_rest(tmp_path, prepared):
    every = molecules()
    source = write_pairs(tmp_path / "a.tsv", [(s, f"Caption {i}.") for i, s in enumerate(every)])
    validation = write_pairs(tmp_path / "v.tsv", [(s, f"Validation {i}.") for i, s in enumerate(every[:20])])
    # Two captions of each test molecule, and test shares molecules with validation: test is kept whole.
    test = write_pairs(tmp_path / "t.tsv", [(s, f"Test {i}, {k}.") for i, s in enumerate(every[10:30]) for k in (1, 2)])
    corpus, _ = prepared(sources=(source,), validation=(validation,), test=(test,))
    counts = corpus.manifest["counts"]
    assert counts["rows"] == {"train": len(every) - 30, "validation": 10, "test": 40}
    assert counts["rejected"] == {"in held-out t by identity": 30, "in held-out v by identity": 10}
    keys = {name: set(corpus.split(name).column("key")) for name in corpus.splits}
    assert not keys["train"] & keys["validation"] and not (keys["train"] | keys["validation"]) & keys["test"]


def test_a_slice_of_one_source_is_validation(tmp_path, prepared):
    every = molecules()
    first = write_pairs(tmp_path / "first.tsv", [(s, f"First {i}, {k}.") for i, s in enumerate(every) for k in (1, 2)])
    second = write_pairs(tmp_path / "second.tsv", [(s, f"Second {i}.") for i, s in enumerate(every)])
    corpus, rejects = prepared(sources=(second, first), split=SplitConfig(rows_from="first", rows=30))
    validation = corpus.split("validation")
    assert len(validation) == 30 and set(validation.column("source")) == {"first"}
    assert len(set(validation.molecule.tolist())) == 15
    assert {each["reason"] for each in rejects} == {"in held-out validation slice of first by identity"}
    assert not set(validation.column("key")) & set(corpus.split("train").column("key"))
    assert len(corpus.split("train")) == 3 * (len(every) - 15)
    with pytest.raises(UserError, match="usable rows"):
        prepared(sources=(second, first), split=SplitConfig(rows_from="first", rows=10_000))


@pytest.mark.parametrize("method", ["random", "scaffold"])
def test_all_rows_of_a_group_go_into_one_split(tmp_path, prepared, method):
    rows = [(s, f"Caption {i}, {k}.") for k in (1, 2) for i, s in enumerate(molecules())]
    source = write_pairs(tmp_path / "a.tsv", rows)
    split = SplitConfig(method, validation=0.3, test=0.3)
    corpus, _ = prepared(sources=(source,), split=split)
    assert set(corpus.splits) == {"train", "validation", "test"}
    where = {}
    for name in corpus.splits:
        for smiles, flat in zip(corpus.split(name).column("smiles"), corpus.split(name).column("flat_key")):
            where.setdefault((method == "scaffold" and scaffold(smiles)) or flat, set()).add(name)
    assert all(len(names) == 1 for names in where.values())
    assert sum(len(corpus.split(name)) for name in corpus.splits) == len(rows)
    again, _ = prepared(sources=(source,), split=replace(split, seed=1))
    assert again.split("test").column("id") != corpus.split("test").column("id")


def test_shares_of_a_hash_split():
    split = SplitConfig("random", validation=0.1, test=0.2, seed=3)
    names = [assign(split, f"group {i}") for i in range(20_000)]
    # Five standard deviations of the binomial: sqrt(20,000 * 0.2 * 0.8) = 57, and 42 for 0.1.
    assert abs(names.count("test") - 4000) < 285 and abs(names.count("validation") - 2000) < 212
    at = [position(0, str(i)) for i in range(5000)]
    assert 0 <= min(at) < 0.01 and 0.99 < max(at) < 1 and abs(np.mean(at) - 0.5) < 0.03


def test_a_slice_passes_over_molecules_that_do_not_fit():
    keys = [key for key, count in (("a", 3), ("b", 1), ("c", 3)) for _ in range(count)]
    for seed in range(10):
        chosen = slice_of(keys, 4, seed, "s")
        assert sum(keys.count(key) for key in chosen) == 4


def test_spellings_are_of_the_same_molecule_and_for_training_only(prepared, pairs):
    corpus, _ = prepared(sources=(pairs,), spellings=4, split=SplitConfig("random", validation=0.2, test=0))
    split, tokenizer = corpus.split("train"), corpus.tokenizer
    assert corpus.split("validation").spellings.max() == 1 and split.spellings.max() == 5
    for i in range(0, len(split), 7):
        spelled = [tokenizer.decode_smiles(split.smiles_tokens(i, k)) for k in range(split.spellings[i])]
        assert spelled[0] == split.row(i)["smiles"] and len(set(spelled)) == len(spelled)
        assert {identity(each).key for each in spelled} == {split.row(i)["key"]}


@pytest.mark.multiprocess
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, pairs):
    rows = [(s, caption(1000 + i)) for i, s in enumerate(molecules())] * 6
    config = CorpusConfig(
        sources=(pairs, write_pairs(tmp_path / "more.tsv", [*rows, ("C1CC", "An open ring.")])),
        held_out=(write_pairs(tmp_path / "held.tsv", [(s, "Held out.") for s in molecules()[::9]]),),
        split=SplitConfig("scaffold", 0.1, 0.1),
        vocab_size=900,
        spellings=2,
    )
    for workers in (1, 2):
        prepare(config, tmp_path / f"with{workers}", workers=workers)
    files = sorted(path.relative_to(tmp_path / "with1") for path in (tmp_path / "with1").rglob("*") if path.is_file())
    assert len(files) == 7
    for name in files:
        assert (tmp_path / "with1" / name).read_bytes() == (tmp_path / "with2" / name).read_bytes(), name


def test_a_trained_tokenizer_sees_training_rows_only(prepared, tmp_path):
    every = molecules()
    source = write_pairs(tmp_path / "a.tsv", [(s, caption(i)) for i, s in enumerate(every)])
    test = write_pairs(tmp_path / "t.tsv", [("CI", "qqqq zzzz qqqq zzzz qqqq zzzz")])
    corpus, _ = prepared(sources=(source,), test=(test,), tokenizer="train", vocab_size=900)
    assert corpus.manifest["tokenizer"]["vocab_size"] == corpus.tokenizer.vocab_size == 900
    assert corpus.manifest["tokenizer"]["sha256"] == corpus.tokenizer.sha256
    split = corpus.split("test")
    assert corpus.tokenizer.decode_text(split.text_tokens(0)) == "qqqq zzzz qqqq zzzz qqqq zzzz"
    assert split.text_length[0] > len("qqqq zzzz" * 3)  # spelled in bytes: these words were not seen


def test_a_prepared_corpus_with_its_tokenizer_is_read_without_rdkit_and_datasets(prepared, pairs):
    from test_corpus_prepared import READS_WITHOUT

    corpus, _ = prepared(sources=(pairs,))
    command = [sys.executable, "-c", READS_WITHOUT, str(corpus.folder), "tokenizer"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == caption(3), done.stderr


def test_settings_are_checked_before_any_work(tmp_path, tokenizer, pairs):
    cases = [
        (CorpusConfig(), "nothing to prepare"),
        (CorpusConfig(sources=(Source("missing.tsv"),)), "no such file"),
        (CorpusConfig(sources=(pairs,), split=SplitConfig("random", 0.6, 0.6)), "shares"),
        (CorpusConfig(sources=(pairs,), split=SplitConfig(rows_from="other", rows=5)), "none of the sources"),
        (CorpusConfig(sources=(pairs,), split=SplitConfig(rows=5)), "go together"),
        (CorpusConfig(sources=(pairs,), tokenizer="nowhere"), "nowhere"),
        (CorpusConfig(sources=(pairs,), tokenizer=tokenizer, held_out=(pairs,)), "no training row is left"),
    ]
    for config, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            prepare(config, tmp_path / "out", workers=1)
        assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_the_manifest_names_sources_sums_settings_and_versions(prepared, pairs):
    import hashlib

    corpus, _ = prepared(sources=(replace(pairs, licence="CC0"),))
    manifest = corpus.manifest
    (source,) = manifest["sources"]
    assert source["sha256"] == hashlib.sha256(Path(pairs.path).read_bytes()).hexdigest()
    assert source["licence"] == "CC0" and source["bytes"] == Path(pairs.path).stat().st_size
    assert (
        manifest["settings"]["split"]["method"] == "given" and manifest["settings"]["sources"][0]["path"] == pairs.path
    )
    assert {"rdkit", "datasets", "sentencepiece", "atomas_jax"} <= set(manifest["versions"])
    assert json.loads(json.dumps(manifest)) == manifest


def test_the_embedded_corpus_is_that_of_its_generator(prepared):
    from atomas_jax.corpus.embedded import embedded_pairs

    corpus, _ = prepared(embedded=60, seed=5, split=SplitConfig("scaffold", 0.2, 0.2))
    found = {
        row["id"]: row for name in corpus.splits for row in map(corpus.split(name).row, range(len(corpus.split(name))))
    }
    pairs = list(embedded_pairs(60, 5))
    assert len(found) == 60
    for pair in pairs:
        row = found[pair["id"]]
        assert (row["smiles"], row["text"], row["source"]) == (pair["smiles"], pair["text"], "embedded")
        assert json.loads(row["phrases"]) == pair["phrases"] != []


def test_a_smiles_file_is_described(tmp_path, prepared):
    (tmp_path / "mine.smi").write_text("CCO ethanol\nC1CC broken\nOC(=O)c1ccccc1\n")
    corpus, rejects = prepared(describe=(Source(str(tmp_path / "mine.smi")),))
    split = corpus.split("train")
    assert split.column("smiles") == ["CCO", "OC(=O)c1ccccc1"] and split.column("id") == ["ethanol", "3"]
    assert [each["line"] for each in rejects] == [2]
    for i, atoms in enumerate((3, 9)):
        row = split.row(i)
        for start, end, indices in json.loads(row["phrases"]):
            assert 0 <= start < end <= len(row["text"]) and all(0 <= each < atoms for each in indices)


def test_files_of_the_same_name_have_accounts_of_their_own(tmp_path, prepared):
    rows = [("C", "Methane."), ("CC", "Ethane."), ("CC", "Ethane."), ("CCC", "Propane."), ("not", "Nothing.")]
    sources = []
    for name, some in (("a", rows[:4]), ("b", rows[2:]), ("c", [("CCC", "Held out.")])):
        (tmp_path / name).mkdir()
        sources.append(write_pairs(tmp_path / name / "pairs.tsv", some))
    corpus, _ = prepared(sources=tuple(sources[:2]), held_out=(sources[2],))
    held, a, b = corpus.manifest["sources"]
    assert (held["role"], held["rows"], held["held_out"], held["kept"]) == ("held_out", 1, 1, {})
    assert (a["rows"], a["kept"], a["duplicates"], sum(a["rejected"].values())) == (4, {"train": 2}, 1, 1)
    assert (b["rows"], b["kept"], b["duplicates"], sum(b["rejected"].values())) == (3, {}, 1, 2)
