"""The page of all rows: what it embeds, and that nothing in the data can break out of it."""

import json
import re

import pytest

from atomas_jax.chemistry import outlines
from atomas_jax.chemistry.outlines import outline
from atomas_jax.errors import UserError
from atomas_jax.evaluation import slices
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.examples import Sheet, write_examples
from atomas_jax.evaluation.molecules import molecule_metrics

MOLECULES = ["CCO", "c1ccccc1O", "CC(=O)O"]
PREDICTED = ["CCO", "((", "CC(=O)N"]
TEXTS = ["An alcohol.", "A phenol </script><script>alert(1)</script>", "An <!-- acid & more.\u2028"]
SAID = ["An alcohol.", "", "An amide."]


def bonds(drawn) -> list[tuple[int, int, int]]:
    return list(zip(*(drawn["b"][k::3] for k in range(3))))


def labels(smiles) -> dict[int, str]:
    return {index: label for index, _, label, _ in outline(smiles)["t"]}


def test_an_outline_has_every_atom_and_bond_one_bond_long():
    drawn = outline("c1ccccc1O")
    points = list(zip(drawn["p"][::2], drawn["p"][1::2]))
    assert len(points) == 7 and len(bonds(drawn)) == 7
    assert min(map(min, points)) == 0
    for first, second, _ in bonds(drawn):
        (ax, ay), (bx, by) = points[first], points[second]
        assert ((ax - bx) ** 2 + (ay - by) ** 2) ** 0.5 == pytest.approx(outlines.UNIT, abs=1.5)
    assert sorted(kind for *_, kind in bonds(drawn)).count(outlines.SINGLE) == 4
    centre = [sum(axis[:6]) / 6 for axis in zip(*points)]
    for first, second, kind in bonds(drawn):
        if kind in (outlines.LEFT, outlines.RIGHT):  # the second line lies inside the ring
            (ax, ay), (bx, by) = points[first], points[second]
            turn = (bx - ax) * (centre[1] - ay) - (by - ay) * (centre[0] - ax)
            assert (turn > 0) == (kind == outlines.RIGHT)


def test_an_outline_writes_hydrogens_charges_isotopes_and_stereo():
    assert set(labels("CCO").values()) <= {"OH", "HO"}
    assert labels("[NH4+]") == {0: "NH₄⁺"} and labels("C") == {0: "CH₄"} and labels("[Fe+2]") == {0: "Fe²⁺"}
    assert "¹³CH₃" in labels("[13CH3]CN").values() or "H₃¹³C" in labels("[13CH3]CN").values()
    assert labels("CC") == {}
    kinds = [kind for *_, kind in bonds(outline("C[C@H](N)C(=O)O"))]
    assert {outlines.WEDGE, outlines.DASH} & set(kinds)
    assert not {outlines.WEDGE, outlines.DASH} & {kind for *_, kind in bonds(outline("CC(N)C(=O)O"))}
    assert [kind for *_, kind in bonds(outline("C#C"))] == [outlines.TRIPLE]
    assert outline("((") == "not a valid SMILES" and "too large" in outline("C" * 300)


def page_data(page: str) -> dict:
    (held,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(held)


def test_the_page_holds_every_row_and_stands_alone(tmp_path):
    captions, molecules = caption_metrics(TEXTS, SAID), molecule_metrics(MOLECULES, PREDICTED)
    cuts = slices.slicings(MOLECULES, TEXTS)
    sheets = [
        Sheet("Captions", captions, {"Molecule": MOLECULES}, {"Reference": TEXTS, "Model": SAID}, True, cuts),
        Sheet("Molecules", molecules, {"Reference": MOLECULES, "Generated": PREDICTED}, {"Text": TEXTS}),
    ]
    page = write_examples(tmp_path / "examples.html", "A <page>", sheets).read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["examples.html"]
    assert page.count("<script") == page.count("</script>") == 2 and "<!--" not in page
    assert "A &lt;page&gt;" in page and not re.search(r"(src|href)=|url\(|@import|fetch\(", page)
    data = page_data(page)
    assert data["smiles"] == ["CCO", "c1ccccc1O", "CC(=O)O", "((", "CC(=O)N"]
    assert len(data["outlines"]) == 5 and data["outlines"][3] == "not a valid SMILES"
    first, second = data["sheets"]
    assert first["texts"] == [TEXTS, SAID] and second["molecules"] == [[0, 1, 2], [0, 3, 4]]
    names = [metric["name"] for metric in second["metrics"]]
    assert names[second["primary"]] == "Morgan" and second["scores"][names.index("Morgan")][1] is None
    assert second["scores"][names.index("Exact")] == [1, 0, 0]
    assert next(metric["name"] for metric in second["metrics"] if metric["flag"]) == "Exact"
    assert not second["metrics"][names.index("Levenshtein")]["higher"]
    assert [len(cut["member"]) for cut in first["cuts"]] == [3, 3, 3]


def test_a_column_of_another_length_is_refused(tmp_path):
    sheet = Sheet("Captions", caption_metrics(TEXTS, SAID), {"Molecule": MOLECULES[:2]}, {"Reference": TEXTS})
    with pytest.raises(UserError, match="2 rows of 'Molecule' beside 3 measured"):
        write_examples(tmp_path / "examples.html", "x", [sheet])
    assert not list(tmp_path.iterdir())
