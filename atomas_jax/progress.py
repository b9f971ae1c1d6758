"""Progress that people see: a bar with rate and time left on a terminal, a plain line now and then elsewhere (logs)."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as TimeLeftColumn
from rich.text import Text

PLAIN_SECONDS = 15.0
"""Between plain lines, where there is no terminal to draw on."""


class _Rate(ProgressColumn):
    def __init__(self, unit: str):
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.{0 if rate >= 100 else 1}f} {self.unit}/s", style="cyan")


class Bar:
    """What `bar` yields. `advance(n, note)` counts n more units done and shows `note` behind them."""

    def __init__(self, title: str, total: int | None, unit: str, completed: int, shown: bool = True):
        self._title, self._total, self._unit = title, total, unit
        self._done = self._start_count = completed
        self._start = self._last = time.monotonic()
        self._told = -1  # units of the last plain line
        self._shown, self._console = shown, Console(stderr=True, quiet=not shown)
        self._progress = None
        if shown and self._console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeElapsedColumn(),
                TextColumn("left"), TimeLeftColumn(), TextColumn("{task.fields[note]}"), console=self._console,
            )  # fmt: skip
            self._task = self._progress.add_task(title, total=total, completed=completed, note="")
            self._progress.start()

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        if self._progress:
            self._progress.update(self._task, advance=count, **({"note": note} if note else {}))
        elif time.monotonic() - self._last >= PLAIN_SECONDS:
            self._last = time.monotonic()
            self._plain(note)

    def print(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self._progress:
            self._progress.stop()
        elif time.monotonic() - self._start > 2 and self._told != self._done:
            self._plain("")

    def _plain(self, note: str) -> None:
        if not self._shown:
            return
        self._told = self._done
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._start_count) / seconds
        left = f", {(self._total - self._done) / rate:,.0f} s left" if self._total and rate else ""
        of = f" of {self._total:,}" if self._total else ""
        line = f"{self._title}: {self._done:,}{of} {self._unit}, {rate:,.1f}/s{left} {note}"
        print(line.rstrip(), file=sys.stderr, flush=True)


@contextmanager
def bar(
    title: str, total: int | None = None, unit: str = "rows", completed: int = 0, shown: bool = True
) -> Iterator[Bar]:
    """A bar for a block of work: `total` units (None: unknown), of which `completed` were done before. Not `shown`, it
    counts in silence: all but one process of a job."""
    made = Bar(title, total, unit, completed, shown)
    try:
        yield made
    finally:
        made.close()


def counter(shown: Bar) -> Callable[[int, int], None]:
    """A bar's advances as a callback of (done, in all)."""
    before = 0

    def advance(done: int, _all: int) -> None:
        nonlocal before
        shown.advance(done - before)
        before = done

    return advance


def track(items: Iterable, title: str, total: int | None = None, unit: str = "rows") -> Iterator:
    """The items, with a bar that advances by one each."""
    with bar(title, total if total is not None else getattr(items, "__len__", lambda: None)(), unit) as shown:
        for item in items:
            yield item
            shown.advance()
