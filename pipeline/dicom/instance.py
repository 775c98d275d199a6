"""Which instance a DICOM object says it is: its UIDs, and nothing else, from untrusted bytes.

Only the first bytes are parsed and no pixel is touched: cheap enough for a front door, and bounded
for whatever comes. What an object holds beyond that is found out in the prepare sandbox.
"""

import io
import re
import warnings
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from pipeline.dicom.read import PARSE_ERRORS, read_elements_of, read_meta, value
from pipeline.reasons import ReasonCode, Unreadable

# pydicom warns of what it forgives: not a front door's news. A filter of the whole process, since
# several threads read at a time.
warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")

HEAD_BYTES: Final = 4 * 2**20
"""As much of an object as is looked at; its UIDs stand before all that is large."""

_UIDS: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_UID: Final = re.compile(r"[0-9.]{1,64}")
_PREFIX: Final = b"DICM"
_PREFIX_AT: Final = 128
_META_GROUP: Final = b"\x02\x00"


@dataclass(frozen=True, slots=True)
class Instance:
    """The UIDs of an object; `series` and `syntax` may be empty, the others never are."""

    sop_class: str
    sop_instance: str
    study: str
    series: str
    syntax: str
    """Transfer syntax in which it came."""


def instance_of_file(head: bytes) -> Instance:
    """The instance in a file of PS3.10, from its first HEAD_BYTES. Raises Unreadable: corrupt."""
    try:
        meta, rest = read_meta(io.BytesIO(head[meta_start(head) :]))
        syntax = UID(str(value(meta, "TransferSyntaxUID") or "").strip("\0 "))
    except PARSE_ERRORS as error:
        raise Unreadable(ReasonCode.CORRUPT, "the file meta information is damaged") from error
    return instance_of_dataset(rest, syntax)


def meta_start(head: bytes) -> int:
    """Where the file meta information of a DICOM file begins: behind preamble and prefix.

    Some senders leave out the preamble, or the prefix as well. Raises Unreadable: corrupt.
    """
    if head.startswith(_PREFIX, _PREFIX_AT):
        return _PREFIX_AT + len(_PREFIX)
    if head.startswith(_PREFIX):
        return len(_PREFIX)
    if head.startswith(_META_GROUP):
        return 0
    raise Unreadable(ReasonCode.CORRUPT, "the object is no DICOM file (PS3.10)")


def instance_of_dataset(head: bytes, syntax: str) -> Instance:
    """The instance in a dataset of a transfer syntax, from its first HEAD_BYTES.

    Raises Unreadable (corrupt) where it is damaged or lacks a UID that it must have.
    """
    dataset = read_elements_of(head, UID(syntax), _UIDS, HEAD_BYTES)
    sop_class, sop_instance, study, series = (_uid(dataset, keyword) for keyword in _UIDS)
    missing = [
        name
        for name, found in zip(_UIDS, (sop_class, sop_instance, study), strict=False)
        if not found
    ]
    if missing:
        raise Unreadable(ReasonCode.CORRUPT, f"the object lacks {', '.join(missing)}")
    return Instance(sop_class, sop_instance, study, series, str(syntax))


def _uid(dataset: Dataset, keyword: str) -> str:
    text = str(value(dataset, keyword) or "").strip("\0 ")
    return text if _UID.fullmatch(text) else ""
