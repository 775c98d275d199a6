"""Back-pressure: never more than so many images of a run on their walk at a time."""

from collections import deque
from collections.abc import Callable

from sqlalchemy import Engine

from pipeline.records import intake

IN_FLIGHT = 512
"""Enough to keep all pools busy, few enough that a person's single image is not far behind."""

GROUP = 64


class Window:
    """Images that were sent and have not ended yet."""

    def __init__(self, engine: Engine, size: int = IN_FLIGHT) -> None:
        """Begin empty."""
        self._engine = engine
        self._size = size
        self._room = size
        self._groups: deque[list[str]] = deque()

    def add(self, image_id: str) -> None:
        """Count one more image."""
        if not self._groups or len(self._groups[-1]) == GROUP:
            self._groups.append([])
        self._groups[-1].append(image_id)
        self._room -= 1

    def wait(self, pause: Callable[[], None]) -> None:
        """Come back when there is room for one more image; calls `pause` until then."""
        while self._room <= 0:
            self._look()
            if self._room <= 0:
                pause()

    def _look(self) -> None:
        counts = [intake.in_flight(self._engine, group) for group in self._groups]
        # Groups that have ended are forgotten: the window keeps no more than is on its walk.
        self._groups = deque(
            group for group, count in zip(self._groups, counts, strict=True) if count
        )
        self._room = self._size - sum(counts)
