"""What a person sees while a run goes."""

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.text import Text

from pipeline import pace
from pipeline.states import State

LINE_EVERY_S = 10.0
"""Where there is no terminal, one line so often."""


class Display:
    """A live bar on a terminal, a line now and then elsewhere (a log file, a pipe)."""

    def __init__(self, console: Console, check: Callable[[], object]) -> None:
        """Show nothing yet. `check` raises when the run cannot go on."""
        self._console = console
        self._check = check
        self._next_line = 0.0
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            console=console,
        )
        self._task = self._bar.add_task("starting", total=None, speed="")
        self._live = Live(self._bar, console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def tell(self, progress: pace.Progress) -> None:
        """Show how far the run is."""
        self._check()
        self._bar.update(
            self._task,
            description=progress.phase,
            completed=progress.finished,
            total=progress.total,
            speed=speed(progress),
        )
        lines = [Text(counts(progress.counts))] if progress.counts else []
        if progress.note:
            lines.append(Text(progress.note, style="yellow"))
        if self._console.is_terminal:
            self._live.update(Group(self._bar, *lines))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_S
            self._console.print(line(progress), soft_wrap=True, highlight=False)


def line(progress: pace.Progress) -> str:
    """One look as one line of a log."""
    total = "?" if progress.total is None else str(progress.total)
    parts = [f"{progress.phase}: {progress.finished} of {total}", speed(progress)]
    parts += [counts(progress.counts), progress.note or ""]
    return " · ".join(part for part in parts if part)


def speed(progress: pace.Progress) -> str:
    """Images per second and time left, as far as they are known."""
    parts = [f"{progress.images_per_s:.1f} images/s"] if progress.images_per_s else []
    if progress.left_s is not None:
        minutes, seconds = divmod(round(progress.left_s), 60)
        hours, minutes = divmod(minutes, 60)
        parts.append(f"{hours}:{minutes:02}:{seconds:02} left")
    return ", ".join(parts)


def counts(found: Mapping[State, int]) -> str:
    """Images per state, in the order of the walk."""
    return "  ".join(f"{state.value} {found[state]:,}" for state in State if found.get(state))
