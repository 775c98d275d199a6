"""Keeps one part alive: starts it, sees when it serves, starts it again when it dies."""

import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from pipeline.embedded.part import Part, Tier
from pipeline.embedded.process import Child, last_lines


class State(StrEnum):
    """How a part is doing."""

    STARTING = "starting"
    """Its program runs, but does not serve yet."""
    READY = "ready"
    RESTING = "restarting"
    """It died and is started again after a pause."""
    FAILED = "failed"
    """It died too often; nobody starts it again."""
    STOPPING = "stopping"
    """It was asked to end and may finish what it does."""
    STOPPED = "stopped"


OnChange = Callable[[str, State, str], None]
"""Hears of a part: its name, its new state, and details in words."""


FIRST_START_TRIES = 3
"""Deaths before a part was ready once: something is misconfigured, more tries don't mend it."""
DEATHS = 5
"""Deaths within `WINDOW_S` after which a part is given up."""
WINDOW_S = 120.0
LONGEST_PAUSE_S = 15.0


def pause_after(deaths: Sequence[float], *, was_ready: bool) -> float | None:
    """Seconds until the next start; None to give up. `deaths` are times, the last one now."""
    recent = sum(1 for death in deaths if death > deaths[-1] - WINDOW_S)
    if recent >= (DEATHS if was_ready else FIRST_START_TRIES):
        return None
    return min(LONGEST_PAUSE_S, 0.25 * 2.0**recent)


class Keeper:
    """One part and its child process; `tick` is called a few times a second, by one thread."""

    def __init__(self, part: Part, folder: Path, on_change: OnChange) -> None:
        """The program runs in `folder` and logs below it."""
        self.part = part
        self.child: Child | None = None
        self.state = State.STOPPED
        self._folder = folder
        self._on_change = on_change
        self._since = 0.0  # when the child was started, or, resting, when it will be
        self._was_ready = False
        self._deaths: list[float] = []

    @property
    def log(self) -> Path:
        """Where the part writes."""
        return self._folder / "logs" / f"{self.part.name}.log"

    @property
    def settled(self) -> bool:
        """Whether it serves, or never will."""
        return self.state in (State.READY, State.FAILED)

    def start(self) -> None:
        """Start the program. Raises OSError when that is impossible."""
        self.child = Child(self.part.argv, self.part.env, self._folder, self.log)
        self._since = time.monotonic()
        self._turn(State.STARTING)

    def tick(self) -> bool:
        """Look once and do what is due; returns whether the child is another one now."""
        if self.state is State.RESTING:
            return self._start_again()
        if self.child is None or self.state not in (State.STARTING, State.READY):
            return False
        if self.child.exit_code is not None:
            self._died(_how(self.child.exit_code))
        elif self.state is State.STARTING:
            self._look()
        return False

    def failure(self) -> str:
        """Words for a part that was given up, with the end of its log."""
        return f"{self.part.name} does not stay up; its log is {self.log}\n{last_lines(self.log)}"

    def trim_log(self) -> None:
        """Keep the log small."""
        if self.child is not None:
            self.child.trim_log()

    def terminate(self) -> None:
        """Ask the program to end; nobody starts it again."""
        if self.child is not None and self.state not in (State.RESTING, State.FAILED):
            self._turn(State.STOPPING)
            self.child.terminate()

    def may_go_on(self, asked_at: float) -> bool:
        """Whether it still runs, and may: its grace began at `asked_at` (monotonic)."""
        running = self.child is not None and self.child.exit_code is None
        return running and time.monotonic() < asked_at + self.part.grace_s

    def end(self) -> None:
        """Kill what is left of the program and its descendants."""
        if self.child is None:
            return
        unfinished = self.part.tier is Tier.WORKER and self.child.exit_code is None
        self.child.kill()
        for path in self.part.litter:
            path.unlink(missing_ok=True)
        if self.state is not State.FAILED:
            self._turn(State.STOPPED, "killed, its grace was over" if unfinished else "")

    def _start_again(self) -> bool:
        if time.monotonic() < self._since:
            return False
        self.start()
        return True

    def _look(self) -> None:
        took_s = time.monotonic() - self._since
        if self.part.ready():
            self._was_ready = True
            self._turn(State.READY, f"{took_s:.1f} s")
        elif took_s > self.part.ready_s:
            self._died(f"not ready after {took_s:.0f} s")

    def _died(self, how: str) -> None:
        if self.child is not None:
            self.child.kill()  # its descendants, too
        now = time.monotonic()
        self._deaths = [*self._deaths[-DEATHS:], now]
        pause_s = pause_after(self._deaths, was_ready=self._was_ready)
        if pause_s is None:
            self._turn(State.FAILED, f"{how}; see {self.log}")
        else:
            self._since = now + pause_s
            self._turn(State.RESTING, f"{how}; again in {pause_s:.1f} s")

    def _turn(self, state: State, detail: str = "") -> None:
        self.state = state
        self._on_change(self.part.name, state, detail)


def _how(exit_code: int) -> str:
    return f"killed by signal {-exit_code}" if exit_code < 0 else f"ended with code {exit_code}"
