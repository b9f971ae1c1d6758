"""Results as tables: metrics against floors. Shared by the terminal and the report."""

import math
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from atomas_jax.errors import UserError
from atomas_jax.evaluation.results import METRICS, Results, Score, Table, metric

PRIMARY = ("METEOR", "Morgan", "MRR")
"""The metric that a one-sentence verdict is about, the first that a table has."""


def check_comparable(table: Table) -> None:
    """Raise `UserError` naming the difference when two systems of one table were not measured alike."""
    systems = list(table)
    for system in systems[1:]:
        reason = table[systems[0]].stamp.difference(table[system].stamp)
        if reason:
            raise UserError(f"'{systems[0]}' and '{system}' may not stand in one table: {reason}")


def metrics_of(table: Table) -> list[str]:
    """The metrics any system of the table has, in the order of `METRICS`, R@k by k."""
    names = {name for result in table.values() for name in result.scores}
    order = list(METRICS)

    def place(name: str) -> tuple[int, int]:
        return (order.index("R@k"), int(name[2:])) if name.startswith("R@") else (order.index(name), 0)

    return sorted(names, key=place)


def best_of(table: Table, name: str) -> str | None:
    """The system with the best value of a metric; None when there are not two different values."""
    values = {system: r.scores[name].value for system, r in table.items() if name in r.scores}
    values = {system: value for system, value in values.items() if not math.isnan(value)}
    if len(set(values.values())) < 2:
        return None
    return (max if metric(name).higher_is_better else min)(values, key=values.__getitem__)


def value_text(name: str, value: float) -> str:
    """A value at the metric's decimals, thousands separated; a dash for none."""
    return "–" if math.isnan(value) else f"{value:,.{metric(name).decimals}f}"


def interval_text(name: str, score: Score) -> str:
    """The interval as "0.401–0.423", '' when there is none."""
    return "" if math.isnan(score.low) else f"{value_text(name, score.low)}–{value_text(name, score.high)}"


def verdict(table: Table) -> str:
    """One sentence: the first system's primary metric, and how far it is from each of the others."""
    name = next((name for name in PRIMARY if name in metrics_of(table)), None)
    systems = list(table)
    if name is None or name not in table[systems[0]].scores:
        return ""
    own = table[systems[0]][name]
    parts = []
    for system in systems[1:]:
        if name in table[system].scores and not math.isnan(table[system][name]):
            gap = own - table[system][name]
            side = "above" if gap > 0 else "below"
            parts.append(f"{value_text(name, abs(gap))} {side} {system}" if gap else f"level with {system}")
    said = f"{name} of {systems[0]}: {value_text(name, own)}"
    return f"{said}; {', '.join(parts)}." if parts else f"{said}."


def stamp_text(table: Table) -> str:
    """The stamp of a table in one line: protocol, choices, rows, data, versions."""
    stamp = next(iter(table.values())).stamp
    parts = [f"protocol {stamp.protocol}", *(f"{k}: {v}" for k, v in stamp.settings.items())]
    parts += [f"{stamp.rows:,} rows", f"data {stamp.data}", *(f"{k} {v}" for k, v in stamp.versions.items())]
    return " · ".join(parts)


def terminal_table(heading: str, table: Table, intervals: bool = True) -> RichTable:
    """One table for rich: a row for each metric, a column for each system, the best of a row bold."""
    check_comparable(table)
    shown = RichTable(title=heading, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    shown.add_column("")
    for system in table:
        shown.add_column(system, justify="right")
    for name in metrics_of(table):
        best = best_of(table, name)
        cells = []
        for system, result in table.items():
            score = result.scores.get(name)
            cell = Text("–" if score is None else value_text(name, score.value), style="bold" if system == best else "")
            if intervals and score is not None and interval_text(name, score):
                cell.append(f"  {interval_text(name, score)}", style="dim not bold")
            cells.append(cell)
        shown.add_row(f"{name} {'↑' if metric(name).higher_is_better else '↓'}", *cells)
    shown.caption, shown.caption_justify, shown.caption_style = stamp_text(table), "left", "dim"
    return shown


def print_results(results: Results, console: Console | None = None, notes: Sequence[str] = ()) -> None:
    """Print every table with its verdict; intervals only where the terminal is wide enough for them."""
    console = console or Console()
    for heading, table in results.items():
        wide = console.width >= 24 + 26 * len(table)
        console.print(terminal_table(heading, table, intervals=wide))
        if verdict(table):
            console.print(verdict(table), highlight=False)
        console.print()
    for note in notes:
        console.print(note, highlight=False)
