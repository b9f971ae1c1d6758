"""Training curves from a run's log, as SVG that takes its colours from the page it stands in."""

import io
import math
from collections import defaultdict
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from atomas_jax import run_folder

Series = dict[tuple[str, str], list[tuple[int, float]]]
"""(kind, name) to (step, value) pairs in order of step; kind is "train" or "validation"."""

PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Total loss", ("loss",)),
    ("Language loss", ("caption", "generation", "language")),
    ("Tokens predicted right", ("caption_accuracy", "generation_accuracy")),
    ("Alignment loss", ("global", "hierarchical")),
    ("Hierarchical alignment by level", ("hierarchical_0", "hierarchical_1", "hierarchical_2")),
    ("Retrieval: R@1", ("text_to_molecule_R1", "molecule_to_text_R1")),
    ("Retrieval: mean reciprocal rank", ("text_to_molecule_MRR", "molecule_to_text_MRR")),
    ("Learning rate", ("learning_rate",)),
    ("Gradient norm", ("gradient_norm",)),
    ("Pairs per second", ("pairs_per_second",)),
    ("Refused steps", ("refused",)),
)
_BOOKKEEPING = {"step", "kind", "time"}
# Placeholders matplotlib can draw with; the page's own colours replace them.
_INK, _FAINT, _LINES = "#010203", "#010204", ("#010205", "#010206", "#010207")
_VARIABLES = {_INK: "var(--muted)", _FAINT: "var(--line)", **dict(zip(_LINES, ("var(--c1)", "var(--c2)", "var(--c3)")))}


def read_log(path: str | Path) -> Series:
    """Every numeric series of a `log.jsonl`. A line cut short by a kill, and values that are not finite, are left
    out; of a step logged twice (a resumed run) the later line counts. Raises `UserError` for a missing file."""
    found: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for entry in run_folder.read_log(path):
        for name, value in entry.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if name not in _BOOKKEEPING and number and math.isfinite(value):
                found[str(entry.get("kind", "train")), name][entry["step"]] = float(value)
    return {key: sorted(points.items()) for key, points in found.items()}


def curves(series: Series) -> list[tuple[str, str]]:
    """(title, SVG) of every panel that has data: those of `PANELS`, then one for each other name."""
    named = {name for _, names in PANELS for name in names}
    others = sorted({name for _, name in series} - named)
    panels = [*PANELS, *((name.replace("_", " ").capitalize(), (name,)) for name in others)]
    drawn = []
    for title, names in panels:
        here = {key: points for key, points in series.items() if key[1] in names}
        if here:
            drawn.append((title, _panel(here, [name for name in names if any(key[1] == name for key in here)], title)))
    return drawn


def _panel(series: Series, names: list[str], title: str) -> str:
    settings = {
        "svg.fonttype": "none",  # text stays text, in the page's font
        "svg.hashsalt": title,  # the same figure gives the same bytes, and panels of one page share no id
        "font.family": "sans-serif",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _INK),
        "axes.edgecolor": _FAINT,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="y", color=_FAINT, linewidth=0.7)
        axes.tick_params(length=0)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        if title == "Learning rate":
            axes.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        for number, name in enumerate(names):
            colour, label = _LINES[number % len(_LINES)], name.replace("_", " ")
            train, validation = series.get(("train", name)), series.get(("validation", name))
            if train:
                steps, values = zip(*train)
                smooth = len(values) >= 30 and name != "learning_rate"
                axes.plot(steps, values, color=colour, linewidth=0.8 if smooth else 1.5, alpha=0.25 if smooth else 1)
                if smooth:
                    axes.plot(steps, _smoothed(values), color=colour, linewidth=1.6)
                axes.plot([], [], color=colour, linewidth=1.6, label=label if len(names) > 1 else "training")
            if validation:
                label = f"{label}, validation" if len(names) > 1 else "validation"
                axes.plot(
                    *zip(*validation),
                    color=colour,
                    linestyle=":",
                    linewidth=1.5,
                    marker="o",
                    markersize=3.5,
                    label=label,
                )
        if len(axes.get_legend_handles_labels()[1]) > 1:
            axes.legend(frameon=False, fontsize=8, handlelength=1.6)
        axes.set_xlabel("step")
        target = io.StringIO()
        FigureCanvasSVG(figure).print_svg(
            target, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )
    text = target.getvalue()
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    return text[text.index("<svg") :]


def _smoothed(values: tuple[float, ...]) -> list[float]:
    """Exponential mean with a memory of a thirtieth of the run, corrected for its start (as Adam's moments)."""
    keep = 1.0 - 1.0 / max(2.0, len(values) / 30)
    mean, weight, found = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(mean / weight)
    return found
