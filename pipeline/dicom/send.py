"""One open line to a destination: C-STORE (PS3.4 Annex B) or STOW-RS (PS3.18 10.5)."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Final, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

from pydicom.dataset import Dataset
from pydicom.uid import (
    ComprehensiveSRStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association

from pipeline.dicom.destination import Destination, Node, Web
from pipeline.dicom.results import as_file
from pipeline.settings import Settings

_SYNTAXES: Final = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_FAILED_SOPS: Final = "00081198"  # (0008,1198) FailedSOPSequence
_FAILURE: Final = "00081197"  # (0008,1197) FailureReason


class Unreachable(Exception):  # noqa: N818 - named for what happened
    """The destination does not answer at all, or takes nothing from us."""


class Refused(Exception):  # noqa: N818 - named for what happened
    """The destination did not take this instance."""


class Line(Protocol):
    """Takes instances."""

    def send(self, instance: Dataset) -> None:
        """Send; returns when the other side has stored it. Raises Unreachable and Refused."""


@contextmanager
def line(destination: Destination, settings: Settings) -> Iterator[Line]:
    """A line that is closed with the block. Raises Unreachable."""
    match destination:
        case Node():
            with _associated(destination, settings) as association:
                yield _Dimse(association)
        case Web():
            yield _Stow(destination, settings)


@contextmanager
def _associated(node: Node, settings: Settings) -> Iterator[Association]:
    entity = AE(ae_title=settings.dicom_ae_title)
    for sop_class in (ComprehensiveSRStorage, SecondaryCaptureImageStorage):
        entity.add_requested_context(sop_class, _SYNTAXES)
    timeout_s = settings.dicom_send_timeout_s
    entity.acse_timeout = entity.dimse_timeout = entity.connection_timeout = timeout_s
    entity.network_timeout = None  # it would end the association while the next is being made
    association = entity.associate(node.host, node.port, ae_title=node.ae_title)
    try:
        if association.is_rejected:
            raise Unreachable("the association was rejected; are the AE titles known there?")
        if not association.is_established:
            raise Unreachable("no association could be made")
        yield association
    finally:
        if association.is_established:
            association.release()
        entity.shutdown()


class _Dimse:
    """An association."""

    def __init__(self, association: Association) -> None:
        self._association = association

    def send(self, instance: Dataset) -> None:
        """C-STORE; a warning (B000 and on) means stored, PS3.4 B.2.3."""
        if not self._association.is_established:
            raise Unreachable("the association was aborted")
        try:
            answer = self._association.send_c_store(instance)
        except ValueError:
            raise Refused("the destination takes no instances of this class") from None
        if "Status" not in answer:
            raise Unreachable("the association broke before an answer came")
        status = int(answer.Status)
        if status != 0 and status >> 12 != 0xB:
            raise Refused(f"the destination answered status {status:04X}H")


class _Stow:
    """A request for each instance."""

    def __init__(self, web: Web, settings: Settings) -> None:
        self._web = web
        self._timeout_s = settings.dicom_send_timeout_s
        self._authorization = settings.dicom_destination_authorization

    def send(self, instance: Dataset) -> None:
        """POST; 200 and 202 with no failed item mean stored."""
        boundary = uuid4().hex
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        body = head + as_file(instance) + f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
            "Accept": "application/dicom+json",
        }
        if self._authorization is not None:
            headers["Authorization"] = self._authorization
        status, answer = self._post(body, headers)
        _judge(status, answer)

    def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        address = urlsplit(self._web.url)
        connection = self._connection(address.scheme, address.hostname or "", address.port)
        try:
            connection.request("POST", f"{address.path}/studies", body, headers)
            answer: HTTPResponse = connection.getresponse()
            return answer.status, answer.read()
        except ssl.SSLError:
            raise Unreachable("the destination's certificate is not trusted") from None
        except (OSError, HTTPException) as error:
            raise Unreachable(f"no answer ({type(error).__name__})") from None
        finally:
            connection.close()

    def _connection(self, scheme: str, host: str, port: int | None) -> HTTPConnection:
        if scheme == "https":
            return HTTPSConnection(host, port, timeout=self._timeout_s)
        return HTTPConnection(host, port, timeout=self._timeout_s)


def _judge(status: int, answer: bytes) -> None:
    if status in (401, 403, 404, 405, 415, 501) or status >= 500:
        raise Unreachable(f"the destination answered HTTP {status}")
    reason = _failure(answer)
    if reason is not None:
        raise Refused(f"the destination answered HTTP {status}, failure reason {reason}")
    if status not in (200, 202):
        raise Refused(f"the destination answered HTTP {status}")


def _failure(answer: bytes) -> str | None:
    """The reason in the answer's failed items, if it has some; PS3.18 I.2 as JSON."""
    try:
        (told,) = answers if isinstance(answers := json.loads(answer), list) else [answers]
        (item, *_) = told[_FAILED_SOPS]["Value"]
        return f"{int(item[_FAILURE]['Value'][0]):04X}H"
    except (ValueError, KeyError, TypeError, IndexError):
        return None
