"""The central directory of a zip file, one entry at a time (APPNOTE.TXT 4.3.12 to 4.3.16).

Not ``zipfile``, which holds all entries in memory before the first can be counted, and refuses a
whole archive for one name that is not UTF-8.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from pipeline.reasons import ReasonCode, Unreadable

_END: Final = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_MOST_COMMENT_BYTES: Final = 0xFFFF
_LOCATOR64: Final = struct.Struct("<4sLQL")
_LOCATOR64_SIGNATURE: Final = b"PK\x06\x07"
_END64: Final = struct.Struct("<4sQ2H2L4Q")
_END64_SIGNATURE: Final = b"PK\x06\x06"
_ENTRY: Final = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE: Final = b"PK\x01\x02"
_LOCAL: Final = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE: Final = b"PK\x03\x04"

_IN_ZIP64: Final = 0xFFFFFFFF
_ZIP64_EXTRA: Final = 0x0001
_FLAG_ENCRYPTED: Final = 0x0001
_FLAG_UTF8: Final = 0x0800


@dataclass(frozen=True, slots=True)
class Entry:
    """One member as the central directory describes it, not yet believed."""

    raw_name: bytes
    flags: int
    method: int
    crc32: int
    packed_bytes: int
    unpacked_bytes: int
    made_on: int  # APPNOTE 4.4.2.2: 3 is Unix
    attributes: int
    header_offset: int

    @property
    def is_encrypted(self) -> bool:
        """Whether the member's data need a password."""
        return bool(self.flags & _FLAG_ENCRYPTED)

    @property
    def name(self) -> str:
        """The name for people: UTF-8 if it can be that, else code page 437 as the format says.

        Folders are parted by "/", as some Windows programs forget. Bytes and characters that
        cannot be shown become escapes, so it always encodes as UTF-8.
        """
        raw_name = self.raw_name.replace(b"\\", b"/")
        try:
            name = raw_name.decode()
        except UnicodeDecodeError:
            if self.flags & _FLAG_UTF8:
                name = raw_name.decode(errors="backslashreplace")
            else:
                name = self.raw_name.decode("cp437").replace("\\", "/")
        return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in name)


@dataclass(frozen=True, slots=True)
class _Extent:
    start: int
    end: int
    prepended_bytes: int  # of a program or other file in front of the archive


def entries(stream: BinaryIO) -> Iterator[Entry]:
    """Yield the entries in the directory's order; the stream may be moved in between.

    Raises Unreadable: corrupt_archive, unsupported_archive.
    """
    extent = _find(stream)
    at = extent.start
    while at < extent.end:
        stream.seek(at)
        fixed = _read(stream, _ENTRY.size)
        fields = _ENTRY.unpack(fixed)
        if fields[0] != _ENTRY_SIGNATURE:
            raise _damaged("its directory does not hold together")
        name_length, extra_length, comment_length = fields[10:13]
        variable = _read(stream, name_length + extra_length)
        at += _ENTRY.size + name_length + extra_length + comment_length
        yield _entry(fields, variable[:name_length], variable[name_length:], extent)


def data_offset(stream: BinaryIO, entry: Entry) -> int:
    """Return where the member's packed data begin. Raises Unreadable (corrupt_archive)."""
    stream.seek(entry.header_offset)
    fields = _LOCAL.unpack(_read(stream, _LOCAL.size))
    if fields[0] != _LOCAL_SIGNATURE:
        raise _damaged("a member is not where its directory says")
    name_length, extra_length = fields[9:11]
    return entry.header_offset + _LOCAL.size + int(name_length) + int(extra_length)


def size_bytes(stream: BinaryIO) -> int:
    """Return the length of the whole file."""
    return stream.seek(0, os.SEEK_END)


def _find(stream: BinaryIO) -> _Extent:
    total = size_bytes(stream)
    tail_start = max(0, total - _END.size - _MOST_COMMENT_BYTES)
    stream.seek(tail_start)
    tail = stream.read(total - tail_start)
    found = tail.rfind(_END_SIGNATURE, 0, len(tail) - _END.size + len(_END_SIGNATURE))
    if found < 0:
        raise _damaged("it has no directory at its end, perhaps it is cut short")
    _, disk, start_disk, _, count, size, offset, _ = _END.unpack_from(tail, found)
    end = tail_start + found
    if 0xFFFF in (disk, start_disk, count) or _IN_ZIP64 in (size, offset):
        end, disk, size, offset = _find64(stream, end) or (end, disk, size, offset)
    if disk != 0:
        raise Unreadable(ReasonCode.UNSUPPORTED_ARCHIVE, "the zip archive is in several parts")
    prepended = end - size - offset
    if prepended < 0:
        raise _damaged("its directory is larger than the file")
    return _Extent(end - size, end, prepended)


def _find64(stream: BinaryIO, end: int) -> tuple[int, int, int, int] | None:
    """Return end, disk, size and offset of a zip64 directory, or None if the archive has none."""
    if end < _LOCATOR64.size + _END64.size:
        return None
    stream.seek(end - _LOCATOR64.size)
    signature, _, _, _ = _LOCATOR64.unpack(_read(stream, _LOCATOR64.size))
    if signature != _LOCATOR64_SIGNATURE:
        return None
    at = end - _LOCATOR64.size - _END64.size
    stream.seek(at)
    fields = _END64.unpack(_read(stream, _END64.size))
    if fields[0] != _END64_SIGNATURE:
        raise _damaged("its zip64 directory does not hold together")
    return at, fields[4], fields[8], fields[9]


def _entry(fields: tuple[int, ...], raw_name: bytes, extra: bytes, extent: _Extent) -> Entry:
    (_, made_by, _, flags, method, _, _, crc32, packed, unpacked, *_, attributes, offset) = fields
    unpacked, packed, offset = _widen(extra, unpacked, packed, offset)
    return Entry(
        raw_name=raw_name,
        flags=flags,
        method=method,
        crc32=crc32,
        packed_bytes=packed,
        unpacked_bytes=unpacked,
        made_on=made_by >> 8,
        attributes=attributes,
        header_offset=offset + extent.prepended_bytes,
    )


def _widen(extra: bytes, *narrow: int) -> list[int]:
    """Replace 32-bit fields that are full by the zip64 extra field's values (APPNOTE 4.5.3)."""
    wide: list[int] = []
    at = 0
    while at + 4 <= len(extra) and _IN_ZIP64 in narrow:
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _ZIP64_EXTRA:
            count = min(length, len(extra) - at - 4) // 8
            wide = list(struct.unpack_from(f"<{count}Q", extra, at + 4))
        at += 4 + length
    return [wide.pop(0) if value == _IN_ZIP64 and wide else value for value in narrow]


def _read(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise _damaged("it is cut short")
    return data


def _damaged(how: str) -> Unreadable:
    return Unreadable(ReasonCode.CORRUPT_ARCHIVE, f"the zip archive is damaged: {how}")
