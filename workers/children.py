"""The children of a prefork pool, each set up after its fork: one that can't be ends the worker.

Celery logs an error in a child's set-up and lets the child take messages all the same: such a
worker would look healthy, do nothing, and take each message off its queue.
"""

import logging
import os
import signal
from collections.abc import Callable
from mmap import mmap

from celery.exceptions import Reject
from celery.signals import worker_process_init

from models.errors import ModelError
from pipeline.settings import SettingsError
from workers.app import Handler

log = logging.getLogger(__name__)


class Children:
    """Make it in the parent, before the fork."""

    def __init__(self, set_up: Callable[[], Handler]) -> None:
        """`set_up` runs in each child and returns what handles its messages."""
        self._set_up = set_up
        self._handler: Handler | None = None
        self._failed = mmap(-1, 1)  # a byte that the parent shares with all that it forks
        worker_process_init.connect(self._begin, weak=False)

    @property
    def failed(self) -> bool:
        """Whether the set-up of any child has failed."""
        return self._failed[0] != 0

    def handle(self, ids: list[str], root_id: str | None) -> int:
        """Handle a message in this child."""
        if self._handler is None:
            # Any other exception would take the message off the queue.
            raise Reject("this child is not set up", requeue=True)
        return self._handler(ids, root_id)

    def _begin(self, **_: object) -> None:
        try:
            self._handler = self._set_up()
        except Exception as error:
            self._failed[0] = 1
            log.critical(
                "a child can't be set up, the worker ends",
                extra={"why": f"{type(error).__name__}: {error}"},
                exc_info=not isinstance(error, (ModelError, SettingsError)),
            )
            os.kill(os.getppid(), signal.SIGTERM)
            raise SystemExit(1) from error  # Celery swallows every `Exception`
