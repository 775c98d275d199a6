"""The one decoder: bytes of any accepted format -> one small grayscale array and header facts.

``decode`` silences library warnings while it runs, which is a setting of the whole process: call
it where one thread decodes at a time, as the prefork ``prepare`` pool does. ``sniff`` is free of
that and may be called from anywhere.
"""

import struct
import warnings
from typing import Final

from pipeline.dicom.decode import decode_dicom
from pipeline.dicom.read import is_dicom
from pipeline.limits import Limits
from pipeline.prepared import Decoded, HeaderValue, decode_prepared, encode_prepared
from pipeline.raster import decode_raster
from pipeline.reasons import ReasonCode, Unreadable

__all__ = [
    "FORMATS",
    "SNIFF_BYTES",
    "Decoded",
    "HeaderValue",
    "Limits",
    "ReasonCode",
    "Unreadable",
    "decode",
    "decode_prepared",
    "encode_prepared",
    "sniff",
    "unsupported_format",
]

FORMATS: Final = ("DICOM", "PNG", "JPEG", "TIFF", "WEBP", "BMP", "JPEG2000")
SNIFF_BYTES: Final = 512  # as much of a file's head as sniff and unsupported_format look at

_MAGIC: Final = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\x00", "TIFF"),
    (b"MM\x00*", "TIFF"),
    (b"II+\x00", "TIFF"),  # BigTIFF
    (b"MM\x00+", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
)
_BMP_HEADER_SIZES: Final = frozenset((12, 16, 40, 52, 56, 64, 108, 124))

_KNOWN_OTHERS: Final = (
    (b"%PDF", "a PDF document"),
    (b"GIF8", "a GIF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"MZ", "a Windows program"),
    (b"\x7fELF", "a Linux program"),
    (b"<svg", "an SVG drawing"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x5c\x01", "a NIfTI volume"),
)
# RFC 5652: ContentInfo of type enveloped-data, as in PS3.15 annex D (Secure DICOM File)
_CMS_ENVELOPED: Final = b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x03"


def sniff(head: bytes) -> str | None:
    """Name the format whose marks the first bytes of a file bear: one of FORMATS, or None.

    Looks at the bytes only, never at a file name; give it SNIFF_BYTES, or all there are. Cheap
    enough for the front door. A format named here can still be broken.
    """
    if is_dicom(head):  # first: a DICOM preamble may pass for a TIFF or a program
        return "DICOM"
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM" and len(head) >= 18:
        (header_size,) = struct.unpack_from("<I", head, 14)
        return "BMP" if header_size in _BMP_HEADER_SIZES else None
    return None


def unsupported_format(head: bytes) -> Unreadable:
    """Return (not raise) the refusal for a file that ``sniff`` does not know, by its first bytes.

    Its code is empty_file, encrypted or unsupported_format.
    """
    if not head:
        return Unreadable(ReasonCode.EMPTY_FILE, "the file is empty")
    if head[:1] == b"\x30" and _CMS_ENVELOPED in head[:40]:
        return Unreadable(ReasonCode.ENCRYPTED, "the file is encrypted (CMS enveloped data)")
    what = next((name for magic, name in _KNOWN_OTHERS if head.startswith(magic)), None)
    if what is None:
        what = "text" if _is_text(head) else "not a known image"
    return Unreadable(
        ReasonCode.UNSUPPORTED_FORMAT, f"the file is {what}; read are {', '.join(FORMATS)}"
    )


def _is_text(head: bytes) -> bool:
    return all(byte >= 0x20 or byte in b"\t\n\r\f" for byte in head)


def decode(data: bytes, limits: Limits | None = None) -> Decoded:
    """Decode one image as a radiologist would see it. The same bytes give the same array.

    Raises Unreadable, with the reason, for bytes that are no image of a format read here, or an
    image outside ``limits``. Any other exception is a fault of this software or of the machine
    (MemoryError).
    """
    limits = limits or Limits()
    limits.check_bytes(len(data))
    head = data[:SNIFF_BYTES]
    fmt = sniff(head)
    if fmt is None:
        raise unsupported_format(head)
    # Libraries warn of what they forgive, and pydicom quotes header values when it does: neither
    # belongs in a log.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if fmt == "DICOM":
            return decode_dicom(data, limits)
        return decode_raster(data, fmt, limits)
