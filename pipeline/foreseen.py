"""Counters whose label values are known beforehand, shown at 0 before anything happens.

To Prometheus a series that begins at 1 has not grown: `increase()` would lose the first event of
each process, and with it the only one of many a fault.
"""

from itertools import product

from pipeline import metrics
from pipeline.reasons import ReasonCode
from pipeline.retry import ErrorKind
from pipeline.states import State

QUARANTINED = frozenset({ReasonCode.INTERNAL, ReasonCode.WORKER_LOST})
"""What `pipeline.flow.quarantine` gives as reason; all others refuse an image."""


def show() -> None:
    """Ends of images and errors of servers; call it where a process begins."""
    metrics.count("ended", (State.DONE.value, ""), (0,))
    for code in ReasonCode:
        state = State.QUARANTINED if code in QUARANTINED else State.REJECTED
        metrics.count("ended", (state.value, code.value), (0,))
    for labels in product(metrics.SERVERS, map(str, ErrorKind), metrics.THEN):
        metrics.count("server_errors", labels, (0,))
