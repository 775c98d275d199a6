"""Files of PS3.10 around bytes as they were received: a new head, and not one byte re-encoded."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import UID

from pipeline.dicom.uids import named

PREAMBLE: Final = bytes(128)
"""All zero: a preamble may make the file pass for a program or an archive (PS3.10 7.1)."""
PREFIX: Final = b"DICM"
IMPLEMENTATION_CLASS_UID: Final = named("product")
IMPLEMENTATION_VERSION: Final = "XRAYTRIAGE"


@dataclass(frozen=True, slots=True)
class Received:
    """What an association says of a dataset that came without file meta information."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae_title: str


def head_of(received: Received) -> bytes:
    """Preamble, prefix and file meta information (PS3.10 7.1) for a received dataset."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = UID(received.sop_class_uid)
    meta.MediaStorageSOPInstanceUID = UID(received.sop_instance_uid)
    meta.TransferSyntaxUID = UID(received.transfer_syntax_uid)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    meta.SourceApplicationEntityTitle = received.source_ae_title  # (0002,0016)
    buffer = DicomBytesIO(PREAMBLE + PREFIX)
    buffer.seek(0, io.SEEK_END)
    write_file_meta_info(buffer, meta)
    return buffer.getvalue()


def joined(head: bytes, open_rest: Callable[[], BinaryIO], skip: int = 0) -> BinaryIO:
    """One readable file of `head` and, behind it, what `open_rest` opens from byte `skip` on."""
    rest = open_rest()
    rest.seek(skip)
    return cast(BinaryIO, io.BufferedReader(_Joined(head, rest)))


def without_preamble(open_file: Callable[[], BinaryIO], meta_start: int) -> BinaryIO:
    """A file of PS3.10 with its preamble zeroed, from where its file meta information begins."""
    return joined(PREAMBLE + PREFIX, open_file, meta_start)


class _Joined(io.RawIOBase):
    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head = io.BytesIO(head)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._head.read(len(buffer)) or self._rest.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._rest.close()
        super().close()
