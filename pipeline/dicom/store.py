"""One C-STORE request: checked, taken in, and answered with the status that fits (PS3.4 B.2.3)."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from io import BytesIO

from pydicom.dataset import Dataset
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from pipeline.context import Context
from pipeline.dicom.header import PROJECTION_CLASSES
from pipeline.dicom.instance import HEAD_BYTES, instance_of_dataset
from pipeline.dicom.part10 import Received, head_of, joined
from pipeline.ingest import NoRoom, Source
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.storage import StorageError
from pipeline.studies import take

log = logging.getLogger(__name__)

OUT_OF_REACH = (NoRoom, StorageError, DBAPIError, PoolTimeout)
"""Errors that say nothing about the instance: it is welcome later."""


class Status(IntEnum):
    """Answers to a C-STORE request."""

    SUCCESS = 0x0000
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    OUT_OF_RESOURCES = 0xA700
    MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """The request is answered with this status and these words, of at most 64 characters."""

    def __init__(self, status: Status, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words[:64]  # (0000,0902) Error Comment is an LO


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer wants stored; `data` is the dataset as it came, without file meta."""

    peer: str
    abstract_syntax: str
    """SOP class of the presentation context."""
    transfer_syntax: str
    sop_class: str
    sop_instance: str
    data: bytes


def store(context: Context, request: Request) -> Dataset:
    """Take one instance in; the status is success only when bytes and rows are durable."""
    try:
        _check(context, request)
        _take(context, request)
        answer = _answer(Status.SUCCESS)
    except Refused as refusal:
        answer = _answer(refusal.status, refusal.words)
    except Unreadable as error:
        answer = _answer(Status.CANNOT_UNDERSTAND, error.message)
    except OUT_OF_REACH as error:
        log.warning("storage or database fails", extra={"error": type(error).__name__})
        answer = _answer(Status.OUT_OF_RESOURCES, "storage or database can take nothing now")
    except Exception as error:  # whatever it is, its words may quote the object
        log.warning("store failed", extra={"error": type(error).__name__})
        answer = _answer(Status.CANNOT_UNDERSTAND, "an error of the receiver")
    log.info(
        "c-store",
        extra={
            "peer": request.peer,
            "instance": fingerprint(request.sop_instance),
            "bytes": len(request.data),
            "status": f"{answer.Status:04X}",
        },
    )
    return answer


def fingerprint(uid: str) -> str:
    """A UID for a log line: a hash, since some senders build UIDs of patients' numbers."""
    return sha256(uid.encode()).hexdigest()[:12]


def _check(context: Context, request: Request) -> None:
    if request.sop_class != request.abstract_syntax or request.sop_class not in PROJECTION_CLASSES:
        raise Refused(Status.SOP_CLASS_NOT_SUPPORTED, "not the SOP class of the context")
    limit = context.settings.max_file_bytes
    if len(request.data) > limit:
        raise Refused(Status.OUT_OF_RESOURCES, f"the object has more than {limit} bytes")


def _take(context: Context, request: Request) -> None:
    instance = instance_of_dataset(request.data[:HEAD_BYTES], request.transfer_syntax)
    if instance.sop_class != request.sop_class:
        raise Refused(Status.MISMATCH, "the dataset is of another SOP class than the request")
    if instance.sop_instance != request.sop_instance:
        raise Refused(Status.MISMATCH, "the dataset is another instance than the request")
    head = head_of(
        Received(request.sop_class, request.sop_instance, request.transfer_syntax, request.peer)
    )
    name = f"{instance.sop_instance}.dcm"
    source = Source(name, lambda: joined(head, _opener(request.data)), instance.sop_instance)
    accepted = take(context, instance.study, request.peer, source).accepted
    if accepted is not None and accepted.reason_code == ReasonCode.TOO_MANY_BYTES:
        raise Refused(Status.OUT_OF_RESOURCES, accepted.reason or "")


def _opener(data: bytes) -> Callable[[], BytesIO]:
    return lambda: BytesIO(data)


def _answer(status: Status, words: str = "") -> Dataset:
    answer = Dataset()
    answer.Status = int(status)  # (0000,0900)
    if words:
        answer.ErrorComment = words  # (0000,0902)
    return answer
