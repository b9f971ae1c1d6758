"""The report page: one file, everything in it, nothing from outside."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from atomas_jax.errors import UserError
from atomas_jax.evaluation import report
from atomas_jax.evaluation.captions import caption_metrics
from atomas_jax.evaluation.curves import curves, read_log
from atomas_jax.evaluation.molecules import molecule_metrics
from atomas_jax.evaluation.ranking import both_directions, chance

MOLECULES = ["CCO", "c1ccccc1O", "CC(=O)O"]
TEXTS = ["An alcohol.", "A phenol <script>alert(1)</script>", "An acid & more."]
VOID = {"meta", "br", "img", "link", "path", "use", "rect", "ellipse", "line", "circle", "polygon", "polyline"}


class Outline(HTMLParser):
    """Which elements are open at the end, which were met, and what they ask of the network."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: set[str] = set()
        self.outside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.met.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "srcset", "data") and not (value or "").startswith("#"):
                self.outside.append(value)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.jsonl"
    lines = [
        {"step": s, "kind": "train", "time": s / 2, "loss": 9 / (s + 1), "global": 1.0, "odd": s} for s in range(40)
    ]
    lines += [{"step": s, "kind": "validation", "time": s, "loss": 9 / (s + 1)} for s in (0, 20)]
    lines += [{"step": 5, "kind": "train", "loss": 7.0}, {"step": 6, "kind": "train", "loss": float("nan")}]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 41, "lo')
    return path


def test_the_log_is_read_past_nans_resumes_and_a_cut_line(log):
    series = read_log(log)
    loss = dict(series["train", "loss"])
    assert loss[5] == 7.0 and 41 not in loss and loss[6] == pytest.approx(9 / 7)
    assert [step for step, _ in series["validation", "loss"]] == [0, 20]
    assert [title for title, _ in curves(series)] == ["Total loss", "Alignment loss", "Odd"]
    with pytest.raises(UserError, match="cannot read the log"):
        read_log(log.with_name("none"))


def test_a_curve_takes_its_colours_from_the_page_and_is_the_same_twice(log):
    first, second = curves(read_log(log)), curves(read_log(log))
    assert first == second
    assert "var(--c1)" in first[0][1] and "#0102" not in first[0][1]


def test_the_page_stands_alone_and_holds_what_it_was_given(tmp_path, log):
    predictions = ["CCO", "((", "CC(=O)N"]
    captions = caption_metrics(TEXTS, ["An alcohol.", "", "A phenol."])
    molecules = molecule_metrics(MOLECULES, predictions)
    source = np.random.default_rng(0)
    found, ranked = both_directions(*source.normal(size=(2, 3, 4)))
    results = {
        "captions": {"the model": captions},
        "molecules": {"the model": molecules, "a copy": molecule_metrics(MOLECULES, MOLECULES)},
        **{way: {"the model": r, "chance": chance(3, 3, r)} for way, r in found.items()},
    }
    path = report.write_report(
        tmp_path / "run",
        "A <run>",
        results,
        log,
        {"Versions": {"rdkit": "2026"}},
        report.caption_examples(captions, MOLECULES, TEXTS, ["An alcohol.", "", "A phenol."]),
        report.molecule_examples(molecules, TEXTS, MOLECULES, predictions),
        report.retrieval_examples(ranked["text to molecule"], TEXTS, MOLECULES),
        notes=["Trained on nothing & tested on three rows."],
    )
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    page = path.read_text(encoding="utf-8")
    outline = Outline(page)
    assert outline.open == [] and outline.outside == []
    assert not {"script", "link", "img", "iframe"} & outline.met
    assert "url(http" not in page and "@import" not in page
    assert "A &lt;run&gt;" in page and "nothing &amp; tested" in page
    text = re.sub(r"<[^>]+>", " ", page)
    for wanted in (
        "not a valid molecule",
        "(empty)",
        "3 candidates",
        "protocol plain",
        "below a copy",
        "own molecule at",
    ):
        assert wanted in re.sub(r"\s+", " ", text)
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert {"metrics", "training", "captions", "molecules", "retrieval", "settings"} <= set(ids)


def test_a_page_of_nothing_is_still_a_page(tmp_path):
    page = report.write_report(tmp_path, "Empty", {}).read_text()
    assert Outline(page).open == [] and "Metrics" not in page


def test_systems_measured_differently_are_kept_off_one_page(tmp_path):
    table = {"a": molecule_metrics(["C"], ["C"]), "b": molecule_metrics(["CC"], ["C"])}
    with pytest.raises(UserError, match="may not stand in one table"):
        report.write_report(tmp_path, "x", {"molecules": table})
    assert not (tmp_path / "report.html").exists()


def test_examples_run_from_the_best_to_the_worst():
    values = np.array([0.5, np.nan, 1.0, 0.0, 0.7])
    assert report.spaced(values, 3) == [2, 0, 1]
    assert report.spaced(values, 99) == [2, 4, 0, 3, 1]
