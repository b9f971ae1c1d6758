"""The faults of real data files (README of the shared data), read and prepared."""

import pytest
from test_corpus_prepare import read_rejects

from atomas_jax.chemistry.molecules import InvalidMolecule, identity
from atomas_jax.corpus.configuration import CorpusConfig, LeakageConfig, Source, SplitConfig
from atomas_jax.corpus.curation import caption_digest
from atomas_jax.corpus.prepare import prepare
from atomas_jax.corpus.prepared import PreparedCorpus
from atomas_jax.corpus.readers import Record, read


@pytest.fixture(scope="module")
def data(shared):
    return shared / "data"


def records(path, **settings):
    rows = list(read(Source(str(path), **settings)))
    assert all(isinstance(row, Record) for row in rows)
    return rows


def test_chebi20_test_as_shipped_and_repaired(data):
    fixed = records(data / "chebi20" / "test.txt.gz")
    shipped = records(data / "chebi20" / "test.txt.gz", backslashes="as_shipped")
    assert len(fixed) == len(shipped) == 3300
    changed = [(a.smiles, b.smiles) for a, b in zip(fixed, shipped) if a.smiles != b.smiles]
    assert len(changed) == 484 == sum("\\" in row.smiles for row in fixed)
    assert not any("\\\\" in row.smiles for row in fixed) and all("\\\\" in b for _, b in changed)
    assert all(identity(a).key == identity(b).key for a, b in changed[:50])
    assert sum("℃" in row.text for row in fixed) == 7
    assert sum('"' in row.text for row in fixed) == 5
    assert all(row.text == other.text for row, other in zip(fixed, shipped))


def test_quoted_csv_and_literal_tsv_give_the_same_rows(data):
    tsv, csv = records(data / "chebi20" / "test.txt.gz"), records(data / "chebi20" / "mm_test.csv.gz")
    assert [(r.id, r.smiles, r.text) for r in tsv] == [(r.id, r.smiles, r.text) for r in csv]


def test_gitmol_has_its_smiles_in_isosmiles(data):
    path = data / "gitmol_pairs" / "pairs.tsv.gz"
    assert len(records(path)) == 4512
    rows = list(read(Source(str(path), smiles="SMILES")))
    refused = [row for row in rows if not isinstance(row, Record)]
    assert len(refused) == 761 and {row.reason for row in refused} == {"empty SMILES"}


def test_every_row_of_every_pair_file_is_read(data):
    counts = {
        "chebi20/validation.txt.gz": 3301,
        "chebi20/train_partial.tsv.gz": 3879,
        "pcdes/validation.txt.gz": 1500,
        "pcdes/test.txt.gz": 3000,
        "pubchem324k/test.txt.gz": 2000,
        "pubchem324k/valid.txt.gz": 1000,
        "iupac_names/test.txt.gz": 1985,
    }
    assert {name: len(records(data / name)) for name in counts} == counts
    zinc = read(Source(str(data / "zinc250k" / "zinc250k.smi.gz")), captions=False)
    assert sum(1 for _ in zinc) == 249_455


@pytest.fixture(scope="module")
def decontaminated(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "corpus"
    config = CorpusConfig(
        sources=(Source(str(data / "pcdes" / "validation.txt.gz"), name="pcdes-validation"),),
        held_out=(
            Source(str(data / "chebi20" / "test.txt.gz"), name="chebi20-test"),
            Source(str(data / "pcdes" / "test.txt.gz"), name="pcdes-test"),
        ),
        leakage=LeakageConfig(ignore_stereo=True),
        split=SplitConfig("scaffold", validation=0.1, test=0),
        vocab_size=2048,
    )
    prepare(config, folder, workers=2)
    return PreparedCorpus.open(folder)


@pytest.mark.multiprocess
def test_nothing_of_the_held_out_files_is_left(data, decontaminated):
    keys, flat_keys, captions = set(), set(), set()
    for name in ("chebi20/test.txt.gz", "pcdes/test.txt.gz"):
        for row in records(data / name):
            captions.add(caption_digest(row.text))
            try:
                found = identity(row.smiles)
            except InvalidMolecule:
                continue
            keys.add(found.key)
            flat_keys.add(found.flat_key)
    left = 0
    for name in decontaminated.splits:
        split = decontaminated.split(name)
        left += len(split)
        assert keys.isdisjoint(split.column("key")) and flat_keys.isdisjoint(split.column("flat_key"))
        assert captions.isdisjoint(map(caption_digest, split.column("text")))
    # README: 104 molecules by canonical SMILES with ChEBI-20 test; InChI, stereo twins and captions find more.
    assert 1000 < left < 1500 - 104


@pytest.mark.multiprocess
def test_the_unparsable_row_of_pcdes_is_among_the_rejects_with_its_line(data, decontaminated):
    lines = {row.smiles: row.line for row in records(data / "pcdes" / "test.txt.gz")}
    unparsable = [each for each in read_rejects(decontaminated.folder) if each["reason"].startswith("invalid molecule")]
    assert [(each["source"], each["line"]) for each in unparsable] == [("pcdes-test", lines["O=Cl(=O)(=O)F"])]
    assert unparsable[0]["file"] == str(data / "pcdes" / "test.txt.gz")
    counts = decontaminated.manifest["counts"]
    assert counts["read"] == 1500 + 3300 + 3000
    assert counts["read"] == sum(counts["rows"].values()) + sum(counts["rejected"].values()) + counts["held_out"]
