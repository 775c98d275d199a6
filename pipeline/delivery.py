"""Results go back to the hospital: when a study has ended, to the configured destination.

Several senders may run. What is to be sent, by whom and with what outcome stands in the table
`delivery`; a sender that dies loses its claim, and another sends after the lease.
"""

import logging
import signal
import sys
from collections.abc import Sequence
from threading import Event
from typing import Final

from pipeline import foreseen, metrics
from pipeline.context import Context
from pipeline.dicom import results
from pipeline.dicom.destination import Destination, parse
from pipeline.dicom.results import Result
from pipeline.dicom.send import Line, Refused, Unreachable, line
from pipeline.program import run_as_program
from pipeline.pulse import Pulse
from pipeline.records import deliveries
from pipeline.records.deliveries import Held
from pipeline.retry import ErrorKind, Policy, Retry, decide
from pipeline.storage import StorageError

LOOK_S: Final = 5.0
"""Pause between two looks for something to send."""
FIRST_PAUSE_S: Final = 10.0
LONGEST_PAUSE_S: Final = 3600.0

log = logging.getLogger(__name__)


class NoDestinationError(Exception):
    """No setting says where results are sent."""


class Sender:
    """Plans and sends; one a thread."""

    def __init__(self, context: Context, stop: Event | None = None) -> None:
        """Raises NoDestinationError."""
        if context.settings.dicom_destination is None:
            raise NoDestinationError("set XRAYTRIAGE_DICOM_DESTINATION to where results are sent")
        # It would tell of what it sends in its log; what matters stands in the record.
        logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
        self._context = context
        self._destination: Destination = parse(context.settings.dicom_destination)
        self._stop = stop or Event()
        # Renewed before each instance, which takes a handful of timeouts at most.
        self._lease_s = 6 * context.settings.dicom_send_timeout_s
        self._pulse = Pulse(context.settings, "dicom-send")

    def run(self) -> None:
        """Plan and send until asked to stop."""
        while not self._stop.is_set():
            try:
                self.once()
            except Exception:
                # The database's or an error of the program: look again, as the reconciler does.
                log.exception("sending failed")
            self._pulse.move()
            self._stop.wait(LOOK_S)

    def once(self) -> int:
        """Plan what has ended, send what is due, until nothing is due or the line is dead.

        Returns how many instances were delivered.
        """
        self.plan()
        count = 0
        while not self._stop.is_set():
            held = deliveries.claim(self._context.engine, str(self._destination), self._lease_s)
            if not held:
                break
            before = count
            self._pulse.move()
            count += self._send(held)
            if count - before < len(held):
                break  # whatever hindered one may hinder all: the others keep their attempts
        return count

    def plan(self) -> None:
        """Note the results of studies that have ended since the last look."""
        engine = self._context.engine
        max_age_s = self._context.settings.dicom_send_age_s
        for job_id in deliveries.unplanned(engine, max_age_s):
            uids = self._uids(job_id)
            if deliveries.plan(engine, job_id, uids, str(self._destination)):
                log.info("results planned", extra={"job": job_id, "instances": len(uids)})

    def again(self, job_id: str) -> int:
        """Plan a job anew, whatever its age: what failed, and what is new; returns how many."""
        engine, uids = self._context.engine, self._uids(job_id)
        return deliveries.plan_again(engine, job_id, uids, str(self._destination))

    def _uids(self, job_id: str) -> list[str]:
        return [result.sop_uid for result in results.of_job(self._context, job_id)]

    def _send(self, held: Sequence[Held]) -> int:
        waiting, count = list(held), 0
        known = {r.sop_uid: r for r in results.of_job(self._context, held[0].job_id)}
        try:
            with line(self._destination, self._context.settings) as opened:
                while waiting and not self._stop.is_set():
                    deliveries.renew(self._context.engine, waiting, self._lease_s)
                    one = waiting[0]
                    count += self._send_one(opened, one, known.get(one.sop_instance_uid))
                    waiting.pop(0)
        except Unreachable as error:
            for one in waiting:
                self._put_off(one, str(error))
        else:
            deliveries.give_back(self._context.engine, waiting)
        log.info(
            "results sent",
            extra={"job": held[0].job_id, "delivered": count, "not": len(held) - count},
        )
        return count

    def _send_one(self, opened: Line, one: Held, result: Result | None) -> bool:
        """Send an instance and note what came of it. Raises Unreachable."""
        if result is None:
            words = "these findings were replaced by newer ones"
            deliveries.put_off(self._context.engine, one, words, None)
            return False
        try:
            opened.send(result.make_dataset(self._context))
        except (Refused, StorageError) as error:
            # A storage error may name an object; its class says what happened.
            words = str(error) if isinstance(error, Refused) else type(error).__name__
            self._put_off(one, words)
            return False
        deliveries.delivered(self._context.engine, one)
        return True

    def _put_off(self, one: Held, words: str) -> None:
        pause_s = pause_after(one.attempts, self._context.settings.dicom_send_attempts)
        deliveries.put_off(self._context.engine, one, words, pause_s)
        if pause_s is None:
            log.warning("result not delivered", extra={"job": one.job_id, "why": words})


def pause_after(attempts: int, most: int) -> float | None:
    """Seconds until the next try after so many; None: it was the last."""
    policy = Policy(most, FIRST_PAUSE_S, LONGEST_PAUSE_S, float("inf"))
    step = decide(ErrorKind.UNAVAILABLE, attempts, policy)
    return step.delay_s if isinstance(step, Retry) else None


def serve(context: Context) -> None:
    """Send until SIGTERM or SIGINT. Raises NoDestinationError."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    metrics.serve(context.settings)
    foreseen.anywhere()
    Sender(context, stop).run()


def main() -> int:
    """The program; returns its exit code."""
    return run_as_program(serve, NoDestinationError)


if __name__ == "__main__":
    sys.exit(main())
