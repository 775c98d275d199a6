"""Zip archives, one member at a time: names are shown, never followed.

An archive inside the archive is refused, not opened: hospital exports are flat, and every level
multiplies what a bomb can do. Only stored and deflated members are read, as every zip program
writes them; the other methods' decoders can be made to claim gigabytes.
"""

import os
import re
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from pipeline import zip_directory
from pipeline.limits import ArchiveLimits
from pipeline.reasons import ReasonCode, Unreadable
from pipeline.zip_directory import Entry

__all__ = ["ArchiveLimits", "BadMember", "Member", "Unreadable", "is_zip", "members"]

_STORED: Final = 0
_DEFLATED: Final = 8
_MADE_ON_UNIX: Final = 3
_DOS_FOLDER: Final = 0x10
_RATIO_FLOOR_BYTES: Final = 1024 * 1024  # smaller members may be packed as tightly as they like

_DRIVE: Final = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of the archive, unpacked and checked against its CRC.

    ``name`` is for display only: printable, with "/" between folders, and it encodes as UTF-8.
    """

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class BadMember:
    """One file of the archive that was not unpacked, and why."""

    name: str
    code: ReasonCode
    message: str


def is_zip(head: bytes) -> bool:
    """Whether the first bytes are those of a zip archive."""
    return head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def members(
    source: str | os.PathLike[str] | BinaryIO, limits: ArchiveLimits | None = None
) -> Iterator[Member | BadMember]:
    """Yield one result for every file of a zip archive, folders left out, in its own order.

    ``source`` is a path or a seekable binary stream, which is left open. At most one member is
    in memory, packed and unpacked. The first step reads the whole directory, so that an archive
    refused as a whole is refused before any member is unpacked.

    Raises Unreadable for the archive as a whole: unreadable_path, corrupt_archive,
    unsupported_archive, archive_bomb, empty_archive. One member's trouble is a BadMember:
    encrypted_archive, unsafe_member_name, not_a_file, unsupported_archive, too_many_bytes,
    archive_bomb, nested_archive, corrupt_archive, unreadable_path.
    """
    limits = limits or ArchiveLimits()
    try:
        if isinstance(source, (str, os.PathLike)):
            with open(source, "rb") as stream:  # noqa: PTH123 - source may be a str
                yield from _members(stream, limits)
        else:
            yield from _members(source, limits)
    except OSError as error:
        raise Unreadable(
            ReasonCode.UNREADABLE_PATH, error.strerror or "the archive cannot be read"
        ) from error


def _members(stream: BinaryIO, limits: ArchiveLimits) -> Iterator[Member | BadMember]:
    _check_directory(stream, limits)
    is_empty = True
    for entry in zip_directory.entries(stream):
        if _is_folder(entry):
            continue
        is_empty = False
        try:
            _check(entry, limits)
            yield Member(entry.name, _unpack(stream, entry))
        except Unreadable as refused:
            yield BadMember(entry.name, refused.code, refused.message)
        except OSError as error:
            yield BadMember(
                entry.name,
                ReasonCode.UNREADABLE_PATH,
                error.strerror or "the archive cannot be read",
            )
    if is_empty:
        raise Unreadable(ReasonCode.EMPTY_ARCHIVE, "the archive holds no file")


def _check_directory(stream: BinaryIO, limits: ArchiveLimits) -> None:
    packed = unpacked = 0
    for count, entry in enumerate(zip_directory.entries(stream), 1):
        packed += entry.packed_bytes
        unpacked += entry.unpacked_bytes
        if count > limits.max_members:
            raise _bomb(f"the archive has more than {limits.max_members} members")
        if unpacked > limits.max_total_bytes:
            raise _bomb(f"the archive unpacks to more than {limits.max_total_bytes} bytes")
    # Members that share their packed bytes are how a zip of kilobytes unpacks to terabytes.
    if packed > zip_directory.size_bytes(stream):
        raise _bomb("the archive's members claim more bytes than it has")


def _is_folder(entry: Entry) -> bool:
    if entry.raw_name.endswith((b"/", b"\\")):
        return True
    return bool(entry.attributes & _DOS_FOLDER) and entry.unpacked_bytes == 0


def _check(entry: Entry, limits: ArchiveLimits) -> None:
    """Raise Unreadable for a member that is not to be unpacked."""
    if _is_unsafe(entry.raw_name):
        raise Unreadable(
            ReasonCode.UNSAFE_MEMBER_NAME, "the member's name is empty or leaves its folder"
        )
    kind = stat.S_IFMT(entry.attributes >> 16) if entry.made_on == _MADE_ON_UNIX else 0
    if kind not in (0, stat.S_IFREG):
        raise Unreadable(ReasonCode.NOT_A_FILE, "the member is a link or a device, not a file")
    if entry.is_encrypted:
        raise Unreadable(ReasonCode.ENCRYPTED_ARCHIVE, "the member needs a password")
    if entry.method not in (_STORED, _DEFLATED):
        raise Unreadable(
            ReasonCode.UNSUPPORTED_ARCHIVE,
            f"the member is packed by method {entry.method}; read are stored and deflated",
        )
    if max(entry.unpacked_bytes, entry.packed_bytes) > limits.max_member_bytes:
        raise Unreadable(
            ReasonCode.TOO_MANY_BYTES,
            f"the member has {entry.unpacked_bytes} bytes, the limit is {limits.max_member_bytes}",
        )
    is_tight = entry.unpacked_bytes > limits.max_ratio * entry.packed_bytes
    if is_tight and entry.unpacked_bytes > _RATIO_FLOOR_BYTES:
        raise _bomb(f"the member unpacks to more than {limits.max_ratio} times its size")


def _is_unsafe(raw_name: bytes) -> bool:
    name = raw_name.decode("latin-1").replace("\\", "/")
    is_absolute = name.startswith("/") or _DRIVE.match(name) is not None
    return is_absolute or "\0" in name or ".." in name.split("/") or not name


def _unpack(stream: BinaryIO, entry: Entry) -> bytes:
    """Return a member's bytes. Raises Unreadable, OSError."""
    stream.seek(zip_directory.data_offset(stream, entry))
    data = stream.read(entry.packed_bytes)
    if entry.method == _DEFLATED:
        data = _inflate(data, entry.unpacked_bytes)
    if len(data) != entry.unpacked_bytes or zlib.crc32(data) != entry.crc32:
        raise Unreadable(ReasonCode.CORRUPT_ARCHIVE, "the member is damaged or cut short")
    if is_zip(data):
        raise Unreadable(
            ReasonCode.NESTED_ARCHIVE, "the member is a zip archive itself: send it by itself"
        )
    return data


def _inflate(packed: bytes, unpacked_bytes: int) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(packed, unpacked_bytes + 1)
    except zlib.error as error:
        raise Unreadable(ReasonCode.CORRUPT_ARCHIVE, "the member is damaged") from error
    if len(data) > unpacked_bytes:
        raise _bomb("the member unpacks to more than it says")
    return data


def _bomb(how: str) -> Unreadable:
    return Unreadable(ReasonCode.ARCHIVE_BOMB, how)
