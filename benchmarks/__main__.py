"""All benchmarks this machine can run, one after the other, and a plot of what they found.

    python -m benchmarks [--out runs/benchmarks] [--only training alignment ...]

Each is a process of its own and leaves a JSON file in the folder; `benchmarks.svg` draws them. On an accelerator the
joint step is that of `base` with 256 pairs in bfloat16, on a CPU that of `small` with 32 pairs in float32.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import tyro
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from atomas_jax.files import write_whole

ON_CPU = {
    "training": ["--size", "small", "--pairs", "32", "--steps", "4", "--remat", "dots"],
    "alignment": ["--pairs", "16", "32", "64"],
    "padding": [],
    "decoding": ["--preset", "small", "--batches", "1", "64", "256"],
    "startup": ["--size", "base"],
}
ON_ACCELERATOR = {
    "training": ["--size", "base", "--pairs", "256", "--dtype", "bfloat16", "--vocabulary", "32128", "--steps", "20"],
    "alignment": ["--pairs", "32", "64", "128", "256"],
    "padding": ["--pairs", "256"],
    "decoding": ["--preset", "base", "--dtype", "bfloat16", "--batches", "1", "64", "256"],
    "startup": ["--size", "base", "--pairs", "256"],
}


def accelerator() -> bool:
    """Whether JAX finds one; asked in a process of its own, which gives it back."""
    program = "import jax; print(jax.default_backend())"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() != "cpu"


def draw_training(axes, found: dict) -> None:
    names = [name for name in ("joint step", "language only", "hugging face") if name in found]
    bars = axes.bar(names, [found[name]["pairs_per_second"] for name in names])
    axes.bar_label(bars, [f"{found[name]['utilisation']:.0%} of a product" for name in names], fontsize=7)
    axes.set_title(f"Training: {found['preset']}, {found['pairs']} pairs, {found['device']}")
    axes.set_ylabel("pairs a second")


def draw_alignment(axes, found: dict) -> None:
    for name in ("in parts", "dense"):
        rows = [row for row in found["rows"] if name in row]
        axes.loglog([row["pairs"] for row in rows], [row[name]["bytes"] / 2**20 for row in rows], "o-", label=name)
    pairs = [row["pairs"] for row in found["rows"]]
    axes.minorticks_off()
    axes.set_xticks(pairs, [str(count) for count in pairs])
    axes.set_title("Hierarchical alignment: memory")
    axes.set_xlabel("pairs")
    axes.set_ylabel("MiB")
    axes.legend()


def draw_padding(axes, found: dict) -> None:
    axes.plot([row["blocks"] for row in found["results"]], [row["real"] for row in found["results"]], "o-")
    axes.axhline(found["results"][0]["real_padded_to_512"], linestyle=":", label="everything padded to 512")
    axes.set_title(f"Real tokens, {found['file']}")
    axes.set_xlabel("blocks of a batch")
    axes.set_ylabel("share of computed tokens")
    axes.legend()


def draw_decoding(axes, found: dict) -> None:
    rows = [row for row in found["rows"] if row.get("ratio")]
    own = ("", "\nown lengths")
    names = [f"{row['way']}\nbatch {row['batch']}{own[row['ends']]}" for row in rows]
    bars = axes.bar(names, [row["ratio"] for row in rows])
    axes.bar_label(bars, [f"{row['ratio']:.2f}" for row in rows], fontsize=7)
    axes.tick_params("x", labelsize=6)
    axes.axhline(1, linestyle=":")
    axes.set_title("Decoding, strings a second over Hugging Face's")


DRAWN: dict[str, Callable] = {
    "training": draw_training, "alignment": draw_alignment, "padding": draw_padding, "decoding": draw_decoding
}  # fmt: skip


def draw(folder: Path) -> Path:
    """A picture of the results that are in a folder."""
    present = [name for name in DRAWN if (folder / f"{name}.json").is_file()]
    figure = Figure(figsize=(5 * len(present), 4), layout="constrained")
    FigureCanvasSVG(figure)
    for axes, name in zip(figure.subplots(1, len(present), squeeze=False)[0], present):
        DRAWN[name](axes, json.loads((folder / f"{name}.json").read_text()))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    return write_whole(folder / "benchmarks.svg", drawn.getvalue())


def main(out: Path = Path("runs/benchmarks"), only: tuple[str, ...] = ()) -> int:
    """Run them all, or some by name, and draw what lies in the folder."""
    settings = ON_ACCELERATOR if accelerator() else ON_CPU
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in only or settings:
        command = [sys.executable, "-m", f"benchmarks.{name}", *settings[name], "--out", str(out / f"{name}.json")]
        print(f"\n{name}: python -m benchmarks.{name} {' '.join(settings[name])}", flush=True)
        if subprocess.run(command).returncode:
            failed.append(name)
    print(f"\nresults in {out}, drawn in {draw(out)}")
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return len(failed)


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
