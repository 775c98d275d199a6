"""Counters whose label values are known beforehand, shown at 0 before anything happens.

To Prometheus a series that begins at 1 has not grown: `increase()` would lose the first event of
each process, and with it the only one of many a fault. Call these where a process begins.
"""

from collections.abc import Iterable
from itertools import product

from pipeline import metrics
from pipeline.reasons import ReasonCode
from pipeline.retry import ErrorKind
from pipeline.states import State

QUARANTINED = frozenset({ReasonCode.INTERNAL, ReasonCode.WORKER_LOST})
"""What `pipeline.flow.quarantine` gives as reason; all others refuse an image."""


def anywhere() -> None:
    """Of every process: ends of images and errors of servers."""
    metrics.count("ended", (State.DONE.value, ""), (0,))
    for code in ReasonCode:
        state = State.QUARANTINED if code in QUARANTINED else State.REJECTED
        metrics.count("ended", (state.value, code.value), (0,))
    for labels in product(metrics.SERVERS, map(str, ErrorKind), metrics.THEN):
        metrics.count("server_errors", labels, (0,))


def stage(name: str, labels: Iterable[str] = (), refusals: Iterable[str] = ()) -> None:
    """Of a worker: attempts, and where it has a model, what that answers.

    `labels` are what its model can say, `refusals` the reason codes that its answers may end in.
    """
    for outcome in metrics.OUTCOMES:
        metrics.count("attempts", (name, outcome), (0,))
    metrics.count("repeated", (name,), (0,))
    for label in labels:
        metrics.count("positives", (name, label), (0,))
    for code in refusals:
        metrics.count("ended", ("rejected", code), (0,))


def scans() -> None:
    """Of the reconciler: how its scans end."""
    for end in metrics.SCAN_ENDS:
        metrics.count("scans", (end,), (0,))


def problems(kinds: Iterable[str]) -> None:
    """Of the API: requests answered with a problem, by kind."""
    for kind in kinds:
        metrics.count("problems", (kind,), (0,))
