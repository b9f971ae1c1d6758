"""Files of predictions: what is read, what is refused in one line, and the command."""

import gzip

import pytest

from atomas_jax.cli import main
from atomas_jax.corpus.configuration import Source
from atomas_jax.errors import UserError
from atomas_jax.evaluation.prediction_files import Columns, read_predictions

ROWS = [
    ("CCO", "An alcohol.", "An alcohol."),
    ("c1ccccc1O", 'A "phenol".', ""),
    ("C/C=C\\\\C", "A butene.", "A butane."),
]


def table(rows=ROWS, head="SMILES\tground truth\toutput") -> bytes:
    return "\n".join([head, *("\t".join(row) for row in rows), ""]).encode()


def test_rows_are_read_as_they_are(tmp_path):
    path = tmp_path / "p.txt"
    for data in (table(), gzip.compress(table()), b"\xef\xbb\xbf" + table().replace(b"\n", b"\r\n")):
        path.write_bytes(data)
        read = read_predictions(path)
        assert read.task == "captions"
        assert list(zip(read.inputs, read.references, read.answers)) == ROWS
    path.write_bytes(table(head="Description\tGround Truth\tmodel-x"))
    read = read_predictions(path, Columns(output="model-x"))
    assert read.task == "molecules" and read.answers == [row[2] for row in ROWS]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (table([]), "no rows"),
        (table(head="SMILES\ttruth\toutput"), "no reference column 'ground truth'; it has SMILES, truth, output"),
        (table(head="x\tground truth\toutput"), "no input column"),
        (table([*ROWS, ("C", "Methane.")]), "line 5: 2 columns, the header has 3"),
        (table().replace(b"alcohol", b"alc\xe9hol", 1), "line 2 is not UTF-8"),
        (table([("C", "x" * (10 << 20), "y")]), "line 2: a cell of more than 1,048,576"),
        (gzip.compress(table())[:-9], "cannot read"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, data, says):
    path = tmp_path / "p.txt"
    path.write_bytes(data)
    with pytest.raises(UserError, match=says):
        read_predictions(path)


def test_csv_and_json_lines_are_read_by_their_endings(tmp_path):
    quoted = 'SMILES,ground truth,output\nCCO,"An alcohol, of two carbons.","An ""alcohol""."\n'
    (tmp_path / "p.csv").write_text(quoted)
    row = '{"SMILES": "CCO", "ground truth": "An alcohol, of two carbons.", "output": "An \\"alcohol\\"."}\n'
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress(row.encode()))
    one, other = read_predictions(tmp_path / "p.csv"), read_predictions(tmp_path / "p.jsonl.gz")
    assert one == other
    assert one.answers == ['An "alcohol".']
    (tmp_path / "p.jsonl.gz").write_bytes(gzip.compress((row + "[1]\n").encode()))
    with pytest.raises(UserError, match="line 2 is no JSON object"):
        read_predictions(tmp_path / "p.jsonl.gz")
    for line, told in (("[" * 100_000, "line 2 is no JSON: "), ('{"SMILES": "C"}', "line 2 has no 'ground truth'")):
        (tmp_path / "p.jsonl").write_text(row + line + "\n")
        with pytest.raises(UserError, match=told):
            read_predictions(tmp_path / "p.jsonl")
    (tmp_path / "p.jsonl").write_text(row + '{"SMILES": "C", "ground truth": "Methane.", "output": null}\n')
    assert read_predictions(tmp_path / "p.jsonl").answers == ['An "alcohol".', ""]


def test_outputs_with_ids_are_joined_with_references_in_their_order(tmp_path):
    references, path = tmp_path / "test.tsv", tmp_path / "p.tsv"
    references.write_text("CID\tSMILES\tdescription\n7\tC/C=C\\\\C\tA butene.\n9\tCCO\tAn alcohol.\n")
    path.write_text("CID\tcaption2molecule\n9\tCCN\n7\tCC=CC\n")
    columns = Columns(output="caption2molecule")
    read = read_predictions(path, columns, "molecules", Source(str(references)))
    assert (read.inputs, read.answers) == (["A butene.", "An alcohol."], ["CC=CC", "CCN"])
    assert read.references == ["C/C=C\\C", "CCO"]
    shipped = read_predictions(path, columns, "molecules", Source(str(references), backslashes="as_shipped"))
    assert shipped.references[0] == "C/C=C\\\\C"
    for rows, told in (("9\tCCN\n", "1 of the references have no output"), ("9\tC\n9\tC\n7\tC\n", "ids more than once"),
                       ("9\tC\n7\tC\n8\tC\n", "1 outputs have no reference")):  # fmt: skip
        path.write_text("CID\tcaption2molecule\n" + rows)
        with pytest.raises(UserError, match=told):
            read_predictions(path, columns, "molecules", Source(str(references)))


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["evaluate", *map(str, arguments)])
    said = capsys.readouterr()
    return end.value.code, said.out, said.err.strip().splitlines()


def test_the_command_measures_a_file_beside_floors(tmp_path, capsys):
    path, train = tmp_path / "p.txt", tmp_path / "train.tsv"
    path.write_bytes(table())
    train.write_text("SMILES\tdescription\nOCC\tAn alcohol.\nCC=CC\tAn alkene.\n")
    code, out, _ = run(capsys, path)
    assert not code and "METEOR" in out and "another row" not in out
    assert "Among the rows: 1 empty predictions." in out
    code, out, _ = run(capsys, path, "--training", train, "--out", tmp_path / "out")
    assert not code and "nearest training pair" in out and "report.html" in out
    assert (tmp_path / "out/report.html").is_file() and (tmp_path / "out/examples.html").is_file()


def test_options_of_the_other_kind_are_refused(tmp_path, capsys):
    path = tmp_path / "p.txt"
    path.write_bytes(table())
    for arguments, says in (
        ((path, "--corpus", tmp_path), "--corpus"),
        ((path, "--spellings", "3"), "--spellings"),
        ((tmp_path, "--out", tmp_path), "no file of predictions"),
        ((path, "--columns.output", "gone"), "no output column 'gone'"),
        ((path, "--training", tmp_path / "none.tsv"), "no such file"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2 and len(err) == 1 and says in err[0]
