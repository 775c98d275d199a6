"""Who results are sent to: a Storage SCP and a DICOMweb server, on free ports of loopback."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

from pipeline.context import Context

AE_TITLE = "PACS"


@dataclass
class Peer:
    """What a peer was sent, and what it answers from now on."""

    received: list[Dataset] = field(default_factory=list)
    calling: list[str] = field(default_factory=list)
    status: int = 0
    """Of a C-STORE."""
    http: tuple[int, bytes] = (200, b"{}")
    headers: list[dict[str, str]] = field(default_factory=list)
    on_store: Any = None
    """Called before each answer."""

    @property
    def uids(self) -> list[str]:
        """SOP Instance UIDs in the order in which they came."""
        return [str(instance.SOPInstanceUID) for instance in self.received]


def sent_to(context: Context, address: str, **settings: object) -> Context:
    """The same servers, seen by a process with a destination."""
    values = {"dicom_destination": address, **settings}
    return replace(context, settings=context.settings.model_copy(update=values))


@contextmanager
def storage_scp(port: int = 0, *classes: str) -> Iterator[tuple[Peer, str]]:
    """A real SCP (pynetdicom) and its address; without `classes` it takes reports and captures."""
    peer, entity = Peer(), AE(ae_title=AE_TITLE)
    entity.require_called_aet = True
    for sop_class in classes or (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
        entity.add_supported_context(sop_class)

    def store(event: Any) -> int:
        if peer.on_store is not None:
            peer.on_store()
        if peer.status == 0 or peer.status >> 12 == 0xB:
            instance = event.dataset
            instance.file_meta = event.file_meta
            peer.received.append(instance)
            peer.calling.append(str(event.assoc.requestor.ae_title))
        return peer.status

    server = entity.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]
    )
    try:
        yield peer, f"dimse://{AE_TITLE}@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


@contextmanager
def web_server() -> Iterator[tuple[Peer, str]]:
    """An HTTP server that takes what a STOW-RS client sends, and its address."""
    peer = Peer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/dicom-web/studies"
            peer.headers.append(dict(self.headers))
            if peer.http[0] in (200, 202):
                peer.received += _parts(self.headers["Content-Type"], body)
            status, answer = peer.http
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    try:
        yield peer, f"http://127.0.0.1:{server.server_address[1]}/dicom-web"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


def _parts(content_type: str, body: bytes) -> list[Dataset]:
    message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    payloads = [part.get_payload(decode=True) for part in message.get_payload()]
    return [dcmread(BytesIO(payload)) for payload in payloads]
