"""How fast a run goes, how long it still takes, and whether it stands still."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pipeline.states import TERMINAL, State

RATE_OVER_S = 15.0
STALLED_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a run."""

    phase: str
    counts: Mapping[State, int] = field(default_factory=dict)
    total: int | None = None
    """Images there are, once all were counted."""
    images_per_s: float = 0.0
    note: str | None = None
    """What the run waits for, if it waits for something."""

    @property
    def finished(self) -> int:
        """Images in a terminal state."""
        return sum(count for state, count in self.counts.items() if state in TERMINAL)

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at the present pace."""
        if self.total is None or not self.images_per_s:
            return None
        return max(0, self.total - self.finished) / self.images_per_s


class Pace:
    """Looks taken during one run."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin now."""
        self._clock = clock
        self._began = self._changed = clock()
        self._counts: Mapping[State, int] = {}
        self._looks: deque[tuple[float, int]] = deque()
        self._before: int | None = None
        self.finished = 0
        """Images that ended since the first look."""

    @property
    def seconds(self) -> float:
        """Since the run began."""
        return self._clock() - self._began

    @property
    def is_stalled(self) -> bool:
        """Whether nothing has moved for a while."""
        return self._clock() - self._changed > STALLED_AFTER_S

    def look(self, counts: Mapping[State, int]) -> float:
        """Take in the counts of now; returns the images per second of the last seconds."""
        now = self._clock()
        if counts != self._counts:
            self._counts, self._changed = counts, now
        ended = sum(count for state, count in counts.items() if state in TERMINAL)
        self._before = ended if self._before is None else self._before
        self.finished = ended - self._before
        self._looks.append((now, ended))
        while len(self._looks) > 1 and now - self._looks[0][0] > RATE_OVER_S:
            self._looks.popleft()
        since, then = self._looks[0]
        return (ended - then) / (now - since) if now > since else 0.0
