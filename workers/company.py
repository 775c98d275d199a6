"""Who works in this process at a time: many chunks side by side, or one suspect alone.

A process that dies leaves no word of which image killed it, so each that was in its hand has lost
an attempt. An image that was tried before is therefore worked on with nobody else there: the next
death tells, and costs no neighbour its own last attempt.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Company:
    """A lock that many may share or one may have. Whoever wants it alone goes before newcomers."""

    def __init__(self) -> None:
        """Nobody is there."""
        self._changed = Condition()
        self.present = 0
        """How many share it now."""
        self._waiting = 0
        self._taken = False

    @contextmanager
    def joined(self) -> Iterator[None]:
        """Be there with others; waits for those who are there alone, or wait to be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken and not self._waiting)
            self.present += 1
        try:
            yield
        finally:
            with self._changed:
                self.present -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be there with nobody else; waits until all have left."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: not self._taken and not self.present)
                self._taken = True
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()
