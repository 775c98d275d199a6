"""What sandboxed children count, told to their parent over a pipe: one place to scrape.

A child lives for some hundred chunks and dies at any moment; Prometheus wants counters that only
grow. prometheus_client's files per process would keep one file for every child that ever lived.
"""

import json
import math
import os
import select
from collections.abc import Sequence
from threading import Thread

from pipeline import metrics
from pipeline.flow import PREPARE
from pipeline.reasons import ReasonCode
from pipeline.retry import ErrorKind
from pipeline.states import State

VALUES = 128
"""Most values in one message, so that it stays below PIPE_BUF and is written in one piece."""

WORDS = frozenset(
    {"", PREPARE, *metrics.OUTCOMES, *metrics.SERVERS, *metrics.THEN}
    | set(map(str, (*State, *ReasonCode, *ErrorKind)))
)
"""Label values that a child may send: it decodes untrusted bytes and may be anybody's by now."""


class Relay:
    """Make it before the fork; then the parent listens and each child tells."""

    def __init__(self) -> None:
        """Open the pipe."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)

    def listen(self) -> None:
        """Count what children tell, in a thread, for as long as this process lives."""
        Thread(target=self._count_all, name="relay", daemon=True).start()

    def tell(
        self, name: str, labels: tuple[str, ...], values: Sequence[float], times: int = 1
    ) -> None:
        """Send it; what the pipe has no room for is left out, since work goes before counting."""
        for start in range(0, len(values), VALUES):
            rounded = [round(float(value), 6) for value in values[start : start + VALUES]]
            line = json.dumps([name, labels, rounded, times]).encode() + b"\n"
            try:
                if len(line) <= select.PIPE_BUF:
                    os.write(self._writer, line)
            except OSError:
                return

    def _count_all(self) -> None:
        with os.fdopen(self._reader, "rb") as lines:
            while line := lines.readline(2 * select.PIPE_BUF):
                take(line)


def take(line: bytes) -> bool:
    """Count one message; returns whether it was one that a child of ours would send."""
    try:
        name, labels, values, times = json.loads(line)
        if not (WORDS.issuperset(labels) and all(map(math.isfinite, values))):
            return False
        metrics.count(name, tuple(labels), values, int(times))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return False
    return True
