"""The reconciler: sends again what is overdue, so that recovery needs no person."""

import logging
import signal
from threading import Event

from pipeline import metrics, studies
from pipeline.context import Context
from pipeline.dispatch import BrokerUnavailable
from pipeline.pulse import Pulse
from pipeline.records import claims, intake, overdue
from pipeline.records.overdue import Scan
from workers.names import dead_ones

log = logging.getLogger(__name__)

GRACE_S = 2.0
"""Whoever wrote an outbox row sends it; after so long the reconciler does."""


def run(context: Context) -> None:
    """Scan until SIGTERM or SIGINT. Several may run; they share the work."""
    stop, pulse = Event(), Pulse(context.settings, "reconcile")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        try:
            metrics.scanned(scan(context).resent)
        except Exception:
            # The one process that must outlive every fault of the others: log and scan again.
            log.exception("scan failed")
            metrics.scan_failed()
        pulse.move()
        stop.wait(context.settings.scan_s)


def scan(context: Context) -> Scan:
    """Send what the outbox still holds and what is overdue, once."""
    settings = context.settings
    if dead := dead_ones(claims.holders(context.engine, settings.lease_s)):
        # Their leases need not run out first: nobody will write under those claims any more.
        forsaken = claims.forsake(context.engine, dead)
        log.warning("workers died", extra={"images": forsaken})
        metrics.forsaken(forsaken)
    # The listener closes them first, where it lives; a dead one leaves none open.
    if closed := studies.close_quiet(context.engine, settings.dicom_quiet_s):
        log.info("studies closed", extra={"jobs": len(closed)})
    drain_outbox(context)
    if overdue.is_congested(context.engine, GRACE_S + settings.scan_s):
        # The broker takes nothing at present: what is overdue would only pile up in the outbox.
        return Scan([], 0, 0, 0)
    found = overdue.scan(
        context.engine,
        settings.lease_s,
        settings.attempts,
        settings.chunk_size,
        lambda stage, priority: _is_drained(context, stage, priority),
    )
    intake.sent(context.engine, context.dispatcher.publish(found.nudges))
    if found.resent or found.quarantined:
        log.info("healed", extra={"resent": found.resent, "quarantined": found.quarantined})
    return found


def drain_outbox(context: Context) -> None:
    """Send what is in the outbox, oldest first, until it is empty or the broker fails."""
    hold_s = context.settings.scan_s
    while nudges := overdue.unsent(context.engine, GRACE_S, hold_s):
        sent = context.dispatcher.publish(nudges)
        intake.sent(context.engine, sent)
        if len(sent) < len(nudges):
            return


def _is_drained(context: Context, stage: str, priority: int) -> bool:
    try:
        return context.dispatcher.depth(stage, priority) == 0
    except BrokerUnavailable:
        return False  # nothing can be sent now anyway
