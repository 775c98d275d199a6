"""What a JPEG-family codestream says of itself, read from its first marker segments.

Asked before any codec is, since codecs allocate what the codestream claims.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Coding(StrEnum):
    """The family of a codestream; within JPEG, by its start-of-frame marker (T.81, table B.1)."""

    JPEG_BASELINE = "JPEG baseline"
    JPEG_EXTENDED = "JPEG extended"
    JPEG_PROGRESSIVE = "JPEG progressive"
    JPEG_LOSSLESS = "JPEG lossless"
    JPEG_OTHER = "JPEG of a rare process"
    JPEG_LS = "JPEG-LS"
    JPEG_2000 = "JPEG 2000"


@dataclass(frozen=True, slots=True)
class Codestream:
    """Size in pixels, bits per sample and samples per pixel."""

    coding: Coding
    width_px: int
    height_px: int
    precision: int
    samples: int


_SOI: Final = b"\xff\xd8"
_J2K_START: Final = b"\xff\x4f\xff\x51"
_JP2_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  "
_JP2_SEARCH_BYTES: Final = 64 * 1024

# T.81 table B.1; 0xC4, 0xC8 and 0xCC lie among the frame markers but are none. T.87 adds 0xF7.
_FRAME_MARKERS: Final = {
    0xC0: Coding.JPEG_BASELINE,
    0xC1: Coding.JPEG_EXTENDED,
    0xC2: Coding.JPEG_PROGRESSIVE,
    0xC3: Coding.JPEG_LOSSLESS,
    0xF7: Coding.JPEG_LS,
} | dict.fromkeys((*range(0xC5, 0xC8), *range(0xC9, 0xCC), 0xCD, 0xCE), Coding.JPEG_OTHER)
_STANDALONE_MARKERS: Final = frozenset((0x01, *range(0xD0, 0xD9)))


def inspect(data: bytes) -> Codestream | None:
    """Read the size and coding of a JPEG, JPEG-LS or JPEG 2000 codestream, or None."""
    if data[:2] == _SOI:
        return _inspect_jpeg(data)
    if data[:4] == _J2K_START:
        return _inspect_jpeg2000(data, 0)
    if data[:8] == _JP2_SIGNATURE:
        start = data.find(_J2K_START, 0, _JP2_SEARCH_BYTES)
        return _inspect_jpeg2000(data, start) if start >= 0 else None
    return None


def _inspect_jpeg(data: bytes) -> Codestream | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _STANDALONE_MARKERS:
            at += 2
        elif marker in _FRAME_MARKERS and at + 10 <= len(data):
            return Codestream(
                coding=_FRAME_MARKERS[marker],
                precision=data[at + 4],
                height_px=int.from_bytes(data[at + 5 : at + 7], "big"),
                width_px=int.from_bytes(data[at + 7 : at + 9], "big"),
                samples=data[at + 9],
            )
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _inspect_jpeg2000(data: bytes, start: int) -> Codestream | None:
    # T.800 A.5.1: SOC, SIZ marker, Lsiz, Rsiz, Xsiz, Ysiz, XOsiz, YOsiz, tiles, Csiz, Ssiz ...
    segment = data[start : start + 43]
    if len(segment) < 43:
        return None
    x_end, y_end, x_start, y_start = (
        int.from_bytes(segment[at : at + 4], "big") for at in (8, 12, 16, 20)
    )
    return Codestream(
        coding=Coding.JPEG_2000,
        width_px=x_end - x_start,
        height_px=y_end - y_start,
        precision=(segment[42] & 0x7F) + 1,
        samples=int.from_bytes(segment[40:42], "big"),
    )
