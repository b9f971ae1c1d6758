"""Answers as lines, as JSON and as a page with drawn molecules."""

import json
from collections.abc import Sequence
from html import escape

from atomas_jax.chemistry.drawing import svg
from atomas_jax.retrieval.finder import Answer, Hit

COLUMNS = (
    "query", "rank", "score", "probability", "similarity", "id", "smiles", "formula", "weight", "logp", "charge",
    "twins",
)  # fmt: skip
"""Of the tab-separated form; an index's own columns follow."""
NOTHING = "nothing here matches"


def as_lines(answers: Sequence[Answer], columns: Sequence[str]) -> list[str]:
    """Tab-separated lines under a header; a question that nothing matches has one line with rank 0 that says so."""
    lines = ["\t".join([*COLUMNS, *columns])]
    for answer in answers:
        words = " ".join(answer.question.words.split())
        if not answer.hits:
            lines.append("\t".join([words, "0", NOTHING, *[""] * (len(COLUMNS) - 3 + len(columns))]))
        for rank, hit in enumerate(answer.hits, 1):
            row = hit.row
            cells = [
                words, str(rank), f"{hit.score:.4f}", _decimals(hit.probability), _decimals(hit.similarity), row["id"],
                row["canonical"], row["formula"], f"{row['weight']:.2f}", f"{row['logp']:.2f}", f"{row['charge']:+d}",
                " ".join(hit.twins), *(row.get(column) or "" for column in columns),
            ]  # fmt: skip
            lines.append("\t".join(" ".join(cell.split()) for cell in cells))
    return lines


def as_values(answers: Sequence[Answer], columns: Sequence[str]) -> list[dict]:
    """What JSON holds of the answers."""
    return [
        {
            "query": answer.question.words,
            "kind": "text" if answer.question.text else "molecule",
            "but_not": list(answer.question.but_not),
            "nothing_matches": answer.nothing,
            "hits": [_value(rank, hit, columns) for rank, hit in enumerate(answer.hits, 1)],
        }
        for answer in answers
    ]


def as_json(answers: Sequence[Answer], columns: Sequence[str]) -> str:
    """The answers as an indented JSON list."""
    return json.dumps(as_values(answers, columns), indent=2, ensure_ascii=False)


def as_page(answers: Sequence[Answer], columns: Sequence[str], about: str) -> str:
    """A page of its own: a card with a drawing for every hit. `about` says what was searched."""
    parts = []
    for answer in answers:
        asked = f"{'like' if answer.question.smiles else ''} {escape(answer.question.words)}"
        asked += "".join(f" <i>but not {escape(text)}</i>" for text in answer.question.but_not)
        cards = "".join(_card(rank, hit, columns) for rank, hit in enumerate(answer.hits, 1))
        said = f"<p class=none>{NOTHING}</p>" if answer.nothing else ""
        parts.append(f"<section><h2>{asked}</h2>{said}<div class=hits>{cards}</div></section>")
    return _PAGE.replace("{about}", escape(about)).replace("{answers}", "\n".join(parts))


def _value(rank: int, hit: Hit, columns: Sequence[str]) -> dict:
    row = hit.row
    names = ("id", "smiles", "canonical", "key", "formula", "weight", "logp", "charge")
    return {
        "rank": rank,
        "score": hit.score,
        "cosine": hit.cosine,
        "probability": hit.probability,
        "similarity": hit.similarity,
        **{name: row[name] for name in names},
        "twins": list(hit.twins),
        "columns": {column: row.get(column) for column in columns},
    }


def _card(rank: int, hit: Hit, columns: Sequence[str]) -> str:
    row = hit.row
    facts = [f"score {hit.score:.3f}"]
    facts += [f"probability {hit.probability:.2f}"] if hit.probability is not None else []
    facts += [f"similarity {hit.similarity:.2f}"] if hit.similarity is not None else []
    facts += [f"{row['formula']}, {row['weight']:.1f} g/mol, logP {row['logp']:.1f}, charge {row['charge']:+d}"]
    facts += [f"{column}: {row.get(column) or '–'}" for column in columns]
    facts += [f"{len(hit.twins)} stereo twins" if len(hit.twins) > 1 else "1 stereo twin"] if hit.twins else []
    listed = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    smiles = escape(row["canonical"])
    return (
        f"<article><h3>{rank}. {escape(row['id'])}</h3>{svg(row['canonical'])}"
        f"<ul>{listed}</ul><code>{smiles}</code></article>"
    )


def _decimals(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Molecules found</title>
<style>
body { margin: 0 auto; max-width: 1500px; padding: 16px 24px; background: #fbfaf8; color: #1d1f23;
  font: 14px/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
h2 { font-size: 18px; margin: 28px 0 10px; } h2 i { color: #b3372e; font-weight: 400; }
h3 { font-size: 13px; margin: 0; } .about, .none { color: #6a6f78; }
.hits { display: grid; grid-template-columns: repeat(auto-fill, minmax(265px, 1fr)); gap: 12px; }
article { background: #fff; border: 1px solid #e3e1dc; border-radius: 10px; padding: 10px 12px; }
article svg { display: block; margin: auto; } ul { margin: 0; padding: 0; list-style: none; }
code { font-size: 11px; color: #6a6f78; overflow-wrap: anywhere; }
</style></head><body><p class="about">{about}</p>
{answers}
</body></html>
"""
