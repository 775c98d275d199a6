"""Signatures that were sent leave the outbox together, a few times a second.

A transaction for each would cost a worker as much as the claim of its next chunk. A row that
stays a moment longer is harmless, and so is one that a dying worker leaves: the reconciler sends
it once more, to somebody who finds nothing to claim.
"""

import logging
import queue
import time
from collections.abc import Sequence
from functools import cache
from threading import Thread

from sqlalchemy import Engine

from pipeline.records import intake

log = logging.getLogger(__name__)

GATHER_S = 0.2
"""From the first signature that was sent until it is taken out; the reconciler waits for 2 s."""


class Sent:
    """Takes signatures out of the outbox, in a thread of its own. Make it after fork."""

    def __init__(self, engine: Engine, gather_s: float = GATHER_S) -> None:
        """Start the thread, which lives as long as the process."""
        self._engine = engine
        self._gather_s = gather_s
        self._ids: queue.SimpleQueue[Sequence[str]] = queue.SimpleQueue()
        Thread(target=self._serve, name="sent", daemon=True).start()

    def add(self, nudge_ids: Sequence[str]) -> None:
        """These were sent."""
        if nudge_ids:
            self._ids.put(nudge_ids)

    def _serve(self) -> None:
        while True:
            ids = list(self._ids.get())
            time.sleep(self._gather_s)
            while not self._ids.empty():
                ids += self._ids.get()
            try:
                intake.sent(self._engine, ids)
            except Exception as error:  # whatever it is, the reconciler goes on from here
                log.warning("left in the outbox", extra={"why": type(error).__name__})


@cache
def of(engine: Engine) -> Sent:
    """That of this process for the database in use."""
    return Sent(engine)
