"""The DICOM listener: a Storage SCP (PS3.4 annex B) in front of the same door as everything else.

Run as a program by `xraytriage dicom-listen` and by the embedded stack.
"""

import logging
import signal
import sys
import warnings
from io import BytesIO
from threading import Condition, Event
from time import monotonic
from typing import Any, Final, cast

from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.transport import AssociationServer

from pipeline import foreseen, metrics, studies, tracing
from pipeline.context import Context
from pipeline.dicom.contexts import supported_contexts
from pipeline.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from pipeline.dicom.peers import ListenerError, allowed_titles
from pipeline.dicom.store import Request, store
from pipeline.program import run_as_program
from pipeline.pulse import Pulse
from pipeline.settings import Settings

log = logging.getLogger(__name__)

OVERRUN_BYTES: Final = 16 * 2**20
"""An object so much over the limit is not waited for: its association is aborted."""
LONGEST_PAUSE_S: Final = 5.0
"""Between two looks for studies that went quiet."""
_DATASET_FRAGMENT: Final = 0
"""Lowest bit of a fragment's message control header (PS3.8 E.2)."""


class Listener:
    """Listens from `start` to `stop`."""

    def __init__(self, context: Context) -> None:
        """Nothing listens yet. Raises ListenerError where nobody may listen so."""
        self._context = context
        self._entity = _entity(context.settings)
        self._busy = _Busy()
        self.port = 0

    def start(self) -> None:
        """Listen. Raises ListenerError where the address cannot be had."""
        settings = self._context.settings
        handlers: list[Any] = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_C_ECHO, _echo),
            (evt.EVT_PDU_RECV, self._received),
            (evt.EVT_PDU_SENT, self._sent),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_ACCEPTED, _note, ["association accepted"]),
            (evt.EVT_REJECTED, _note, ["association rejected"]),
            (evt.EVT_ABORTED, _note, ["association aborted"]),
        ]
        address = (settings.dicom_host, settings.dicom_port or 0)
        try:
            server = self._entity.start_server(address, block=False, evt_handlers=handlers)
        except OSError as error:
            raise ListenerError(f"cannot listen on {address[0]}:{address[1]}: {error}") from error
        self.port = cast(AssociationServer, server).server_address[1]
        log.info("listening", extra={"ae_title": settings.dicom_ae_title, "port": self.port})

    def stop(self) -> None:
        """Take no new association, let what is being sent be stored and answered, then end."""
        ends = monotonic() + self._context.settings.drain_s
        for server in list(self._entity._servers):  # noqa: SLF001 - AE.shutdown would abort first
            server.shutdown()
        self._busy.stop()
        for association in self._entity.active_associations:
            if not self._busy.waits_for(association):
                association.abort()
        if not self._busy.wait_idle(ends):
            log.warning("ended with objects half received")
        self._entity.shutdown()

    def _store(self, event: evt.Event) -> Any:
        request = cast(C_STORE, event.request)
        dataset = cast(BytesIO, request.DataSet)
        return store(
            self._context,
            Request(
                peer=_title(event.assoc),
                abstract_syntax=str(event.context.abstract_syntax),
                transfer_syntax=str(event.context.transfer_syntax),
                sop_class=str(request.AffectedSOPClassUID),
                sop_instance=str(request.AffectedSOPInstanceUID),
                data=dataset.getvalue(),
            ),
        )

    def _received(self, event: evt.Event) -> None:
        if not isinstance(event.pdu, P_DATA_TF):
            return
        arrived = sum(
            len(item.data)
            for item in event.pdu.presentation_data_value_items
            if item.data and item.data[0] & 1 == _DATASET_FRAGMENT
        )
        too_large = self._busy.grown(event.assoc, arrived) > self._limit_bytes
        if too_large and event.assoc.is_established:
            log.warning("object too large")
            event.assoc.abort(block=False)

    @property
    def _limit_bytes(self) -> int:
        return self._context.settings.max_file_bytes + OVERRUN_BYTES

    def _sent(self, event: evt.Event) -> None:
        if isinstance(event.pdu, P_DATA_TF) and self._busy.done(event.assoc):
            event.assoc.abort(block=False)

    def _closed(self, event: evt.Event) -> None:
        self._busy.done(event.assoc)
        if event.assoc.requestor.primitive is None:
            # It went without a request, as a port check does: pynetdicom would keep its place
            # until the ACSE timeout. That wait ends with None; later, None says nothing new.
            event.assoc.dul.to_user_queue.put(None)


class _Busy:
    """Which associations are in the middle of a message, and how much of it has come.

    A message begins with the first fragment received and ends when its answer is sent.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._bytes: dict[Association, int] = {}
        self._stopping = False

    def grown(self, association: Association, count: int) -> int:
        """Bytes of the present message, after `count` more."""
        with self._changed:
            self._bytes[association] = self._bytes.get(association, 0) + count
            return self._bytes[association]

    def done(self, association: Association) -> bool:
        """Its message is answered, or it is gone; whether it shall end now."""
        with self._changed:
            self._bytes.pop(association, None)
            self._changed.notify_all()
            return self._stopping

    def stop(self) -> None:
        """From now on an association ends with its message."""
        with self._changed:
            self._stopping = True

    def waits_for(self, association: Association) -> bool:
        """Whether it is in the middle of a message."""
        with self._changed:
            return association in self._bytes

    def wait_idle(self, ends: float) -> bool:
        """Until no association is busy, or `ends` (monotonic); whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._bytes, max(0.0, ends - monotonic()))


def run(context: Context) -> None:
    """Listen until SIGTERM or SIGINT, and close the jobs of studies that went quiet."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _silence_libraries()
    metrics.serve(context.settings)
    foreseen.anywhere()
    tracing.set_up(context.settings, "dicom-listen")
    listener = Listener(context)
    listener.start()
    quiet_s, pulse = context.settings.dicom_quiet_s, Pulse(context.settings, "dicom-listen")
    pulse.move()
    while not stop.wait(min(quiet_s / 4, LONGEST_PAUSE_S)):
        try:
            closed = studies.close_quiet(context.engine, quiet_s)
        except Exception as error:  # the reconciler closes them as well
            log.warning("quiet studies stay open", extra={"error": type(error).__name__})
        else:
            if closed:
                log.info("studies closed", extra={"jobs": len(closed)})
        pulse.move()
    listener.stop()


def main() -> int:
    """The program; returns its exit code."""
    return run_as_program(run, ListenerError)


def _entity(settings: Settings) -> AE:
    entity = AE(settings.dicom_ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION
    entity.require_calling_aet = allowed_titles(settings)
    entity.require_called_aet = True
    entity.maximum_associations = settings.dicom_max_associations
    entity.maximum_pdu_size = settings.dicom_max_pdu_bytes
    entity.network_timeout = settings.dicom_network_timeout_s
    entity.acse_timeout = settings.dicom_acse_timeout_s
    entity.dimse_timeout = settings.dicom_dimse_timeout_s
    entity.supported_contexts = list(supported_contexts())
    return entity


def _silence_libraries() -> None:
    # pynetdicom and pydicom quote what they received in logs and warnings.
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL + 1)
    _config.LOG_HANDLER_LEVEL = "none"
    warnings.simplefilter("ignore")


def _echo(event: evt.Event) -> int:
    log.info("c-echo", extra={"peer": _title(event.assoc)})
    return 0x0000


def _note(event: evt.Event, words: str) -> None:
    log.info(words, extra={"peer": _title(event.assoc)})


def _title(association: Association) -> str:
    return str(association.requestor.ae_title or "").strip()


if __name__ == "__main__":
    sys.exit(main())
