"""Why an image, or the archive it came in, was refused: typed, final, and in plain words.

A reason's code is stored in the database and shown in ``results.csv``; never change the value of
one that was released.
"""

from enum import StrEnum
from typing import Self


class ReasonCode(StrEnum):
    """The code of a refusal. ``code.meaning`` says in one sentence what it stands for."""

    meaning: str

    def __new__(cls, value: str, meaning: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    # The bytes of one file.
    EMPTY_FILE = "empty_file", "The file has no bytes."
    TOO_MANY_BYTES = "too_many_bytes", "The file is larger than the limit for one file."
    UNSUPPORTED_FORMAT = "unsupported_format", "The bytes are of no image format that is read."
    TRUNCATED = "truncated", "The file ends before its image does."
    CORRUPT = "corrupt", "The file contradicts its own format."
    ENCRYPTED = "encrypted", "The file is encrypted."

    # What the image says of itself.
    DECOMPRESSION_BOMB = "decompression_bomb", "Few bytes would unpack to an enormous image."
    TOO_LARGE = "too_large", "The image has more pixels than the limit."
    TOO_SMALL = "too_small", "The image has too few pixels on a side to show anything."
    NO_PIXELS = "no_pixels", "The DICOM object holds no image."
    NOT_A_PROJECTION_RADIOGRAPH = (
        "not_a_projection_radiograph",
        "The header names a modality that is not projection radiography.",
    )
    UNSUPPORTED_TRANSFER_SYNTAX = (
        "unsupported_transfer_syntax",
        "The DICOM pixel data are compressed in a way that is not read.",
    )
    UNSUPPORTED_PIXELS = (
        "unsupported_pixels",
        "The pixels are stored in a depth or colour model that is not read.",
    )

    # What the networks say of it.
    NOT_XRAY = "not_xray", "The image does not look like an X-ray."

    # Where it came from.
    UNREADABLE_PATH = "unreadable_path", "The path could not be opened or read, or disappeared."
    NOT_A_FILE = "not_a_file", "The entry is a link, device or other thing that is not a file."
    UNSAFE_MEMBER_NAME = "unsafe_member_name", "The archive member's name leaves its folder."
    ENCRYPTED_ARCHIVE = "encrypted_archive", "The archive or its member needs a password."
    CORRUPT_ARCHIVE = "corrupt_archive", "The archive or its member is damaged or cut short."
    ARCHIVE_BOMB = "archive_bomb", "The archive would unpack to far more than it should."
    EMPTY_ARCHIVE = "empty_archive", "The archive holds no file."
    NESTED_ARCHIVE = "nested_archive", "The archive member is itself an archive."
    UNSUPPORTED_ARCHIVE = "unsupported_archive", "The archive uses a feature that is not read."

    # What happened to the work on it.
    WORKER_LOST = "worker_lost", "Worker processes died while they had this image in hand."
    DEADLINE = "deadline", "The work on this image did not end in time."
    INTERNAL = "internal", "An unexpected error of this software."
    DISCARDED = "discarded", "A person looked at it in quarantine and discarded it."


class Unreadable(Exception):  # noqa: N818 - an answer, not an error
    """The bytes cannot become an image: a final, typed answer about the input, not a fault.

    ``code`` is for programs, ``message`` for people; the message never quotes header values that
    could be personal. Survives pickling, so it may cross a process boundary.
    """

    def __init__(self, code: ReasonCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.value}: {self.message}"
