"""Results as a paper takes them: a CSV line and a LaTeX table for every system."""

import csv
import io
import math

from atomas_jax.evaluation import tables
from atomas_jax.evaluation.results import Results, metric

_BETTER = {True: r"$\uparrow$", False: r"$\downarrow$"}


def csv_text(results: Results) -> str:
    """One line a system of each task: task, system, protocol, rows, data, then each metric with the ends of its
    interval; a cell is empty where a task has no such metric."""
    names = list(dict.fromkeys(name for table in results.values() for name in tables.metrics_of(table)))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [head for name in names for head in (name, f"{name} low", f"{name} high")]
    writer.writerow(["task", "system", "protocol", "rows", "data", *heads])
    for task, table in results.items():
        for system, result in table.items():
            cells = []
            for name in names:
                score = result.scores.get(name)
                values = (math.nan,) * 3 if score is None else (score.value, score.low, score.high)
                cells += ["" if math.isnan(value) else f"{value:.6g}" for value in values]
            stamp = result.stamp
            writer.writerow([task, system, stamp.protocol, stamp.rows, stamp.data, *cells])
    return out.getvalue()


def latex_text(results: Results) -> str:
    r"""A `tabular` for each task (booktabs), systems in lines, the best of a column bold; the stamp as a comment.

    Numbers below one lose their leading zero, as the field prints them.
    """
    parts = []
    for task, table in results.items():
        tables.check_comparable(table)
        names = tables.metrics_of(table)
        best = {name: tables.best_of(table, name) for name in names}
        heads = [f"{_escaped(name)} {_BETTER[metric(name).higher_is_better]}" for name in names]
        columns = "l" + "r" * len(names)
        lines = [f"% {task}: {tables.stamp_text(table)}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        lines += [" & ".join(["System", *heads]) + r" \\", r"\midrule"]
        for system, result in table.items():
            cells = [_cell(name, result.scores.get(name), best[name] == system) for name in names]
            lines.append(" & ".join([_escaped(system), *cells]) + r" \\")
        parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
    return "\n\n".join([r"% \usepackage{booktabs}", *parts]) + "\n"


def _cell(name, score, best: bool) -> str:
    if score is None or math.isnan(score.value):
        return "--"
    text = tables.value_text(name, score.value).replace(",", "{,}")
    text = text.removeprefix("0") if text.startswith("0.") else text
    return rf"\textbf{{{text}}}" if best else text


def _escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
