"""All parts of a stack together: brought up, watched, and dismissed in order."""

import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from pipeline.embedded.keeper import Keeper, OnChange, State
from pipeline.embedded.part import Part, Tier
from pipeline.embedded.record import Process

LOOK_S = 0.1
"""Pause between two looks at the children."""
TRIM_S = 10.0
"""Pause between two looks at the size of their logs."""


class StackError(Exception):
    """The stack cannot run; the message says which part and where its log is."""


class Crew:
    """The keepers of all parts. One thread uses it from the first call to the last."""

    def __init__(self, folder: Path, on_change: OnChange, on_children: Callable[[], None]) -> None:
        """`on_children` is called whenever a child process is another one than before."""
        self._folder = folder
        self._on_change = on_change
        self._on_children = on_children
        self._keepers: list[Keeper] = []
        self._trimmed_at = time.monotonic()

    def children(self) -> list[Process]:
        """The processes in charge of the parts."""
        return [
            Process(keeper.part.name, keeper.child.pid, keeper.child.started)
            for keeper in self._keepers
            if keeper.child is not None
        ]

    def bring_up(self, parts: Iterable[Part], stop: threading.Event) -> None:
        """Start the parts at once; return when all serve, or `stop` is set. Raises StackError."""
        new = [Keeper(part, self._folder, self._on_change) for part in parts]
        for keeper in new:
            self._keepers.append(keeper)
            keeper.start()
            self._on_children()
        while not all(keeper.settled for keeper in new) and not stop.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Start again what died. Raises StackError when a vital part was given up."""
        changed = [keeper.tick() for keeper in self._keepers]
        if any(changed):
            self._on_children()
        for keeper in self._keepers:
            if keeper.state is State.FAILED and keeper.part.vital:
                raise StackError(keeper.failure())
        if time.monotonic() - self._trimmed_at > TRIM_S:
            self._trimmed_at = time.monotonic()
            for keeper in self._keepers:
                keeper.trim_log()

    def dismiss(self, hurry: threading.Event) -> None:
        """Stop tier after tier; returns when no child lives. `hurry` cuts the grace short."""
        for tier in Tier:
            group = [keeper for keeper in self._keepers if keeper.part.tier is tier]
            begun = time.monotonic()
            for keeper in group:
                keeper.terminate()
            while any(keeper.may_go_on(begun) for keeper in group) and not hurry.wait(LOOK_S / 2):
                pass
            for keeper in group:
                keeper.end()
