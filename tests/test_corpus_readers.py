"""Reading pairs: every format, and a bad row that costs that row only."""

import gzip
import json

import pytest

from atomas_jax.corpus.configuration import Source
from atomas_jax.corpus.readers import Record, Reject, read
from atomas_jax.errors import UserError

ROWS = [
    ("1", "CCO", 'An "alcohol", 20 ℃.'),
    ("2", "C/C=C\\C", "An alkene."),
    ("3", "c1ccccc1", "Benzene\nin two lines."),
]


def rows_of(path, **settings):
    return [(row.id, row.smiles, row.text) for row in read(Source(str(path), **settings))]


def split(source, **settings):
    rows = list(read(source, **settings))
    return [r for r in rows if isinstance(r, Record)], [r for r in rows if isinstance(r, Reject)]


def write_quoted(path):
    import csv

    with path.open("w", newline="") as handle:
        csv.writer(handle).writerows([("CID", "SMILES", "description"), *ROWS])
    return path


def test_quoted_csv_keeps_delimiters_quotes_and_line_breaks(tmp_path):
    assert rows_of(write_quoted(tmp_path / "a.csv")) == ROWS


def test_jsonl_parquet_and_their_gzip_give_the_same_rows(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    records = [{"id": i, "smiles": s, "caption": t} for i, s, t in ROWS]
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "d.json").write_text(json.dumps(records))
    pyarrow.parquet.write_table(pa.Table.from_pylist(records), tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet", "d.json"):
        assert rows_of(tmp_path / name) == ROWS, name


def test_tsv_takes_quotation_marks_literally(tmp_path):
    text = 'CID\tSMILES\tdescription\r\n7\tCCO\t"An" alcohol with an open "mark\r\n8\tC\tMethane.'
    for name, data in (("a.tsv", text.encode()), ("a.txt.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(data)
        assert rows_of(tmp_path / name) == [("7", "CCO", '"An" alcohol with an open "mark'), ("8", "C", "Methane.")]


def test_doubled_backslashes_are_repaired_unless_asked_not_to(tmp_path):
    (tmp_path / "a.tsv").write_text("SMILES\tdescription\nC/C=C\\\\C\tcis\n")
    assert rows_of(tmp_path / "a.tsv")[0][1] == "C/C=C\\C"
    assert rows_of(tmp_path / "a.tsv", backslashes="as_shipped")[0][1] == "C/C=C\\\\C"


def test_columns_by_name_by_number_and_by_guess(tmp_path):
    (tmp_path / "a.tsv").write_text("a\tb\nC\tMethane.\n")
    assert rows_of(tmp_path / "a.tsv", smiles="a", text="b") == [("2", "C", "Methane.")]
    (tmp_path / "b.tsv").write_text("C\tMethane.\n")
    assert rows_of(tmp_path / "b.tsv", header=False, smiles="1", text="2") == [("1", "C", "Methane.")]
    (tmp_path / "c.csv").write_text("SMILES;isosmiles;summary\n;C;Methane.\n")
    assert rows_of(tmp_path / "c.csv", delimiter=";") == [("2", "C", "Methane.")]


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_bad_row_is_refused_with_its_line_and_reading_goes_on(tmp_path, compress):
    rows = [
        b"CID\tSMILES\tdescription",
        b"1\tC\tMethane.",
        b"2\tCC",
        b"3\tCCC\tPropane \xff\xfe.",
        b"4\t\tNothing.",
        b"5\tCCCC\t  ",
        b"",
        b"6\tCO\tA\tB",
        b"7\tN\t" + b"x" * (1 << 21),
        b"8\tO\tWater.",
    ]
    path = tmp_path / ("a.tsv.gz" if compress is gzip.compress else "a.tsv")
    path.write_bytes(compress(b"\n".join(rows)))
    good, bad = split(Source(str(path)))
    assert [(r.line, r.id) for r in good] == [(2, "1"), (10, "8")]
    kinds = {r.line: r.reason.partition(": ")[0] for r in bad}
    assert kinds == {
        3: "wrong number of columns",
        4: "undecodable bytes",
        5: "empty SMILES",
        6: "empty caption",
        8: "wrong number of columns",
        9: "too long",
    }
    assert all(r.file == str(path) and len(r.raw) <= 200 for r in bad)


def test_an_open_quotation_mark_costs_its_row_only(tmp_path):
    lines = ["id,smiles,text", '1,C,"Methane"', '2,CC,"open', '3,CCC,"two', 'lines"', '4,CO,"open too', "5,N,Ammonia"]
    (tmp_path / "a.csv").write_text("\n".join(lines) + "\n")
    good, bad = split(Source(str(tmp_path / "a.csv")))
    assert [(r.line, r.id, r.text) for r in good] == [(2, "1", "Methane"), (4, "3", "two\nlines"), (7, "5", "Ammonia")]
    assert [(r.line, r.reason) for r in bad] == [(n, "a quotation mark that is never closed") for n in (3, 6)]


def test_bad_json_lines_are_refused(tmp_path):
    lines = [
        '{"smiles": "C", "text": "Methane."}',
        '{"smiles": ',
        '{"text": "x"}',
        '{"smiles": ["C"], "text": "x"}',
        "[]",
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    good, bad = split(Source(str(tmp_path / "a.jsonl")))
    assert [r.line for r in good] == [1] and [r.line for r in bad] == [2, 3, 4, 5]


def test_smiles_lists(tmp_path):
    (tmp_path / "a.smi").write_text("CCO ethanol of wine\nC\n\nc1ccccc1\tbenzene\n")
    good, bad = split(Source(str(tmp_path / "a.smi")), captions=False)
    assert [(r.smiles, r.id) for r in good] == [("CCO", "ethanol of wine"), ("C", "2"), ("c1ccccc1", "benzene")]
    assert not bad


def test_what_makes_a_whole_file_unreadable_is_one_line(tmp_path):
    (tmp_path / "empty.tsv").write_text("")
    (tmp_path / "header.tsv").write_text("SMILES\tdescription\n")
    for name in ("blank.tsv", "blank.csv"):
        (tmp_path / name).write_text("\n  \n\n")
    (tmp_path / "columns.tsv").write_text("structure\tdescription\nC\tMethane.\n")
    whole = gzip.compress(b"SMILES\tdescription\n" + b"C\tMethane.\n" * 9000)
    (tmp_path / "cut.tsv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "not.parquet").write_text("not parquet")
    (tmp_path / "pairs.xlsx").write_text("?")
    cases = {
        "missing.tsv": "no such file",
        "empty.tsv": "is empty",
        "header.tsv": "no rows",
        "blank.tsv": "no rows",
        "blank.csv": "no rows",
        "columns.tsv": "structure, description",
        "cut.tsv.gz": "cannot read",
        "not.parquet": "cannot read",
        "pairs.xlsx": "format",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=message) as caught:
            list(read(Source(str(tmp_path / name))))
        assert "\n" not in str(caught.value) and name in str(caught.value)


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Lines come one batch at a time: the first row is there long before the file is read."""
    path = tmp_path / "long.tsv"
    path.write_text("SMILES\tdescription\n" + ("C\t" + "Methane, again. " * 60 + "\n") * 40_000)
    import tracemalloc

    rows = read(Source(str(path)))
    next(rows)
    tracemalloc.start()
    count = sum(1 for _ in rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 39_999 and path.stat().st_size > 36 << 20
    # A few 4 MB blocks, cut into lines.
    assert peak < 24 << 20


def test_a_hub_data_set_is_read_as_its_local_stand_in(tmp_path, monkeypatch):
    """The same call to `datasets` as for the hub, given a folder laid out like the hub's."""
    import dataclasses

    import pyarrow as pa
    import pyarrow.parquet

    from atomas_jax.corpus import hub

    folder = tmp_path / "ChEBI-20-MM"
    (folder / "data").mkdir(parents=True)
    for name, rows in {"train": ROWS, "validation": ROWS[:1], "test": ROWS[1:]}.items():
        table = pa.table(
            {"CID": [int(r[0]) for r in rows], "SMILES": [r[1] for r in rows], "description": [r[2] for r in rows]}
        )
        pyarrow.parquet.write_table(table, folder / "data" / f"{name}-00000-of-00001.parquet")
    monkeypatch.setitem(hub.HUB, "chebi20", dataclasses.replace(hub.HUB["chebi20"], id=str(folder)))
    assert rows_of("chebi20") == ROWS
    assert rows_of("chebi20", split="test") == ROWS[1:]
    assert rows_of(folder, split="validation") == ROWS[:1]
    with pytest.raises(UserError, match="no split 'dev'; it has train, validation, test"):
        rows_of("chebi20", split="dev")
    with pytest.raises(UserError, match="cannot read split 'dev'"):
        rows_of(folder, split="dev")


def test_a_hub_name_out_of_reach_is_one_line(monkeypatch):
    import datasets

    def unreachable(*_, **__):
        raise ConnectionError("Couldn't reach 'owner/name' on the Hub\nand more")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(UserError) as caught:
        list(read(Source("owner/name")))
    assert "owner/name" in str(caught.value) and "\n" not in str(caught.value)


def test_a_source_in_one_word():
    source = Source.parse("x/pairs.csv,text=caption,quotes=literal,header=false,delimiter=\\t")
    assert source == Source("x/pairs.csv", text="caption", quotes="literal", header=False, delimiter="\t")
    assert Source.parse("chebi20:test") == Source("chebi20", split="test")
    for text in ("a.csv,colour=red", "a.csv,quotes=maybe", "a.csv,header=1", "a.csv,text"):
        with pytest.raises(UserError):
            Source.parse(text)


def test_reading_leaves_nothing_in_the_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write_quoted(tmp_path / "a.csv")
    assert len(rows_of(tmp_path / "a.csv")) == 3
    assert not (tmp_path / "cache").exists()


def test_a_source_as_one_word_and_back():
    source = Source("x/pairs.csv", text="caption", quotes="literal", header=False, delimiter="\t")
    assert Source.parse(source.word) == source
