"""SMILES and captions of the real data beside the project, for tests."""

import gzip
from collections.abc import Iterator
from pathlib import Path

# File under data/, columns of SMILES, columns of captions; one header line, tab-separated, quotes literal.
TABLES = {
    "chebi20/test.txt.gz": ((1,), (2,)),
    "chebi20/validation.txt.gz": ((1,), (2,)),
    "chebi20/train_partial.tsv.gz": ((1,), (2,)),
    "chebi20/cid_to_smiles.tsv.gz": ((1,), ()),
    "gitmol_pairs/pairs.tsv.gz": ((2, 3), (4,)),
    "pcdes/index.tsv.gz": ((2,), ()),
    "pcdes/validation.txt.gz": ((1,), (2,)),
    "pcdes/test.txt.gz": ((1,), (2,)),
    "pubchem324k/test.txt.gz": ((1,), (2,)),
    "pubchem324k/valid.txt.gz": ((1,), (2,)),
}


def lines(path: Path) -> list[str]:
    """Lines of a gzip'd UTF-8 file, cut at LF only."""
    return gzip.decompress(path.read_bytes()).decode("utf-8").removesuffix("\n").split("\n")


def table_strings(shared: Path, what: int, tables=TABLES) -> Iterator[str]:
    """SMILES (`what` 0; doubled backslashes undone, empty ones left out) or captions (`what` 1) of the tables."""
    for name, columns in tables.items():
        if not columns[what]:
            continue
        for line in lines(shared / "data" / name)[1:]:
            row = line.split("\t")
            for column in columns[what]:
                if row[column]:
                    yield row[column].replace("\\\\", "\\") if what == 0 else row[column]


def zinc(shared: Path) -> list[str]:
    """The 249,455 SMILES of ZINC 250k."""
    return lines(shared / "data/zinc250k/zinc250k.smi.gz")
